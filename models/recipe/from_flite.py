"""Clips synthesised by flite, labelled with the phone ends that it prints."""

import os
import subprocess
import tempfile

import numpy as np
import soundfile

from common import RATE, Clips, arpabet, fill, say, warp, warp_factor

# voice: mean and spread of the pitch targets in Hz (only kal16 heeds them)
VOICES = {"slt": (170, 30), "rms": (105, 20), "awb": (125, 25), "kal16": (105, 20)}
# Three of four clips are resampled by a factor in this range, which moves pitch and formants
# together: the voices stand for taller and smaller speakers.
WARP = (0.86, 1.18)


def synthesise(voice, text, settings):
    """Returns (int16 audio, segments)."""
    handle, path = tempfile.mkstemp(suffix=".wav")
    os.close(handle)
    try:
        command = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", path]
        for name, value in settings.items():
            command += ["--setf", f"{name}={value:.3f}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise ValueError(f"flite failed: {done.stderr.strip()[-200:]}")
        audio, rate = soundfile.read(path, dtype="int16")
    finally:
        os.remove(path)
    if rate != RATE:
        raise ValueError(f"flite wrote {rate} Hz")
    segments, start = [], 0.0
    for item in done.stdout.split():
        phone, _, end = item.rpartition(":")
        segments.append((start, float(end), arpabet(phone)))
        start = float(end)
    if not segments:
        raise ValueError("flite printed no phones")
    if len(audio) > (start + 0.3) * RATE:
        raise ValueError(f"labels end at {start:.2f} s, audio at {len(audio) / RATE:.2f} s")
    return np.asarray(audio), segments


def build(out, prompts, minutes, voices=tuple(VOICES)):
    """`minutes` in all, shared evenly among the voices."""
    for voice in voices:
        mean, spread = VOICES[voice]

        def make(index):
            rng = prompts.rng("flite", voice, index)
            factor = warp_factor(rng, *WARP)
            audio, segments = synthesise(
                voice,
                prompts.sentence(rng),
                {
                    "duration_stretch": factor * rng.uniform(0.8, 1.5),
                    "int_f0_target_mean": mean * 2.0 ** rng.uniform(-0.4, 0.6),
                    "int_f0_target_stddev": spread * rng.uniform(0.3, 1.5),
                },
            )
            return warp(audio, segments, factor)

        total, written = fill(Clips(out, "arpabet", "flite_" + voice), minutes / len(voices), make)
        say(f"flite {voice}: {total / 60:.1f} min, {written} new clips")
