"""Conversions of the ten English development speakers to one speaker of a voice, and of songs, scored by the judge.

    pip install numpy soundfile soxr praat-parselmouth      (and what the judge needs)
    python benches/judged.py TRAINER VOICE SPEAKER DATA JUDGE OUT_FOLDER [--songs | --second] [--no-phones] [--only NAME ...] [--target-hz F] [--shift N] [-- OPTIONS]

TRAINER is the program, DATA the folder of recordings with `manifest.csv`, JUDGE the scorer. Every source is transposed by the
whole number of semitones that brings the median of its F0 nearest to that of the speaker's own recordings (songs are not); the
medians are Praat's. OPTIONS go to `trainer convert`. The conversions stay in OUT_FOLDER; the judge's table is printed.
"""

import argparse
import csv
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import parselmouth
import soundfile
import soxr

ENGLISH = [
    "3331-159605-0002", "367-130732-0007", "533-1066-0002", "p236_023", "p228_023",
    "3080-5032-0005", "2609-156975-0006", "p259_023", "3005-163389-0004", "p254_023",
]
# Other clips of the same readers, the first three of 4 to 9.5 s, and three other speakers: to look again at what the ten chose.
SECOND = [
    "2609-156975-0000", "2609-156975-0001", "2609-156975-0005", "3005-163389-0000", "3005-163389-0001", "3005-163389-0005",
    "3080-5032-0000", "3080-5032-0001", "3080-5032-0003", "3331-159605-0003", "3331-159605-0005", "3331-159605-0007",
    "367-130732-0001", "367-130732-0004", "367-130732-0008", "533-1066-0001", "533-1066-0003", "533-1066-0004",
    "p233_023", "p244_023", "p273_023",
]
SONGS = ["pjs003_song", "pjs023_song", "pjs043_song", "vocadito_1"]
TARGETS = {"kathleen": "kathleen_f01", "kerstin": "kerstin_f01", "pjs": "pjs_m01"}


def median_f0_hz(paths):
    found = []
    for path in paths:
        samples, rate_hz = soundfile.read(path)
        mono = samples if samples.ndim == 1 else samples.mean(1)
        mono = soxr.resample(mono, rate_hz, 16_000)
        pitch = parselmouth.Sound(mono, 16_000).to_pitch_ac(time_step=0.01, pitch_floor=65, pitch_ceiling=600)
        values = pitch.selected_array["frequency"]
        found.append(values[values > 0])
    return float(np.median(np.concatenate(found)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("trainer", "voice", "speaker", "data", "judge", "out"):
        parser.add_argument(name)
    parser.add_argument("--songs", action="store_true")
    parser.add_argument("--second", action="store_true", help="21 other English clips instead of the ten")
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--target-hz", type=float, help="median F0 of the speaker; measured unless given")
    parser.add_argument("--shift", type=int, default=0)
    parser.add_argument("--no-phones", action="store_true", help="leave the phone error rate out, most of the judge's time")
    words, options = sys.argv[1:], []
    if "--" in words:
        words, options = words[: words.index("--")], words[words.index("--") + 1 :]
    args = parser.parse_args(words)
    sys.path.insert(0, str(Path(args.judge).parent))
    data, out = Path(args.data), Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    with open(data / "manifest.csv", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    own = [data / r["file"] for r in rows if r["speaker"] == TARGETS[args.speaker] and r["kind"] in ("speech", "singing")]
    target_hz = args.target_hz or median_f0_hz(own)
    by_name = {Path(r["file"]).stem: data / r["file"] for r in rows if r["split"] == "dev"}
    names = args.only or (SONGS if args.songs else SECOND if args.second else ENGLISH)
    pairs = []
    for name in names:
        source, result = by_name[name], out / f"{name}.wav"
        shift = 0 if args.songs else round(12 * np.log2(target_hz / median_f0_hz([source])))
        shift += args.shift
        subprocess.run(
            [args.trainer, "convert", source, "-o", result, "--voice", args.voice, "--speaker", args.speaker,
             "--pitch", str(shift), *options],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        pairs.append((source, result, shift))
    # The judge knows one transposition a call, and most of a call is the target's recordings: so one call for all, and the F0
    # error once more, after each one's transposition, by its own functions.
    flags = [str(word) for source, result, _ in pairs for word in ("--pair", source, result)]
    if args.songs or args.no_phones:
        flags.append("--no-phones")
    table = out / "judged.json"
    subprocess.run(
        [sys.executable, args.judge, "--target", *map(str, own), "--json", str(table), *flags],
        check=True, stdout=subprocess.DEVNULL,
    )
    judged = json.loads(table.read_text())
    judge = importlib.import_module(Path(args.judge).stem)
    for row, (source, result, shift) in zip(judged["rows"], pairs):
        row["f0_cents"] = f0_cents(judge, source, result, shift, row["lag_ms"])
    columns = [c for c in judged["rows"][0] if c != "pair"]
    print(f"ceiling {judged['ceiling']:.3f}, target {target_hz:.0f} Hz")
    print("clip".ljust(26), "shift", *[c.rjust(11) for c in columns])
    for row, (_, _, shift) in zip(judged["rows"], pairs):
        print(row["pair"][:26].ljust(26), f"{shift:+5d}", *[f"{row[c]:11.3f}" for c in columns])
    print("median".ljust(32), *[f"{np.nanmedian([r[c] for r in judged['rows']]):11.3f}" for c in columns])


def f0_cents(judge, source, result, shift, lag_ms):
    """The judge's F0 error after a transposition of `shift` semitones."""
    before, after = judge.load(source), judge.load(result)
    skip = int(lag_ms * judge.RATE / 1000)
    before, after = before[max(0, -skip) :], after[max(0, skip) :]
    count = min(len(before), len(after))
    before, after = judge.f0(before[:count]), judge.f0(after[:count])
    count = min(len(before), len(after))
    before, after = before[:count] * 2 ** (shift / 12), after[:count]
    both = (before > 0) & (after > 0)
    return float(np.median(1200 * np.abs(np.log2(after[both] / before[both])))) if both.any() else float("nan")


if __name__ == "__main__":
    main()
