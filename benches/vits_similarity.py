"""How the samples of a VITS training come nearer to the speaker who sings them, heard by an independent speaker encoder.

    pip install resemblyzer soundfile soxr matplotlib
    python benches/vits_similarity.py WORK_FOLDER RECORDINGS OUT.csv

RECORDINGS has a folder per speaker, as `trainer prepare` was given it. Every validation keeps a few held-out clips as the next
speaker sings them; written are, for every step, the cosine of their embeddings with that speaker's and with the clip's own
(mean over clips), beside what the speakers' other recordings have, and a plot OUT.png.
"""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import soundfile
import soxr
from resemblyzer import VoiceEncoder, normalize_volume

RATE_HZ = 16_000
CLIPS = 40


def embedding(encoder: VoiceEncoder, path: Path) -> np.ndarray:
    audio, rate_hz = soundfile.read(path, always_2d=True)
    audio = soxr.resample(audio.mean(1), rate_hz, RATE_HZ).astype(np.float32)
    return encoder.embed_utterance(normalize_volume(audio, -30, increase_only=True))


def main() -> None:
    work, recordings, out = map(Path, sys.argv[1:4])
    encoder = VoiceEncoder("cpu", verbose=False)
    speakers = sorted(folder.name for folder in recordings.iterdir() if folder.is_dir())
    known = {}
    for speaker in speakers:
        files = sorted(p for p in (recordings / speaker).iterdir() if p.suffix in {".wav", ".flac", ".ogg", ".mp3"})
        known[speaker] = np.array([embedding(encoder, path) for path in files[:: max(1, len(files) // CLIPS)]])
    centre = {speaker: clips.mean(0) / np.linalg.norm(clips.mean(0)) for speaker, clips in known.items()}
    for speaker, clips in known.items():
        others = [clips @ centre[other] for other in speakers]
        print(speaker, {other: f"{np.mean(values):.3f}" for other, values in zip(speakers, others)})
    dataset = json.loads((work / "features/dataset.json").read_text())
    assert [speaker["name"] for speaker in dataset["speakers"]] == speakers, "not the recordings of this work folder"
    owner = {clip["name"]: clip["speaker"] for clip in dataset["clips"]}
    rows = []
    for folder in sorted((work / "training/samples").iterdir(), key=lambda p: int(p.name.split("-")[1])):
        target, source = [], []
        for sample in sorted(folder.glob("*.wav")):
            name = re.sub(r"^\d+ ", "", sample.stem)
            own = owner[name]
            heard = embedding(encoder, sample)
            target.append(heard @ centre[speakers[(own + 1) % len(speakers)]])
            source.append(heard @ centre[speakers[own]])
        rows.append((int(folder.name.split("-")[1]), np.mean(target), np.mean(source)))
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "similarity_to_singer", "similarity_to_source"])
        writer.writerows((step, f"{a:.4f}", f"{b:.4f}") for step, a, b in rows)
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    steps, a, b = zip(*rows)
    plt.figure(figsize=(7, 4))
    plt.plot(steps, a, label="to the speaker who sings")
    plt.plot(steps, b, label="to the clip's own")
    plt.xlabel("step")
    plt.ylabel("cosine of speaker embeddings")
    plt.legend()
    plt.tight_layout()
    plt.savefig(out.with_suffix(".png"))
    print("\n".join(f"{step} {x:.3f} {y:.3f}" for step, x, y in rows))


if __name__ == "__main__":
    main()
