"""Timbra in dawdreamer (VST3): converts, automates, saves and restores.

dawdreamer reports latency and does not compensate it, and says "real time" while
it renders as fast as it can: gaps would show if the plugin believed it.
"""

import dawdreamer
import numpy as np

from common import Verdicts, arguments, gaps, lag_samples, read, rms, stereo, write

args = arguments(__doc__)
verdicts = Verdicts("dawdreamer")
vocal, rate_hz = read(args.vocal)
source = stereo(vocal)
seconds = source.shape[1] / rate_hz


def make(block, audio=source, rate=rate_hz):
    engine = dawdreamer.RenderEngine(rate, block)
    plugin = engine.make_plugin_processor("timbra", args.bundle)
    playback = engine.make_playback_processor("vocal", audio)
    engine.load_graph([(playback, []), (plugin, ["vocal"])])
    return engine, plugin


def render(engine, length_s):
    engine.render(length_s)
    return engine.get_audio()


def latency(plugin):
    return int(plugin.get_latency_samples())


for block in (64, 480, 1024, 8192):
    engine, plugin = make(block)
    output = render(engine, seconds + 1.0)
    reported, lag = latency(plugin), lag_samples(source[0], output[0])
    verdicts.check(f"reports its latency truly at blocks of {block}", abs(lag - reported) <= 1, f"reported {reported}, heard {lag}")
    verdicts.check(f"has no gaps at blocks of {block}", gaps(source[0], output[0, reported:], rate_hz) == 0)
write(f"{args.work}/dawdreamer.wav", output, rate_hz)

engine, plugin = make(256)
described = plugin.get_parameters_description()
index = {entry["name"].lower(): entry["index"] for entry in described}
verdicts.check("lists its parameters", {"pitch", "output gain"} <= set(index), f"{len(described)} parameters")

gain = index["output gain"]
plain = render(engine, seconds)
reported = latency(plugin)
# From full level to the lowest in the middle of the song; values are 0..1.
level = plugin.get_parameter(gain)
curve = np.full(int(seconds * rate_hz), level, dtype=np.float32)
step = 3 * rate_hz
curve[step:] = 0.0
engine, plugin = make(1, source[:, : 4 * rate_hz])
plugin.set_automation(gain, curve[: 4 * rate_hz])
automated = render(engine, 4.0)
reported = latency(plugin)
heard = step + reported
engine, plugin = make(1, source[:, : 4 * rate_hz])
unautomated = render(engine, 4.0)
loud = rms(automated[0, heard - 2400 : heard - 100]) / max(rms(unautomated[0, heard - 2400 : heard - 100]), 1e-9)
quiet = rms(automated[0, heard + 200 : heard + 4800]) / max(rms(unautomated[0, heard + 200 : heard + 4800]), 1e-9)
verdicts.check("plays automation at its sample plus latency", abs(loud - 1) < 0.01 and quiet < 0.01, f"level {loud:.3f} before, {quiet:.4f} after")

engine, plugin = make(512)
plugin.set_parameter(gain, 0.5)
before = render(engine, seconds)
plugin.save_state(f"{args.work}/dawdreamer.state")
engine, restored = make(512)
restored.load_state(f"{args.work}/dawdreamer.state")
verdicts.check("restores parameters", abs(restored.get_parameter(gain) - 0.5) < 1e-4)
after = render(engine, seconds)
verdicts.check("sounds the same after a restore", np.array_equal(before, after))
verdicts.finish()
