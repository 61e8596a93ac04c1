"""Clips synthesised by festival, labelled with the ends of its segments."""

import os
import re
import subprocess
import tempfile

from common import Clips, arpabet, fill, read_audio, say, warp, warp_factor

# voice: mean and spread of the pitch targets in Hz (the HTS voice sets its own pitch)
VOICES = {"kal_diphone": (105, 15), "ked_diphone": (105, 15), "cmu_us_slt_arctic_hts": None}
WARP = (0.86, 1.18)
BATCH = 20
DELAY = 0.008  # the sound comes this much after the labels, measured by forced alignment

_SETUP = """
(define (clip_of text path)
  (let ((utt (eval (list 'Utterance 'Text text))))
    (utt.synth utt)
    (utt.save.wave utt path 'riff)
    (format t "CLIP %s" path)
    (mapcar (lambda (s) (format t " %s:%f" (item.name s) (item.feat s "end")))
            (utt.relation.items utt 'Segment))
    (format t "\\n")))
"""


def installed(voice):
    check = subprocess.run(
        ["festival", "--batch", f"(if (member '{voice} (voice.list)) (format t \"there\\n\"))"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )
    return "there" in check.stdout


def synthesise(voice, jobs, folder):
    """Runs festival over (index, text, stretch, mean, spread); returns {index: (audio, segments)}."""
    script = [_SETUP, f"(voice_{voice})"]
    for index, text, stretch, mean, spread in jobs:
        if mean is not None:
            script.append(
                f"(set! int_lr_params '((target_f0_mean {mean:.1f}) (target_f0_std {spread:.1f})"
                " (model_f0_mean 170) (model_f0_std 34)))"
            )
        script.append(f"(Parameter.set 'Duration_Stretch {stretch:.3f})")
        text = re.sub(r'["\\]', "", text)
        script.append(f'(clip_of "{text}" "{os.path.join(folder, str(index))}.wav")')
    path = os.path.join(folder, "batch.scm")
    with open(path, "w", encoding="latin-1", errors="ignore") as out:
        out.write("\n".join(script))
    done = subprocess.run(["festival", "--batch", path], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    clips = {}
    for line in done.stdout.splitlines():
        if not line.startswith("CLIP "):
            continue
        _, wave, *items = line.split()
        segments, start = [], 0.0
        for item in items:
            phone, _, end = item.rpartition(":")
            end = float(end) + DELAY
            segments.append((start, end, arpabet(phone)))
            start = end
        clips[int(os.path.basename(wave)[:-4])] = (read_audio(wave), segments)
        os.remove(wave)
    if not clips:
        raise SystemExit(f"festival gave nothing for voice {voice}: {done.stderr.strip()[-300:]}")
    return clips


def build(out, prompts, minutes):
    """`minutes` in all, shared evenly among the installed voices."""
    voices = [voice for voice in VOICES if installed(voice)]
    if not voices:
        raise SystemExit("no festival voice is installed (festvox-kallpc16k, festvox-kdlpc16k, festvox-us-slt-hts)")
    for voice in voices:
        ready, factors = {}, {}

        def job(index):
            rng = prompts.rng("festival", voice, index)
            factors[index] = warp_factor(rng, *WARP)
            text, stretch = prompts.sentence(rng), factors[index] * rng.uniform(0.8, 1.5)
            if VOICES[voice] is None:
                return index, text, stretch, None, None
            mean, spread = VOICES[voice]
            return index, text, stretch, mean * 2.0 ** rng.uniform(-0.4, 0.8), spread * rng.uniform(0.3, 2.0)

        with tempfile.TemporaryDirectory() as folder:

            def make(index):
                if index not in ready:
                    ready.clear()
                    ready.update(synthesise(voice, [job(i) for i in range(index, index + BATCH)], folder))
                if index not in ready:
                    raise ValueError("festival left this one out")
                return warp(*ready.pop(index), factors[index])

            total, written = fill(Clips(out, "arpabet", "festival_" + voice), minutes / len(voices), make)
        say(f"festival {voice}: {total / 60:.1f} min, {written} new clips")
