"""What a voice makes of difficult recordings: how far its peaks are over the input's, and what sounds where nothing should.

    pip install numpy soundfile soxr
    python benches/robustness.py PROGRAM VOICE SPEAKER OUT_FOLDER --clean RECORDING... --difficult RECORDING...

PROGRAM is the trainer. Every difficult recording is converted as it is. From the clean ones this script makes, always
alike: `reverberant` (noise that decays by 60 dB in 0.8 s, as loud as the direct sound), `noisy` (pink noise, 10 dB below the
recording), `whispered` (the phase of every frame drawn at random: no pitch is left), `pauses` (a second of digital silence
in the middle), `together` (this clip and the next at the same level) and `clean` itself. Prints per clip, in dB: the output's
peak over the input's; its loudest 20 ms over the input's; and its level where the input has been silent (below -80 dBFS)
for 200 ms; per kind the medians and the most. OUT_FOLDER keeps inputs and outputs, NAME_KIND_in.wav and NAME_KIND.wav.
"""

import argparse
import subprocess
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE_HZ = 48_000
WINDOW = RATE_HZ // 50
SILENT_DB = -80.0
AFTER = RATE_HZ // 5


def read(path):
    samples, rate_hz = soundfile.read(path)
    mono = samples if samples.ndim == 1 else samples.mean(1)
    return soxr.resample(mono, rate_hz, RATE_HZ)


def level(samples):
    return np.sqrt(np.mean(samples**2) + 1e-20)


def db(amplitude):
    return 20 * np.log10(amplitude + 1e-10)


def reverberant(clip, _, random):
    seconds = 0.8
    tail = random.standard_normal(int(seconds * RATE_HZ))
    tail *= 10 ** (-3 * np.arange(len(tail)) / len(tail))
    tail[: RATE_HZ // 100] = 0
    size = len(clip) + len(tail)
    wet = np.fft.irfft(np.fft.rfft(clip, size) * np.fft.rfft(tail, size), size)[: len(clip)]
    return clip + wet * level(clip) / level(wet)


def noisy(clip, _, random):
    spectrum = np.fft.rfft(random.standard_normal(len(clip)))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise = np.fft.irfft(spectrum, len(clip))
    return clip + noise * level(clip) / level(noise) * 10 ** (-10 / 20)


def whispered(clip, _, random):
    size, hop = 1024, 256
    window = np.hanning(size + 1)[:-1]
    out = np.zeros(len(clip) + size)
    for start in range(0, len(clip) - size, hop):
        spectrum = np.fft.rfft(clip[start : start + size] * window)
        turned = np.abs(spectrum) * np.exp(2j * np.pi * random.random(len(spectrum)))
        out[start : start + size] += np.fft.irfft(turned, size) * window
    out = out[: len(clip)]
    return out * level(clip) / level(out)


def pauses(clip, _, random):
    half = len(clip) // 2
    return np.concatenate([clip[:half], np.zeros(RATE_HZ), clip[half:]])


def together(clip, other, random):
    other = np.resize(other, len(clip))
    return clip + other * level(clip) / level(other)


KINDS = [reverberant, noisy, whispered, pauses, together]


def loudest(samples):
    count = len(samples) // WINDOW
    return np.sqrt((samples[: count * WINDOW].reshape(count, WINDOW) ** 2).mean(1).max())


def silent_places(samples):
    """Where the input has been silent for 200 ms."""
    loud = np.abs(samples) > 10 ** (SILENT_DB / 20)
    last = np.maximum.accumulate(np.where(loud, np.arange(len(samples)), 0))
    return np.arange(len(samples)) - last >= AFTER


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("voice")
    parser.add_argument("speaker")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clean", nargs="+", required=True, type=Path)
    parser.add_argument("--difficult", nargs="*", default=[], type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    inputs = [(path.stem, "difficult", read(path)) for path in options.difficult]
    clips = [read(path) for path in options.clean]
    for n, (path, clip) in enumerate(zip(options.clean, clips)):
        inputs.append((path.stem, "clean", clip))
        for kind in KINDS:
            made = kind(clip, clips[(n + 1) % len(clips)], np.random.default_rng(n))
            made *= min(1.0, 0.99 / np.abs(made).max())
            inputs.append((path.stem, kind.__name__, made))
    rows = {}
    print(f"{'recording':44} {'peak':>7} {'loudest':>8} {'silence':>8}")
    for name, kind, samples in inputs:
        given = options.folder / f"{name}_{kind}_in.wav"
        made = options.folder / f"{name}_{kind}.wav"
        soundfile.write(given, samples, RATE_HZ, subtype="FLOAT")
        line = [options.program, "convert", given, "-o", made, "--voice", options.voice, "--speaker", options.speaker]
        subprocess.run(line, check=True, capture_output=True)
        output = read(made)
        size = min(len(samples), len(output))
        before, after = samples[:size], output[:size]
        silent = silent_places(before)
        row = [
            db(np.abs(after).max()) - db(np.abs(before).max()),
            db(loudest(after)) - db(loudest(before)),
            db(level(after[silent])) if silent.any() else np.nan,
        ]
        rows.setdefault(kind, []).append(row)
        print(f"{name + ' ' + kind:44} {row[0]:7.1f} {row[1]:8.1f} {row[2]:8.1f}", flush=True)
    for kind, values in rows.items():
        values = np.array(values)
        quiet = values[:, 2][~np.isnan(values[:, 2])]
        heard = f"{quiet.max():.1f}" if len(quiet) else "-"
        print(
            f"{kind}: {len(values)} clips, peak median {np.median(values[:, 0]):.1f}, most {values[:, 0].max():.1f};"
            f" loudest 20 ms median {np.median(values[:, 1]):.1f}, most {values[:, 1].max():.1f}; silence at most {heard} dBFS"
        )


if __name__ == "__main__":
    main()
