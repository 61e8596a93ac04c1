"""Phone labels for the German speaker.

espeak-ng turns the transcript into phones and gives a first guess of their durations; an alignment
that learns its models from the recordings themselves finds the times.
"""

import os

import monophone
from common import RATE, Clips, clip_name, manifest, read_audio, say, tidy
from espeak import Espeak, split
from from_recordings import sounding

VOICE = "gmw/de"

# espeak-ng's German (and now and then English) phonemes; long and short vowels of one quality are one
_TABLE = """
p p|b b|t t|d d|k k|g g|f f|v v|w v|s s|z z|S S|Z Z|C C|x x|X x|h h|m m|n n|N N|l l|r r|r- r|R r|j j|pF p f|
ts t s|tS t S|dZ d Z|T s|D z|? SIL|; |-|
a a|a: a|A a|A: a|aa a|a# a|&: a|& E|E E|E: E|E2 E|e e|e: e|i i|i: i|I I|I2 I|I# I|i2 i|o o|o: o|
O O|O: O|O2 O|u u|u: u|U U|
y y|y: y|Y Y|Y: Y|y# y|
W Y2|W: Y2|Y2 Y2|@ @|@2 @|@- @|@L @ l|3 6|3: 6|V a|0 O|
aI aI|aU aU|OY OY|OI OY|eI e|oU o|EI e|E~ E N|A~ a N|O~ O N|o~ O N|W~ Y2 N|l# l|n- n|m- m|t# t|x2 x|
UR U r|(en) |(de) |i@ i 6|e@ e 6|A@ a 6|O@ O 6|U@ U 6|u@ u 6|y@ y 6
"""
TABLE = {}
for _entry in _TABLE.replace("\n", "").split("|"):
    if _entry.strip():
        _name, *_phones = _entry.split()
        TABLE[_name] = _phones


def first_guess(segments, audio):
    """espeak-ng's segments, stretched to span what sounds in the recording."""
    inner = list(tidy(segments, segments[-1][1]))
    while inner and inner[0][2] == "SIL":
        inner.pop(0)
    while inner and inner[-1][2] == "SIL":
        inner.pop()
    start, end = sounding(audio)
    origin = inner[0][0]
    factor = (end - start) / (inner[-1][1] - origin)
    guess = [(start + (a - origin) * factor, start + (b - origin) * factor, phone) for a, b, phone in inner]
    return tidy([(0.0, start, "SIL"), *guess, (end, len(audio) / RATE, "SIL")], len(audio) / RATE)


def build(data, out, worst=6.0):
    """Clips that fit their transcript much worse than the rest (`worst` deviations) are left out."""
    espeak = Espeak()
    if not espeak.voice(VOICE):
        raise SystemExit(f"espeak-ng has no voice {VOICE}")
    rows = [row for row in manifest(data) if row["speaker"] == "kerstin_f01" and row["transcript"]]
    clips = Clips(out, "german", "kerstin_f01")
    if rows and clips.has(clip_name(rows[0])):
        say("german: the corpus is there already; remove its folder to build it anew")
        return
    jobs = []
    for row in rows:
        try:
            _, segments = espeak.say(row["transcript"])
            audio = read_audio(os.path.join(data, row["file"]))
            guess = first_guess(split(segments, TABLE), audio)
        except ValueError as error:
            say(f"  {clip_name(row)}: {error}")
            continue
        jobs.append((clip_name(row), audio, monophone.Clip(audio, guess)))
    found = [clip for _, _, clip in jobs]
    monophone.normalise(found)
    monophone.train(found, rounds=4, window=0.5)
    monophone.train(found, rounds=5, window=0.3)
    scores = sorted(clip.score for clip in found)
    middle = scores[len(scores) // 2]
    spread = sorted(abs(score - middle) for score in scores)[len(scores) // 2]
    total, kept = 0.0, 0
    for name, audio, clip in jobs:
        if clip.score < middle - worst * spread:
            say(f"  {name}: does not fit its transcript ({clip.score:.1f}, usually {middle:.1f})")
            continue
        total += clips.write(name, audio, monophone.drop_short_pauses(clip.segments))
        kept += 1
    say(f"german: {total / 60:.1f} min, {kept} clips")
