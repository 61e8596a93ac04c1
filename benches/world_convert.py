"""A classical converter to compare with: WORLD analysis, pitch and formants moved, the target's long-term colour.

    pip install numpy soundfile soxr pyworld
    python benches/world_convert.py OUT_FOLDER SOURCE... --target RECORDING [RECORDING...]

What could be done before networks, without parallel recordings: F0 is multiplied by the ratio of the medians (whole
semitones), the spectral envelope is stretched along frequency by the factor that brings the source's long-term envelope
nearest to the target's, and what is left of the difference of the two long-term envelopes, smoothed, is added. Aperiodicity
is stretched alike. Writes OUT_FOLDER/<source's name>.wav, which `trainer page --beside world=OUT_FOLDER` shows.
"""

import argparse
from pathlib import Path

import numpy as np
import pyworld
import soundfile
import soxr

RATE_HZ = 24_000
FRAME_MS = 5.0
F0_FLOOR_HZ, F0_CEILING_HZ = 65.0, 1000.0
STRETCHES = np.exp(np.linspace(np.log(0.78), np.log(1.28), 51))
# Width of what the colour keeps of a difference, in Hz.
SMOOTH_HZ = 400.0
MOST_COLOUR_DB = 15.0


def read(path):
    samples, rate_hz = soundfile.read(path)
    mono = samples if samples.ndim == 1 else samples.mean(1)
    return np.ascontiguousarray(soxr.resample(mono, rate_hz, RATE_HZ))


def analyse(samples):
    f0_hz, times = pyworld.harvest(
        samples, RATE_HZ, f0_floor=F0_FLOOR_HZ, f0_ceil=F0_CEILING_HZ, frame_period=FRAME_MS
    )
    envelope = pyworld.cheaptrick(samples, f0_hz, times, RATE_HZ)
    return f0_hz, envelope, pyworld.d4c(samples, f0_hz, times, RATE_HZ)


def colour_db(f0_hz, envelope):
    """Long-term envelope of the voiced frames, each at the same level."""
    frames_db = 10 * np.log10(envelope[f0_hz > 0] + 1e-12)
    return (frames_db - frames_db.mean(1, keepdims=True)).mean(0)


def stretched(rows, factor):
    """What was at frequency f is at f times the factor."""
    bins = np.arange(rows.shape[-1])
    stretch = lambda row: np.interp(bins / factor, bins, row)  # noqa: E731
    return np.apply_along_axis(stretch, -1, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--target", nargs="+", required=True, type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    targets = [analyse(read(path)) for path in args.target]
    target_hz = np.median(np.concatenate([f0[f0 > 0] for f0, _, _ in targets]))
    target_db = np.mean([colour_db(f0, envelope) for f0, envelope, _ in targets], axis=0)
    for path in args.sources:
        f0_hz, envelope, aperiodicity = analyse(read(path))
        if not (f0_hz > 0).any():
            print(f"{path}: nothing is voiced; left out")
            continue
        semitones = round(12 * np.log2(target_hz / np.median(f0_hz[f0_hz > 0])))
        source_db = colour_db(f0_hz, envelope)
        speech = slice(0, int(5000 / RATE_HZ * 2 * (len(source_db) - 1)))
        distance = [np.std((stretched(source_db, f) - target_db)[speech]) for f in STRETCHES]
        factor = STRETCHES[int(np.argmin(distance))]
        left_db = target_db - stretched(source_db, factor)
        width = max(1, round(SMOOTH_HZ / (RATE_HZ / 2) * (len(left_db) - 1)))
        kernel = np.hanning(2 * width + 1)[1:-1]
        padded = np.pad(left_db, len(kernel) // 2, mode="edge")
        smooth_db = np.convolve(padded, kernel / kernel.sum(), "valid")
        gain = 10 ** (np.clip(smooth_db, -MOST_COLOUR_DB, MOST_COLOUR_DB) / 10)
        made = pyworld.synthesize(
            f0_hz * 2 ** (semitones / 12),
            np.ascontiguousarray(np.exp(stretched(np.log(envelope + 1e-16), factor)) * gain),
            np.ascontiguousarray(np.clip(stretched(aperiodicity, factor), 0, 1)),
            RATE_HZ,
            FRAME_MS,
        )
        made = made[: round(len(f0_hz) * FRAME_MS * 1e-3 * RATE_HZ)]
        made /= max(1.0, np.abs(made).max() / 0.99)
        soundfile.write(args.folder / f"{path.stem}.wav", made, RATE_HZ, subtype="PCM_16")
        print(f"{path.stem}: {semitones:+d} semitones, envelope times {factor:.2f}")


main()
