"""How many words of conversions a speech recogniser hears as it hears them in the sources, and how far their frames are apart.

    pip download --no-deps moonshine-voice==0.0.59
    pip install numpy soundfile soxr onnxruntime==1.23.2
    python benches/understood.py moonshine_voice-*.whl DATA FOLDER ... [--words]

DATA is the folder of recordings with `manifest.csv`, each FOLDER one of conversions named after their sources, as `judged.py`
writes them. Words count as wrong against the source's transcript, where the manifest has one, else against what is heard of the
source itself. Frames are the recogniser's, one less their correlation.
"""

import argparse
import csv
import re
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr

RATE = 16_000
PARTS = "moonshine_voice/assets/tiny-en/"
LAYERS, HEADS, WIDTH = 6, 8, 36
FIRST, LAST = 1, 2


class Recogniser:
    def __init__(self, wheel):
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as files:
            session = lambda name: onnxruntime.InferenceSession(files.extract(PARTS + name, folder))
            self.encoder, self.decoder = session("encoder_model.ort"), session("decoder_model_merged.ort")
            self.pieces = self.read_pieces(files.read(PARTS + "tokenizer.bin"))

    @staticmethod
    def read_pieces(numbers):
        """Texts after one another, each after its length in one byte, or in two from 128 on."""
        pieces, place = [], 0
        while place < len(numbers):
            length = numbers[place]
            place += 1
            if length >= 128:
                length += 128 * numbers[place] - 128
                place += 1
            pieces.append(numbers[place : place + length])
            place += length
        return pieces

    def frames(self, audio):
        mask = np.ones((1, len(audio)), np.int64)
        return self.encoder.run(None, {"input_values": audio[None], "attention_mask": mask})[0]

    def text(self, audio):
        """The words of a clip, the likeliest piece after the likeliest piece."""
        kinds = [f"{layer}.{side}.{part}" for layer in range(LAYERS) for side in ("decoder", "encoder") for part in ("key", "value")]
        past = {f"past_key_values.{kind}": np.zeros((1, HEADS, 0, WIDTH), np.float32) for kind in kinds}
        names = [output.name for output in self.decoder.get_outputs()]
        fixed = {"encoder_attention_mask": np.ones((1, len(audio)), np.int64), "encoder_hidden_states": self.frames(audio)}
        found, piece = [], FIRST
        for step in range(int(6.5 * len(audio) / RATE) + 1):
            ids = {"input_ids": np.array([[piece]], np.int64), "use_cache_branch": np.array([step > 0])}
            out = dict(zip(names, self.decoder.run(None, {**fixed, **ids, **past})))
            piece = int(out["logits"][0, -1].argmax())
            if piece == LAST:
                break
            found.append(self.pieces[piece])
            for name in past:
                # What is known of the clip is only given once.
                if step == 0 or ".encoder." not in name:
                    past[name] = out[name.replace("past_key_values", "present")]
        return b"".join(found).decode("utf-8", "replace").replace("\u2581", " ").strip()


def read(path):
    samples, rate = soundfile.read(path)
    mono = samples if samples.ndim == 1 else samples.mean(1)
    return soxr.resample(mono, rate, RATE).astype(np.float32)


def words_of(text):
    return re.sub(r"[^a-z' ]", " ", text.lower()).split()


def wrong(expected, found):
    """The fewest words to change, leave out or add."""
    row = list(range(len(found) + 1))
    for i, word in enumerate(expected, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(found, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


def plain(frames):
    frames = frames[0] - frames[0].mean(-1, keepdims=True)
    return frames / np.sqrt((frames**2).mean(-1, keepdims=True) + 1e-5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel")
    parser.add_argument("data", type=Path)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--words", action="store_true", help="print what is heard of every clip")
    args = parser.parse_args()
    recogniser = Recogniser(args.wheel)
    with open(args.data / "manifest.csv", newline="", encoding="utf-8") as source:
        rows = {Path(row["file"]).stem: row for row in csv.DictReader(source)}
    known = {}
    for folder in args.folders:
        missed = count = 0
        apart = []
        for path in sorted(folder.glob("*.wav")):
            if path.stem not in known:
                row = rows[path.stem]
                audio = read(args.data / row["file"])
                known[path.stem] = words_of(row["transcript"] or recogniser.text(audio)), plain(recogniser.frames(audio))
            expected, frames = known[path.stem]
            audio = read(path)
            text, own = recogniser.text(audio), plain(recogniser.frames(audio))
            length = min(len(own), len(frames))
            apart.append(float(((own[:length] - frames[:length]) ** 2).mean() / 2))
            errors = wrong(expected, words_of(text))
            missed, count = missed + errors, count + len(expected)
            if args.words:
                print(f"  {path.stem}: {errors} of {len(expected)} wrong, frames {apart[-1]:.3f}: {text}")
        print(f"{folder}: {count} words, {100 * missed / max(count, 1):.1f} % wrong, frames {np.mean(apart):.4f} apart")


if __name__ == "__main__":
    main()
