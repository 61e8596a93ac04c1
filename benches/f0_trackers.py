"""Our F0 tracker beside those of other people, on signals of known F0, on sung notes and on speech.

    pip install numpy soundfile soxr praat-parselmouth librosa pyworld torchcrepe swift-f0
    cargo build --release -p timbra-dsp --example f0_csv
    python benches/f0_trackers.py target/release/examples/f0_csv [DATA_FOLDER] [--keep FOLDER] [--without crepe_full]

DATA_FOLDER holds a `manifest.csv` (file, split, kind, speaker, …) beside the recordings; without it only the synthetic
signals are measured. Every tracker hears the same 16 kHz signal and answers every 10 ms between 50 and 1400 Hz, with its
own defaults otherwise. `--keep` stores what each tracker found, so that a second run asks only those that are new.

Truth. Synthetic: the contour the signal was made from; a frame is voiced where the note sounds. Recordings: what most of
the offline trackers say (Praat, pYIN, Harvest, CREPE tiny, SwiftF0, the tracker under test left out): voiced or not by
majority, F0 the median of those within 50 cents of their common median, of which there must be three; other voiced frames
count for voicing only. CREPE full costs four seconds a second and hears the synthetic signals only. Of sung single notes, frames whose truth is more than 150 cents from the name of the note are left
out, and so are files whose median is.

Printed per set and tracker: frames whose voicing is wrong; of the frames both call voiced those more than 50 cents off and
those nearer to one or two octaves off than 100 cents; median and 95th percentile of the error; processor seconds per
second. Delay: the shift of the contour against the truth at which the median error of vibratos and glides is least.
"""

import argparse
import csv
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402

RATE_HZ, HOP = 16_000, 160
LOW_HZ, HIGH_HZ = 50.0, 1400.0
PANEL = ["praat", "pyin", "harvest", "crepe_tiny", "swift_f0"]


class Clip:
    """A signal, and if it is synthetic its truth per sample: F0 in Hz, 0 where unvoiced."""

    def __init__(self, group, name, signal, truth_hz=None, note_hz=None):
        self.group, self.name, self.note_hz = group, name, note_hz
        self.signal = np.asarray(signal, np.float32)
        self.truth_hz = truth_hz
        self.frames = len(self.signal) // HOP

    def truth(self):
        return self.truth_hz[: self.frames * HOP : HOP]


# --- synthetic signals ---


def voice(f0_hz, rng, tilt=1.0, formants=True, pulses=False):
    """Harmonics of a contour per sample, through three formants, at a power of 1."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / RATE_HZ
    centres = [rng.uniform(280, 850), rng.uniform(900, 2200), rng.uniform(2300, 3200)]
    signal = np.zeros(len(f0_hz))
    for number in range(1, int(7600 / f0_hz.min()) + 1):
        here = number * f0_hz
        gain = np.where(here < 7600, number**-tilt, 0.0)
        if formants:
            gain = gain * (0.03 + sum(1 / (1 + ((here - c) / b) ** 2) for c, b in zip(centres, (90, 110, 160))))
        signal += gain * np.sin(number * phase + (0 if pulses else rng.uniform(0, 2 * np.pi)))
    return signal / np.sqrt((signal**2).mean())


def envelope(edges_s, total, ramp_s):
    """1 within the stretches, with raised-cosine ramps inside of them."""
    time_s = np.arange(total) / RATE_HZ
    out = np.zeros(total)
    for begin, end in edges_s:
        rise = np.clip(np.minimum(time_s - begin, end - time_s) / ramp_s, 0, 1)
        out = np.maximum(out, 0.5 - 0.5 * np.cos(np.pi * rise))
    return out


def synthetic(seed):
    """About three minutes of signals of known F0."""
    rng = np.random.default_rng(seed)
    clips = []

    def add(group, name, signal, truth, floor_db=-50):
        noise = 10 ** (floor_db / 20) * rng.standard_normal(len(signal))
        clips.append(Clip(group, name, 0.06 * (signal + noise), truth))

    def clock(seconds):
        return np.arange(int(seconds * RATE_HZ)) / RATE_HZ

    for octaves_per_s in (1.2, 3.0):
        for falling in (False, True):
            for tilt in (0.7, 1.2):
                t = clock(np.log2(HIGH_HZ / LOW_HZ) / octaves_per_s)
                f0 = LOW_HZ * 2 ** (octaves_per_s * (t[::-1] if falling else t))
                add("glides", f"{octaves_per_s} {falling} {tilt}", voice(f0, rng, tilt), f0)
    for centre_hz in (60, 82, 110, 165, 220, 330, 440, 660, 880, 1200):
        for rate_hz, depth_cents in ((5, 50), (6, 100), (7, 75)):
            t = clock(1.5)
            f0 = centre_hz * 2 ** (depth_cents / 1200 * np.sin(2 * np.pi * rate_hz * t + rng.uniform(0, 6)))
            add("vibrato", f"{centre_hz} {rate_hz}", voice(f0, rng), f0)
    for low_hz in (65, 98, 147, 220, 330, 494):
        # Notes that follow one another, some after a rest; the pitch moves in 30 ms.
        t = clock(4.0)
        steps, edges, at = np.zeros(len(t)), [], 0.1
        pitch = np.zeros(len(t))
        while at < 3.6:
            length, rest = rng.uniform(0.18, 0.45), rng.choice([0.0, 0.06, 0.15])
            semitones = rng.integers(0, 13)
            pitch[t >= at] = semitones
            end = min(at + length, 3.8)
            edges.append((at, end))
            at = end + rest
        kernel = np.hanning(480)
        steps = np.convolve(np.pad(pitch, 240, mode="edge"), kernel / kernel.sum(), "same")[240:-240]
        f0 = low_hz * 2 ** (steps / 12)
        gain = np.zeros(len(t))
        for begin, end in edges:
            gain = np.maximum(gain, envelope([(begin, end + 0.012)], len(t), 0.012))
        add("notes", f"{low_hz}", voice(f0, rng) * gain, np.where(gain > 0.05, f0, 0.0))
    for hnr_db in (0, 5, 10, 20):
        for centre_hz in (98, 165, 260, 440, 700):
            t = clock(1.5)
            f0 = centre_hz * 2 ** (60 / 1200 * np.sin(2 * np.pi * 3 * t + rng.uniform(0, 6)))
            # Breath lies above the fundamental: white noise, its low end lowered.
            breath = rng.standard_normal(len(t))
            breath = breath - 0.7 * np.concatenate([[0], breath[:-1]])
            breath *= 10 ** (-hnr_db / 20) / np.sqrt((breath**2).mean())
            add("breathy", f"{hnr_db} {centre_hz}", voice(f0, rng, 1.5) + breath, f0)
    for centre_hz in (50, 58, 66, 76, 90):
        for subharmonic in (0.0, 0.25):
            t = clock(1.8)
            # Slowly within the lowest 10 %, so that no truth lies below 50 Hz.
            f0 = centre_hz * 2 ** (0.06 * (1 + np.sin(2 * np.pi * 1.3 * t + rng.uniform(0, 6))))
            cycle = np.floor(np.cumsum(f0) / RATE_HZ).astype(int)
            cycles = cycle[-1] + 2
            jitter = 2 ** (rng.normal(0, 0.008, cycles))
            strength = 1 + rng.normal(0, 0.1, cycles)
            strength[::2] *= 1 - subharmonic
            smooth = np.hanning(34)
            rough = np.convolve(np.pad(strength[cycle], 17, mode="edge"), smooth / smooth.sum(), "same")[17:-17]
            add("creaky", f"{centre_hz} {subharmonic}", voice(f0 * jitter[cycle], rng, 0.9, pulses=True) * rough, f0)
    for centre_hz in (330, 520, 780, 1100, 1320):
        t = clock(2.0)
        f0 = centre_hz * 2 ** (40 / 1200 * np.sin(2 * np.pi * 5.5 * t))
        phase = 2 * np.pi * np.cumsum(f0) / RATE_HZ
        signal = np.sqrt(2) * (np.sin(phase) + 0.06 * np.sin(2 * phase + 1) + 0.02 * np.sin(3 * phase))
        edges = [(0.2, 1.0), (1.1, 1.8)]
        gain = envelope(edges, len(t), 0.03)
        add("falsetto", f"{centre_hz}", signal * gain, np.where(gain > 0.05, f0, 0.0), -35)
    return clips


# --- recordings ---


def note_hz(name):
    """Frequency of a note's name at the end of a file's name, such as Db4 or Cs4."""
    found = re.search(r"_([A-Ga-g])([bs]?)(\d)$", name)
    if not found:
        return None
    semitone = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[found[1].upper()]
    semitone += {"": 0, "b": -1, "s": 1}[found[2]]
    return 440 * 2 ** ((12 * int(found[3]) + semitone - 57) / 12)


def recordings(folder):
    """Single notes; development rows of singing and of speech, at most 12 s of each and two of each speaker."""
    import soundfile
    import soxr

    rows = list(csv.DictReader(open(folder / "manifest.csv", newline="")))
    clips, taken = [], {}
    for row in rows:
        notes = row["speaker"] in ("berklee_f01", "berklee_m01")
        if not notes and (row["split"] != "dev" or row["kind"] not in ("singing", "speech")):
            continue
        # LibriSpeech has many speakers: every fourth.
        speaker = row["speaker"]
        if speaker.startswith("libri"):
            taken["libri"] = taken.get("libri", 0) + 1
            if taken["libri"] % 4:
                continue
        taken[speaker] = taken.get(speaker, 0) + 1
        if taken[speaker] > (99 if notes or row["kind"] == "singing" else 2):
            continue
        audio, rate_hz = soundfile.read(folder / row["file"], always_2d=True)
        audio = soxr.resample(audio.mean(1), rate_hz, RATE_HZ, quality="VHQ")
        seconds = 2.5 if notes else 15 if row["kind"] == "singing" else 6
        group = "sung notes" if notes else row["kind"]
        stem = Path(row["file"]).stem
        clips.append(Clip(group, row["file"], audio[: int(seconds * RATE_HZ)], note_hz=note_hz(stem) if notes else None))
    return clips


# --- trackers: clip → F0 per frame, 0 where unvoiced ---


def on_grid(clip, times_s, f0_hz):
    """Frames at other times: linear in the logarithm, voiced as the nearest."""
    wanted = np.arange(clip.frames) * HOP / RATE_HZ
    if len(times_s) == 0:
        return np.zeros(clip.frames)
    nearest = np.clip(np.rint(np.interp(wanted, times_s, np.arange(len(times_s)))).astype(int), 0, len(times_s) - 1)
    voiced = f0_hz > 0
    out = np.zeros(clip.frames)
    if voiced.any():
        position = np.interp(wanted, times_s, np.arange(len(times_s)))
        below = np.floor(position).astype(int)
        above = np.minimum(below + 1, len(times_s) - 1)
        share = position - below
        both = voiced[below] & voiced[above]
        safe = np.where(voiced, f0_hz, 1.0)
        between = np.exp((1 - share) * np.log(safe[below]) + share * np.log(safe[above]))
        out = np.where(voiced[nearest], np.where(both, between, safe[nearest]), 0.0)
        # Outside of what was answered nothing is known.
        step = np.median(np.diff(times_s)) if len(times_s) > 1 else 0.01
        out[(wanted < times_s[0] - step / 2 - 1e-9) | (wanted > times_s[-1] + step / 2 + 1e-9)] = 0
    return out


def padded(frames, clip):
    out = np.zeros(clip.frames)
    count = min(len(frames), clip.frames)
    out[:count] = np.nan_to_num(frames[:count])
    return out


def praat(clip):
    import parselmouth

    if len(clip.signal) < 2000:
        return np.zeros(clip.frames)
    pitch = parselmouth.Sound(clip.signal.astype(float), RATE_HZ).to_pitch_ac(
        time_step=0.01, pitch_floor=LOW_HZ, pitch_ceiling=HIGH_HZ
    )
    # Praat's sample n lies at (n + 1/2) / rate.
    return on_grid(clip, pitch.xs() - 0.5 / RATE_HZ, pitch.selected_array["frequency"])


def pyin(clip):
    import librosa

    f0, _, _ = librosa.pyin(
        clip.signal, fmin=LOW_HZ, fmax=HIGH_HZ, sr=RATE_HZ, frame_length=1024, hop_length=HOP
    )
    return padded(f0, clip)


def world(name):
    def track(clip):
        import pyworld

        f0, _ = getattr(pyworld, name)(
            clip.signal.astype(float), RATE_HZ, f0_floor=LOW_HZ, f0_ceil=HIGH_HZ, frame_period=10.0
        )
        return padded(f0, clip)

    return track


def crepe(size):
    def track(clip):
        import torch
        import torchcrepe

        torch.set_num_threads(1)
        signal = torch.from_numpy(clip.signal)[None]
        f0, periodicity = torchcrepe.predict(
            signal, RATE_HZ, HOP, LOW_HZ, HIGH_HZ, size, return_periodicity=True, batch_size=256, device="cpu"
        )
        # As its documentation advises.
        periodicity = torchcrepe.filter.median(periodicity, 3)
        periodicity = torchcrepe.threshold.Silence(-60.0)(periodicity, signal, RATE_HZ, HOP)
        return padded(torch.where(periodicity > 0.21, f0, torch.zeros_like(f0))[0].numpy(), clip)

    return track


def swift_f0(clip, state={}):
    from swift_f0 import SwiftF0

    if not state:
        state["detector"] = SwiftF0(threads=1)
    found = state["detector"].detect(clip.signal, RATE_HZ, LOW_HZ, HIGH_HZ)
    return on_grid(clip, found.timestamps, np.where(found.confidence >= 0.5, found.pitch_hz, 0.0))


def ours(program, lookahead):
    def track(clip):
        done = subprocess.run(
            [program, "--lookahead", lookahead], input=clip.signal.astype("<f4").tobytes(), capture_output=True, check=True
        )
        rows = done.stdout.decode().splitlines()[1:]
        return padded(np.array([float(row.split(",")[1]) for row in rows]), clip)

    return track


LOOKAHEAD = {
    "ours_25ms": "25 ms",
    "ours_10ms": "10 ms",
    "praat": "whole file",
    "pyin": "whole file",
    "harvest": "whole file",
    "dio": "whole file",
    "crepe_tiny": "whole file",
    "crepe_full": "whole file",
    "swift_f0": "176 ms",
}


def processor_s():
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


# --- scores ---


def cents(a_hz, b_hz):
    return 1200 * np.log2(a_hz / b_hz)


def majority(clip, panel):
    """Truth from several contours: F0 (0 = unvoiced, NaN = voiced at an F0 they do not agree on)."""
    found = np.stack(panel)
    voiced = (found > 0).sum(0) * 2 > len(panel)
    logs = np.where(found > 0, np.log2(np.maximum(found, 1.0)), np.nan)
    truth = np.zeros(clip.frames)
    for index in np.flatnonzero(voiced):
        values = logs[:, index][np.isfinite(logs[:, index])]
        near = values[np.abs(values - np.median(values)) <= 50 / 1200]
        # An even number has its median between two octaves: take the larger camp.
        if len(near) < 3:
            counts = [(np.abs(values - value) <= 50 / 1200).sum() for value in values]
            centre = values[int(np.argmax(counts))]
            near = values[np.abs(values - centre) <= 50 / 1200]
        truth[index] = 2 ** np.median(near) if len(near) >= 3 else np.nan
    return truth


def truth_for(name, clip, contours):
    if clip.truth_hz is not None:
        return clip.truth()
    key = (clip.group, clip.name)
    truth = majority(clip, [contours[other][key] for other in PANEL if other != name and other in contours])
    if clip.note_hz:
        known = truth > 0
        if not known.any() or abs(cents(np.median(truth[known]), clip.note_hz)) > 150:
            return None
        away = known & (np.abs(cents(np.where(known, truth, 1.0), clip.note_hz)) > 150)
        truth[away] = np.nan
    return truth


def scores(name, clips, contours):
    wrong = frames = 0
    errors = []
    for clip in clips:
        truth, found = truth_for(name, clip, contours), contours[name][clip.group, clip.name]
        if truth is None:
            continue
        voiced = ~(truth == 0)
        wrong += (voiced != (found > 0)).sum()
        frames += len(truth)
        both = (truth > 0) & (found > 0)
        errors.append(cents(found[both], truth[both]))
    errors = np.concatenate(errors)
    size = np.abs(errors)
    octaves = (size > 600) & ((np.abs(size - 1200) < 100) | (np.abs(size - 2400) < 100))
    return dict(
        voicing=100 * wrong / frames,
        gross=100 * (size > 50).mean(),
        octave=100 * octaves.mean(),
        median=np.median(size),
        p95=np.percentile(size, 95),
        frames=frames,
    )


def delay_ms(name, clips, contours):
    """Least median error over shifts of the truth, in milliseconds; frames more than 200 cents off left out."""
    shifts = np.arange(-25, 25.5, 0.5)
    costs = []
    for shift in shifts:
        errors = []
        for clip in clips:
            found = contours[name][clip.group, clip.name]
            at = np.arange(clip.frames) * HOP - shift * RATE_HZ / 1000
            inside = (at >= 0) & (at < len(clip.truth_hz) - 1) & (found > 0)
            truth = np.interp(at[inside], np.arange(len(clip.truth_hz)), clip.truth_hz)
            errors.append(np.abs(cents(found[inside], truth)))
        errors = np.concatenate(errors)
        costs.append(np.median(errors[errors < 200]) if (errors < 200).any() else np.inf)
    return shifts[int(np.argmin(costs))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--without", nargs="*", default=[])
    args = parser.parse_args()
    trackers = {
        "ours_25ms": ours(args.program, "long"),
        "ours_10ms": ours(args.program, "short"),
        "praat": praat,
        "pyin": pyin,
        "harvest": world("harvest"),
        "dio": world("dio"),
        "swift_f0": swift_f0,
        "crepe_tiny": crepe("tiny"),
        "crepe_full": crepe("full"),
    }
    clips = synthetic(1000) + (recordings(args.data) if args.data else [])
    groups = list(dict.fromkeys(clip.group for clip in clips))
    for group in groups:
        of = [clip for clip in clips if clip.group == group]
        print(f"{group}: {len(of)} clips, {sum(len(clip.signal) for clip in of) / RATE_HZ:.0f} s", file=sys.stderr)
    contours, load = {}, {}
    for name, track in trackers.items():
        if name in args.without:
            continue
        kept = args.keep and args.keep / f"{name}.npz"
        # Ours is what is being worked on: it is always asked again.
        heard = [clip for clip in clips if name != "crepe_full" or clip.truth_hz is not None]
        if kept and kept.exists() and not name.startswith("ours"):
            stored = np.load(kept)
            contours[name] = {(c.group, c.name): stored[f"{c.group}|{c.name}"] for c in heard}
            load[name] = float(stored["load"])
            continue
        # What loading costs is not counted.
        track(clips[0])
        began = processor_s()
        contours[name] = {(c.group, c.name): track(c) for c in heard}
        load[name] = (processor_s() - began) * RATE_HZ / sum(len(c.signal) for c in heard)
        print(f"{name}: {load[name]:.4f}", file=sys.stderr, flush=True)
        if kept:
            args.keep.mkdir(parents=True, exist_ok=True)
            stored = {f"{group}|{clip}": value for (group, clip), value in contours[name].items()}
            np.savez(kept, load=load[name], **stored)

    moving = [clip for clip in clips if clip.group in ("glides", "vibrato")]
    print("| tracker | look-ahead | delay, ms | core-seconds a second |\n|---|---|---|---|")
    for name in contours:
        print(f"| {name} | {LOOKAHEAD[name]} | {delay_ms(name, moving, contours):+.1f} | {load[name]:.4f} |")
    print("\n| set | tracker | voicing wrong | > 50 cents | octave | median, cents | 95 %, cents |\n|---|---|---|---|---|---|---|")
    sets = {group: [clip for clip in clips if clip.group == group] for group in groups}
    sets["all synthetic"] = [clip for clip in clips if clip.truth_hz is not None]
    for group, of in sets.items():
        for name in contours:
            if (of[0].group, of[0].name) not in contours[name]:
                continue
            s = scores(name, of, contours)
            print(
                f"| {group} | {name} | {s['voicing']:.2f} % | {s['gross']:.2f} % | {s['octave']:.2f} % "
                f"| {s['median']:.2f} | {s['p95']:.1f} |"
            )


if __name__ == "__main__":
    sys.exit(main())
