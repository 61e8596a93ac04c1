"""What the scripts for other people's hosts share: arguments, measurements, verdicts."""

import argparse
import os
import sys

import numpy as np
from pedalboard.io import AudioFile


class Verdicts:
    """Prints a line per claim; the exit code says whether all held."""

    def __init__(self, host):
        self.host = host
        self.failed = 0

    def check(self, claim, holds, detail=""):
        self.failed += not holds
        word = "PASS" if holds else "FAIL"
        print(f"{word} {self.host}: {claim}" + (f" ({detail})" if detail else ""), flush=True)

    def finish(self):
        # Plugin hosts in Python do not always survive their own shutdown; what
        # was printed is the result.
        sys.stdout.flush()
        os._exit(1 if self.failed else 0)


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bundle", required=True, help="timbra.vst3")
    parser.add_argument("--vocal", required=True, help="WAV to send through the plugin")
    parser.add_argument("--work", required=True, help="folder for files made on the way")
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    return args


def read(path):
    """Samples as float32 [channels, samples] and the rate in Hz."""
    with AudioFile(str(path)) as file:
        return file.read(file.frames), int(file.samplerate)


def write(path, audio, rate_hz):
    with AudioFile(str(path), "w", rate_hz, audio.shape[0], bit_depth=32) as file:
        file.write(audio)


def stereo(audio):
    return np.ascontiguousarray(np.repeat(audio[:1], 2, axis=0))


def lag_samples(source, output):
    """Samples by which `output` follows `source`, from their cross-correlation."""
    count = len(source) + len(output)
    size = 1 << (count - 1).bit_length()
    product = np.fft.rfft(output, size) * np.conj(np.fft.rfft(source, size))
    correlation = np.fft.irfft(product, size)
    best = int(np.argmax(correlation))
    return best if best < size // 2 else best - size


def rms(audio):
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if audio.size else 0.0


def gaps(source, output, rate_hz):
    """Stretches of 1 ms and more that are zero in the output and not in the source."""
    hop = rate_hz // 1000
    found = 0
    for start in range(0, min(len(source), len(output)) - hop, hop):
        loud = rms(source[start : start + hop]) > 0.01
        found += loud and not np.any(output[start : start + hop])
    return found
