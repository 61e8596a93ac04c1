"""Timbra in pedalboard (VST3): converts, automates between calls, saves and restores.

pedalboard takes the reported latency off by itself, so a lag of 0 proves the report.
The voice under test plays its input back, so the output can be compared with it.
"""

import numpy as np
from pedalboard import VST3Plugin

from common import Verdicts, arguments, gaps, lag_samples, read, rms, stereo, write

args = arguments(__doc__)
verdicts = Verdicts("pedalboard")
vocal, rate_hz = read(args.vocal)
source = stereo(vocal)

plugin = VST3Plugin(args.bundle)
names = list(plugin.parameters.keys())


def named(start):
    """pedalboard puts the unit behind a parameter's name."""
    return next((name for name in names if name.startswith(start)), None)


gain = named("output_gain")
found = all(named(start) for start in ("pitch", "dry_wet", "output_gain"))
verdicts.check("loads and lists its parameters", found, f"{len(names)} parameters")
if not found:
    verdicts.finish()

for block in (1, 64, 480, 1024, 8192):
    part = source[:, : rate_hz * (1 if block == 1 else 7)]
    output = plugin.process(part, rate_hz, buffer_size=block, reset=True)
    lag = lag_samples(part[0], output[0]) if output.size else 0
    verdicts.check(f"converts on time at blocks of {block}", output.shape == part.shape and lag == 0, f"lag {lag} samples")
    verdicts.check(f"has no gaps at blocks of {block}", gaps(part[0], output[0], rate_hz) == 0)
write(f"{args.work}/pedalboard.wav", output, rate_hz)

for other_hz in (44100, 96000):
    output = plugin.process(source, other_hz, buffer_size=512, reset=True)
    lag = lag_samples(source[0], output[0])
    verdicts.check(f"converts on time at {other_hz} Hz", abs(lag) <= 1, f"lag {lag} samples")

mono = plugin.process(source[:1], rate_hz, buffer_size=512, reset=True)
verdicts.check("converts mono", mono.shape[0] == 1 and lag_samples(source[0], mono[0]) == 0)

before = plugin.process(source, rate_hz, buffer_size=512, reset=True)
setattr(plugin, gain, -20.0)
after = plugin.process(source, rate_hz, buffer_size=512, reset=True)
ratio = rms(after) / max(rms(before), 1e-9)
verdicts.check("obeys a parameter between calls", abs(ratio - 0.1) < 0.01, f"ratio {ratio:.3f}")

state = plugin.raw_state
restored = VST3Plugin(args.bundle)
restored.raw_state = state
value = getattr(restored, gain)
verdicts.check("restores parameters", abs(value - getattr(plugin, gain)) < 0.05, str(value))
again = restored.process(source, rate_hz, buffer_size=512, reset=True)
same = again.shape == after.shape and np.array_equal(again, after)
verdicts.check("sounds the same after a restore", same)
verdicts.finish()
