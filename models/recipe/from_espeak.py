"""English clips synthesised by espeak-ng, labelled by its phoneme events."""

from common import Clips, fill, say, warp, warp_factor
from espeak import Espeak, split

LANGUAGES = ("gmw/en-US", "gmw/en-US", "gmw/en", "gmw/en-GB-x-rp")
VARIANTS = (
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 croak whisper whisperf klatt klatt2 klatt3 klatt4 Alex Alicia "
    "Andy Annie Gene Jacky Lee Mario Michael adam antonio belinda caleb edward grandma grandpa linda max norbert "
    "quincy rob steph travis victor"
).split()
WARP = (0.92, 1.1)

_TABLE = """
p P;b B;t T;t2 T;t# T;d D;d# D;k K;g G;f F;v V;T TH;D DH;s S;z Z;S SH;Z ZH;h HH;m M;n N;N NG;l L;l# L;r R;r- R;
R R;j Y;w W;tS CH;dZ JH;? T;n- N;m- M;@L AH L;l- L;x K;C HH;
@ AH;@- AH;@2 AH;@5 AH;a AE;aa AE;a# AH;a2 AE;A AA;A: AA;A@ AA R;A# AA;E EH;E2 EH;e EH;e@ EH;3 ER;
3: ER;I IH;I2 IH;I# IH;
i IY;i: IY;i@ IH AH;i@3 IH R;0 AA;0# AH;O AO;O: AO;O2 AO;O@ AO R;o@ AO R;oU OW;o AO;V AH;U UH;U@ UH R;u UW;u: UW;
aI AY;eI EY;OI OY;aU AW;aI@ AY AH;aI3 AY ER;aU@ AW AH;
"""
TABLE = {}
for _entry in _TABLE.replace("\n", "").split(";"):
    if _entry:
        _name, *_phones = _entry.split()
        TABLE[_name] = _phones
TABLE[";"] = []  # palatalisation, part of the phone before it


def build(out, prompts, minutes, variants=VARIANTS):
    """`minutes` in all, shared evenly among the variants that are installed."""
    espeak = Espeak()
    variants = [variant for variant in variants if espeak.voice(f"{LANGUAGES[0]}+{variant}")]
    total = written = 0
    for variant in variants:

        def make(index):
            rng = prompts.rng("espeak", variant, index)
            factor = warp_factor(rng, *WARP)
            voice = f"{rng.choice(LANGUAGES)}+{variant}"
            if not espeak.voice(voice):
                raise ValueError(f"no voice {voice}")
            audio, segments = espeak.say(
                prompts.sentence(rng), rng.uniform(110, 190), rng.uniform(15, 95), rng.uniform(10, 90)
            )
            return warp(audio, split(segments, TABLE), factor)

        seconds, count = fill(Clips(out, "arpabet", "espeak_" + variant), minutes / len(variants), make, 2000)
        total, written = total + seconds, written + count
    say(f"espeak: {len(variants)} voices, {total / 60:.1f} min, {written} new clips")
