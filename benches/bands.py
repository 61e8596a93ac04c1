"""Conversions brought towards the levels of broad bands of their sources: what a voice would be if it heard them.

    pip install numpy soundfile soxr
    python benches/bands.py DATA CONVERSIONS OUT_FOLDER [--bands 8] [--share 0.5] [--only level | shape]

DATA is the folder of recordings with `manifest.csv`, CONVERSIONS one of conversions named after their sources, as `judged.py`
writes them. Bands are triangles, evenly spaced in critical bands (ERB) from 80 Hz to 7.5 kHz. Of a conversion's levels and its
source's, each against its mean over the frames within 40 dB of the loudest, a share of the difference is added, at most 12 dB;
where the source is softer it fades within 20 dB. `--only level` takes what is the same for all bands, `shape` what is not. The
whole clip is known: this is a trial, not a way to play.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import soundfile
import soxr

WINDOW_S, HOP_S = 0.025, 0.005
EDGES_HZ = (80, 7_500)
MOST_DB = 12
HEARD_DB, FADE_DB = 40, 20
FLOOR = 1e-7


def erbs(hz):
    """Critical bands below `hz` (Glasberg and Moore, 1990)."""
    return 21.4 * np.log10(1 + 0.00437 * hz)


def frames(samples, window, hop):
    padded = np.pad(samples, (len(window), len(window)))
    starts = range(0, len(padded) - len(window) + 1, hop)
    return np.stack([np.fft.rfft(window * padded[s : s + len(window)]) for s in starts])


def overlapped(spectra, window, hop, count):
    sound = np.zeros((len(spectra) - 1) * hop + len(window))
    weight = np.zeros_like(sound)
    for place, spectrum in zip(range(0, len(sound), hop), spectra):
        sound[place : place + len(window)] += window * np.fft.irfft(spectrum, len(window))
        weight[place : place + len(window)] += window**2
    return (sound / np.maximum(weight, 1e-6))[len(window) : len(window) + count]


def brought_nearer(source, conversion, rate_hz, bands, share, only):
    """`conversion` with a share of what its bands' levels are apart from those of `source`, both mono at one rate."""
    window = np.hanning(int(WINDOW_S * rate_hz) // 2 * 2 + 1)[:-1]
    hop = int(HOP_S * rate_hz)
    heard, sung = frames(source, window, hop), frames(conversion, window, hop)
    positions = erbs(np.fft.rfftfreq(len(window), 1 / rate_hz))
    low, high = (erbs(hz) for hz in EDGES_HZ)
    width = (high - low) / (bands + 1)
    centres = low + width * np.arange(1, bands + 1)
    bank = np.clip(1 - np.abs(positions[:, None] - centres) / width, 0, None)
    whole = 10 * np.log10((np.abs(heard) ** 2).sum(1) + FLOOR)
    loud = whole > whole.max() - HEARD_DB

    def levels(spectra):
        levels = 10 * np.log10(np.abs(spectra) ** 2 @ bank + FLOOR)
        return levels - levels[loud].mean(0)

    apart = levels(heard) - levels(sung)
    common = apart.mean(1, keepdims=True)
    if only == "level":
        apart = np.repeat(common, bands, 1)
    elif only == "shape":
        apart = apart - common
    gain_db = np.clip(share * apart, -MOST_DB, MOST_DB)
    gain_db[~loud] *= np.clip((whole[~loud, None] - (whole.max() - HEARD_DB - FADE_DB)) / FADE_DB, 0, 1)
    gains = np.stack([np.interp(positions, centres, frame) for frame in gain_db])
    return overlapped(sung * 10 ** (gains / 20), window, hop, len(conversion))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("conversions", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bands", type=int, default=8)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--only", choices=["level", "shape"])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.data / "manifest.csv", encoding="utf-8") as table:
        sources = {Path(row["file"]).stem: args.data / row["file"] for row in csv.DictReader(table)}
    for path in sorted(args.conversions.glob("*.wav")):
        conversion, rate_hz = soundfile.read(path)
        source, source_hz = soundfile.read(sources[path.stem], always_2d=True)
        source = soxr.resample(source.mean(1), source_hz, rate_hz)
        source = np.pad(source, (0, max(0, len(conversion) - len(source))))[: len(conversion)]
        nearer = brought_nearer(source, conversion, rate_hz, args.bands, args.share, args.only)
        soundfile.write(args.out / path.name, np.clip(nearer, -1, 1), rate_hz)


if __name__ == "__main__":
    main()
