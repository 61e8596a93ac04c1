"""Phone labels for English recordings by pocketsphinx.

With a transcript the phones are force-aligned; without one the words are decoded first. Where the
alignment fails, a phone loop labels the clip. Words the dictionary lacks are spelled out by flite.
"""

import csv
import os
import re
import shutil
import subprocess

import numpy as np
import pocketsphinx

from common import RATE, Clips, arpabet, clip_name, manifest, pocketsphinx_dictionary, read_audio, say, to_int16

FRAME = 0.01
# A frame's window is 25.6 ms long and starts at the frame's nominal time: what separates two frames
# lies midway between the centres of their windows.
FRAME_OFFSET = 0.0078


def spelled(word):
    """The phones that flite's letter-to-sound rules give a word, or None."""
    if shutil.which("flite") is None:
        return None
    done = subprocess.run(["flite", "-ps", "-t", word, "-o", "none"], capture_output=True, text=True)
    phones = [arpabet(phone) for phone in done.stdout.split()]
    return [phone for phone in phones if phone != "SIL"] or None


def read_transcripts(path):
    """What a file with the columns `file` and `transcript` says was spoken, by file."""
    with open(path, newline="", encoding="utf-8") as source:
        return {row["file"]: row["transcript"] for row in csv.DictReader(source)}


class Aligner:
    def __init__(self):
        self.dictionary = set()
        self.added = {}
        with open(pocketsphinx_dictionary(), encoding="utf-8") as source:
            for line in source:
                self.dictionary.add(line.split()[0])
        self._words = self._align = self._phones = None

    def _run(self, decoder, pcm):
        decoder.start_utt()
        decoder.process_raw(pcm, no_search=False, full_utt=True)
        decoder.end_utt()

    def words(self, pcm):
        """Decodes the words of a clip; narrow beams, as it only has to be fast and nearly right."""
        if self._words is None:
            self._words = pocketsphinx.Decoder(
                loglevel="FATAL", beam=1e-60, wbeam=1e-40, pbeam=1e-60, maxhmmpf=6000, fwdflat=True, bestpath=True
            )
        self._run(self._words, pcm)
        hypothesis = self._words.hyp()
        return hypothesis.hypstr.split() if hypothesis else []

    def _alignment(self, pcm, words):
        """The alignment and the seconds cut off before it; empty if there is none.

        The second pass now and then loses its path; a start moved by a few milliseconds mends that.
        """
        if self._align is None:
            self._align = pocketsphinx.Decoder(loglevel="FATAL", lm=None)
        decoder = self._align
        for word in words:
            if word in self.added and decoder.lookup_word(word) is None:
                decoder.add_word(word, self.added[word], True)
        for skip in (0, 32, 64, 96, 16, 48, 80, 112):
            try:
                decoder.set_align_text(" ".join(words))
                self._run(decoder, pcm[2 * skip :])
                decoder.set_alignment()
                self._run(decoder, pcm[2 * skip :])
                alignment = decoder.get_alignment()
            except RuntimeError:
                continue
            if alignment is not None:
                return alignment, skip / RATE
        return (), 0.0

    def align(self, pcm, words):
        """Phone segments of the given words, or None."""
        alignment, offset = self._alignment(pcm, words)
        segments = [(phone.start, phone.start + phone.duration, phone.name) for word in alignment for phone in word]
        return self._seconds(segments, offset) if segments else None

    def loop(self, pcm):
        """Segments by the free phone loop, or None."""
        if self._phones is None:
            model = os.path.join(pocketsphinx.get_model_path(), "en-us")
            self._phones = pocketsphinx.Decoder(
                loglevel="FATAL", lm=None, allphone=os.path.join(model, "en-us-phone.lm.bin"), lw=2.0,
                beam=1e-20, pbeam=1e-20,
            )
        self._run(self._phones, pcm)
        segments = [(seg.start_frame, seg.end_frame + 1, seg.word) for seg in self._phones.seg()]
        return self._seconds(segments) if segments else None

    @staticmethod
    def _seconds(frames, offset=0.0):
        offset += FRAME_OFFSET
        return [(start * FRAME + offset, end * FRAME + offset, arpabet(name)) for start, end, name in frames]

    def transcript(self, text):
        """The words of a transcript as the dictionary spells them; None if one can neither be found nor spelled."""
        text = text.lower().replace("\u2019", "'").replace("\u2014", " ").replace("-", " ")
        words = [word for word in re.findall(r"[a-z0-9']+", text) if word.strip("'")]
        words = [word.strip("'") if word.strip("'") in self.dictionary else word for word in words]
        for word in words:
            if word not in self.dictionary and word not in self.added:
                phones = spelled(word)
                if phones is None:
                    return None
                self.added[word] = " ".join(phones)
        return words or None


def pcm_bytes(audio):
    """16-bit samples, brought to a common level: some recordings are very quiet."""
    peak = float(np.abs(audio).max(initial=0.0))
    return to_int16(audio * (0.5 / peak) if peak > 1e-4 else audio).tobytes()


def build(data, out, speakers, max_minutes=None, decode_words=True, transcripts=None):
    """Labels the English training clips whose speaker's name starts with one of `speakers`.

    Clips without a transcript in the manifest have that of `transcripts`, a file as `read_transcripts` reads.
    """
    told = read_transcripts(transcripts) if transcripts else {}
    aligner = Aligner()
    count = {"aligned": 0, "loop": 0, "failed": 0, "unknown word": 0}
    total = 0.0
    for row in manifest(data):
        if row["kind"] != "speech" or row["language"] != "en" or not row["speaker"].startswith(tuple(speakers)):
            continue
        if max_minutes is not None and total >= 60.0 * max_minutes:
            break
        clips, clip = Clips(out, "arpabet", row["speaker"]), clip_name(row)
        if clips.has(clip):
            total += clips.seconds(clip)
            continue
        audio = read_audio(os.path.join(data, row["file"]))
        pcm = pcm_bytes(audio)
        how = "aligned"
        spoken = row["transcript"] or told.get(row["file"])
        if spoken:
            words = aligner.transcript(spoken)
            if words is None:
                count["unknown word"] += 1
                continue
        else:
            words = aligner.words(pcm) if decode_words else None
        segments = aligner.align(pcm, words) if words else None
        if segments is None:
            how, segments = "loop", aligner.loop(pcm)
        if segments is None:
            count["failed"] += 1
            continue
        count[how] += 1
        total += clips.write(clip, audio, segments)
    say(f"{'/'.join(speakers)}: {total / 60:.1f} min, " + ", ".join(f"{n} {k}" for k, n in count.items()))
