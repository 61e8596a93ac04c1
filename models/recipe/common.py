"""Shared pieces of the corpus builder: phone maps, clip files, prompts, the manifest."""

import csv
import os
import random
import sys
import tempfile

import numpy as np
import soundfile
import soxr

RATE = 16000
TICKS = 10_000_000  # HTK label times count units of 100 ns

ARPABET = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH "
    "UH UW V W Y Z ZH"
).split()

_ARPABET_ALIASES = {
    "PAU": "SIL", "H#": "SIL", "#": "SIL", "SSIL": "SIL", "BRTH": "SIL", "SPN": "SIL", "NSN": "SIL",
    "+NSN+": "SIL", "+SPN+": "SIL", "+BREATH+": "SIL", "+COUGH+": "SIL", "+NOISE+": "SIL",
    "+SMACK+": "SIL", "+UH+": "AH", "+UM+": "AH", "[NOISE]": "SIL", "[SPEECH]": "SIL",
    "AX": "AH", "AX-H": "AH", "IX": "IH", "AXR": "ER", "DX": "T", "NX": "N", "EL": "L", "EM": "M",
    "EN": "N", "HV": "HH", "UX": "UW",
}


def arpabet(phone):
    """Maps a phone name of any of the tools onto the 39 ARPAbet phones and SIL."""
    name = phone.upper().rstrip("012")
    name = _ARPABET_ALIASES.get(name, name)
    if name != "SIL" and name not in ARPABET:
        raise ValueError(f"phone {phone!r} has no place in the ARPAbet set")
    return name


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def read_audio(path, rate=RATE):
    """Reads a recording as mono float32 at `rate`."""
    audio, source_rate = soundfile.read(path, dtype="float32", always_2d=True)
    audio = audio.mean(axis=1)
    if source_rate != rate:
        audio = soxr.resample(audio, source_rate, rate, quality="HQ")
    return audio.astype(np.float32)


def to_int16(audio):
    if audio.dtype == np.int16:
        return audio
    peak = float(np.abs(audio).max(initial=0.0))
    if peak > 0.999:
        audio = audio * (0.999 / peak)
    return np.round(audio * 32767.0).astype(np.int16)


def tidy(segments, duration):
    """Makes (start, end, phone) triples contiguous over 0..duration and joins equal pauses."""
    out = []
    for start, end, phone in segments:
        start = max(start, out[-1][1] if out else 0.0)
        end = min(end, duration)
        if end - start < 1e-4:
            continue
        silent = phone in ("SIL", "pau")
        if out and out[-1][2] == phone and silent:
            out[-1][1] = end
            continue
        if out:
            out[-1][1] = start  # a gap belongs to what precedes it
        out.append([start, end, phone])
    if not out:
        raise ValueError("no labels")
    out[0][0] = 0.0
    out[-1][1] = duration
    return out


class Clips:
    """Writes `<root>/<set>/<speaker>/<clip>.wav` and `.lab`; the label file appears last."""

    def __init__(self, root, label_set, speaker):
        self.folder = os.path.join(root, label_set, speaker)
        os.makedirs(self.folder, exist_ok=True)

    def path(self, clip, ext):
        return os.path.join(self.folder, clip + ext)

    def has(self, clip):
        return os.path.exists(self.path(clip, ".lab")) and os.path.exists(self.path(clip, ".wav"))

    def seconds(self, clip):
        return soundfile.info(self.path(clip, ".wav")).duration

    def write(self, clip, audio, segments):
        """Stores one clip and returns its length in seconds."""
        audio = to_int16(np.asarray(audio))
        duration = len(audio) / RATE
        segments = tidy(segments, duration)
        lines = [
            f"{round(start * TICKS)} {round(end * TICKS)} {phone}\n" for start, end, phone in segments
        ]
        handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        os.close(handle)
        soundfile.write(temporary, audio, RATE, subtype="PCM_16", format="WAV")
        os.chmod(temporary, 0o644)
        os.replace(temporary, self.path(clip, ".wav"))
        temporary = self.path(clip, ".lab.tmp")
        with open(temporary, "w", encoding="utf-8") as out:
            out.writelines(lines)
        os.replace(temporary, self.path(clip, ".lab"))
        return duration


def fill(clips, minutes, make, limit=100000):
    """Calls `make(index)` -> (audio, segments) until the folder holds `minutes` of clips.

    A clip whose synthesis raises ValueError is skipped; its index is simply left out.
    """
    total, written = 0.0, 0
    for index in range(limit):
        if total >= 60.0 * minutes:
            break
        clip = f"{index:05d}"
        if clips.has(clip):
            total += clips.seconds(clip)
            continue
        try:
            total += clips.write(clip, *make(index))
            written += 1
        except ValueError as error:
            say(f"  {os.path.basename(clips.folder)}/{clip}: {error}")
    return total, written


def manifest(data):
    """The rows of the recordings' manifest that may be trained on."""
    path = os.path.join(data, "manifest.csv")
    if not os.path.exists(path):
        raise SystemExit(f"{path} is missing: --data must name the folder of the recordings")
    with open(path, newline="", encoding="utf-8") as source:
        return [row for row in csv.DictReader(source) if row["split"] == "train"]


def warp_factor(rng, low, high):
    """1 in one case of four, else log-uniform between the bounds."""
    return 1.0 if rng.random() < 0.25 else low * (high / low) ** rng.random()


def warp(audio, segments, factor):
    """Raises pitch and formants by `factor` by resampling; the clip gets shorter by as much."""
    if factor == 1.0:
        return audio, segments
    samples = np.asarray(audio, dtype=np.float32) / (32768.0 if audio.dtype == np.int16 else 1.0)
    samples = soxr.resample(samples, RATE * factor, RATE, quality="HQ")
    return samples, [(start / factor, end / factor, phone) for start, end, phone in segments]


def clip_name(row):
    return os.path.splitext(os.path.basename(row["file"]))[0]


def pocketsphinx_dictionary():
    """Path of the English dictionary that comes with the pocketsphinx package."""
    import pocketsphinx

    return os.path.join(pocketsphinx.get_model_path(), "en-us", "cmudict-en-us.dict")


class Prompts:
    """Sentences to synthesise: given texts, and random dictionary words chosen for phone coverage."""

    def __init__(self, texts, seed):
        self.texts = list(texts)
        self.seed = seed
        self.words, self.by_phone = [], {}
        with open(pocketsphinx_dictionary(), encoding="utf-8") as source:
            for line in source:
                word, *phones = line.split()
                if not word.isalpha() or not 2 <= len(phones) <= 10 or len(word) < 3:
                    continue
                self.words.append(word)
                for phone in set(phones):
                    self.by_phone.setdefault(phone, []).append(word)
        self.phones = sorted(self.by_phone)

    def sentence(self, rng):
        """One sentence; half of the words are drawn so that rare phones come up as often as others."""
        if self.texts and rng.random() < 0.25:
            return rng.choice(self.texts)
        words = []
        for _ in range(rng.randint(4, 9)):
            pool = self.by_phone[rng.choice(self.phones)] if rng.random() < 0.5 else self.words
            words.append(rng.choice(pool))
        if len(words) > 5 and rng.random() < 0.5:
            words[len(words) // 2] += ","
        text = " ".join(words)
        return text[0].upper() + text[1:] + rng.choice("..?")

    def rng(self, *key):
        return random.Random("/".join(str(part) for part in (self.seed, *key)))
