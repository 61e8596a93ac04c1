"""Clips whose labels come with the recordings or follow from their names.

The Japanese singer's songs carry label files, which are refined; his read sentences carry the phones
without times and are aligned with the models of the songs. Sung syllables and single notes are named
after what is sung.
"""

import os
import re

import numpy as np

import monophone
from common import RATE, TICKS, Clips, clip_name, manifest, read_audio, say, tidy

HOP = 80  # 5 ms

# vocobox: French vowels with a near English counterpart; the others are left out
VOCOBOX = {"a": "AA", "i": "IY", "ou": "UW"}


def japanese(phone):
    if phone in ("pau", "sil", "br", "xx", "SIL"):
        return "pau"
    return phone.lower() if phone in "AIUEO" else phone


def read_lab(path):
    segments = []
    with open(path, encoding="utf-8") as source:
        for line in source:
            start, end, phone = line.split()
            segments.append((int(start) / TICKS, int(end) / TICKS, japanese(phone)))
    return segments


def level(audio):
    """Frame energies in dB, every 5 ms."""
    padded = np.pad(audio, (160, 160))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 320)[::HOP]
    return 10.0 * np.log10(np.mean(frames.astype(np.float64) ** 2, axis=1) + 1e-10)


def sounding(audio, below=35.0):
    """Start and end in seconds of what is no more than `below` dB under the loudest part."""
    loud = np.flatnonzero(level(audio) > max(level(audio).max() - below, -65.0))
    if len(loud) < 10:
        raise ValueError("nothing sounds in it")
    return loud[0] * HOP / RATE, min((loud[-1] + 1) * HOP, len(audio)) / RATE


def spectra(audio):
    """Log spectra in 24 bands of equal ratio, without their overall level, every 5 ms."""
    padded = np.pad(audio, (200, 200))
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::HOP] * np.hanning(400)
    power = np.abs(np.fft.rfft(frames, 512, axis=1)) ** 2
    edges = np.unique(np.round(np.geomspace(4, 256, 25)).astype(int))
    bands = np.stack([power[:, low:high].mean(axis=1) for low, high in zip(edges[:-1], edges[1:])], axis=1)
    logs = np.log(bands + 1e-7)
    return logs - logs.mean(axis=1, keepdims=True)


def vowel_start(audio, start, end, longest=0.35):
    """Where a syllable's consonant gives way to its sustained vowel, in seconds.

    The consonant differs from the vowel in spectrum or in level. Both distances to the steady part
    are measured; the vowel starts after the last frame that is more than half as far as the
    farthest one.
    """
    first, last = int(start * RATE / HOP), int(end * RATE / HOP)
    steady = slice(first + (last - first) // 3, first + 2 * (last - first) // 3)
    logs, loud = spectra(audio), level(audio)
    count = min(len(logs), len(loud))
    distance = np.sqrt(((logs[:count] - np.median(logs[steady], axis=0)) ** 2).mean(axis=1))
    distance += np.clip(np.median(loud[steady]) - 6.0 - loud[:count], 0.0, 30.0) / 10.0
    distance = np.convolve(distance, np.ones(3) / 3.0, mode="same")
    usual = np.median(distance[steady])
    head = distance[first : first + int(longest * RATE / HOP)]
    far = np.flatnonzero(head > usual + 0.4 * (head.max() - usual))
    return (first + (far[-1] + 1 if len(far) else 0)) * HOP / RATE


def syllable(name):
    """Consonant (may be empty) and vowel of a romanised syllable, in the label files' names."""
    match = re.fullmatch(r"([a-z]*?)([aiueo])", name)
    if not match or name == "wo":
        return None
    consonant = {"dz": "z", "c": "ch"}.get(match[1], match[1])
    return consonant, match[2]


def syllables(data, out, rows):
    total = count = 0
    for row in rows:
        if row["speaker"] != "iona_f01":
            continue
        clips, clip = Clips(out, "japanese", row["speaker"]), clip_name(row)
        if clips.has(clip):
            total += clips.seconds(clip)
            continue
        audio = read_audio(os.path.join(data, row["file"]))
        duration = len(audio) / RATE
        if row["transcript"] == "breath":
            segments = [(0.0, duration, "pau")]
        else:
            parts = syllable(row["transcript"])
            if parts is None:
                continue
            start, end = sounding(audio)
            segments = [(0.0, start, "pau")]
            middle = start
            if parts[0]:
                middle = max(vowel_start(audio, start, end), start + 0.01)
                segments.append((start, middle, parts[0]))
            segments += [(middle, end, parts[1]), (end, duration, "pau")]
        total += clips.write(clip, audio, segments)
        count += 1
    say(f"sung syllables: {total / 60:.1f} min, {count} new clips")


def even(phones, audio):
    """A first guess for phones without times: evenly over what sounds."""
    start, end = sounding(audio)
    inner = list(phones)
    while inner and inner[0] == "pau":
        inner.pop(0)
    while inner and inner[-1] == "pau":
        inner.pop()
    step = (end - start) / len(inner)
    segments = [(start + index * step, start + (index + 1) * step, phone) for index, phone in enumerate(inner)]
    return [(0.0, start, "pau"), *segments, (end, len(audio) / RATE, "pau")]


def japanese_singer(data, out, rows):
    """The songs' label times are off by up to 0.2 s: they only start an alignment of the same phones."""
    rows = [row for row in rows if row["speaker"] == "pjs_m01"]
    clips = Clips(out, "japanese", "pjs_m01")
    if all(clips.has(clip_name(row)) for row in rows):
        say("Japanese singer: nothing to do")
        return
    songs, speech = [], []
    for row in rows:
        path = os.path.join(data, row["file"])
        audio, labels = read_audio(path), os.path.splitext(path)[0] + ".lab"
        duration = len(audio) / RATE
        if os.path.exists(labels):
            segments = read_lab(labels)
            if any(start > duration and phone != "pau" for start, _, phone in segments):
                say(f"  {clip_name(row)}: labels go on after the recording's end; left out")
                continue
            songs.append((clip_name(row), audio, monophone.Clip(audio, tidy(segments, duration))))
        elif row["transcript"].startswith("phonemes:"):
            phones = [japanese(phone) for phone in row["transcript"].split()[1:]]
            speech.append((clip_name(row), audio, monophone.Clip(audio, tidy(even(phones, audio), duration))))
    for group in (songs, speech):
        monophone.normalise([clip for _, _, clip in group])
    models = monophone.train([clip for _, _, clip in songs], rounds=8, window=0.4)
    for _, _, clip in speech:
        monophone.realign(clip, models)
    monophone.train([clip for _, _, clip in songs + speech], rounds=4, window=0.3)
    total = 0.0
    for name, audio, clip in songs + speech:
        total += clips.write(name, audio, monophone.drop_short_pauses(clip.segments))
    say(f"Japanese singer: {total / 60:.1f} min, {len(songs)} songs, {len(speech)} read sentences")


def notes(data, out, rows):
    total = count = 0
    for row in rows:
        name = clip_name(row)
        if row["speaker"].startswith("berklee_"):
            sung = re.search(r"_(aa|oo)", name)
            phone = {"aa": "AA", "oo": "UW"}[sung[1]] if sung else None
        elif row["speaker"].startswith("vocobox"):
            sung = re.fullmatch(r"vowel__-([a-z]+)-c3.*", name)
            phone = VOCOBOX.get(sung[1]) if sung else ("AA" if name.startswith("note_") else None)
        else:
            continue
        if phone is None or row["kind"] != "singing":
            continue
        clips = Clips(out, "arpabet", row["speaker"])
        if not clips.has(name):
            audio = read_audio(os.path.join(data, row["file"]))
            start, end = sounding(audio)
            clips.write(name, audio, [(0.0, start, "SIL"), (start, end, phone), (end, len(audio) / RATE, "SIL")])
            count += 1
        total += clips.seconds(name)
    say(f"single notes: {total / 60:.1f} min, {count} new clips")


def build(data, out):
    rows = manifest(data)
    notes(data, out, rows)
    syllables(data, out, rows)
    japanese_singer(data, out, rows)
