"""A voice that takes three times as long as its sound, in hosts that render: not a millisecond may be missing.

pedalboard says "offline"; dawdreamer says "real time" while it renders as fast as it can.
"""

import time

import dawdreamer
from pedalboard import VST3Plugin

from common import Verdicts, arguments, gaps, lag_samples, read, stereo

args = arguments(__doc__)
verdicts = Verdicts("slow voice")
vocal, rate_hz = read(args.vocal)
source = stereo(vocal)
seconds = source.shape[1] / rate_hz


def judge(host, output, late, began):
    load = (time.monotonic() - began) / seconds
    missing = gaps(source[0], output[0, late:], rate_hz)
    verdicts.check(f"{host} renders {seconds:.0f} s without a gap", missing == 0, f"{missing} ms missing, {load:.1f} times real time")
    # The song repeats itself, so its first seconds tell.
    part = slice(0, min(source.shape[1], 6 * rate_hz))
    lag = lag_samples(source[0, part], output[0, part]) - late
    verdicts.check(f"{host} renders it on time", abs(lag) <= 1, f"lag {lag} samples")
    verdicts.check(f"{host} had to wait", load > 1.5, f"{load:.1f} times real time")


plugin = VST3Plugin(args.bundle)
began = time.monotonic()
judge("pedalboard", plugin.process(source, rate_hz, buffer_size=512, reset=True), 0, began)

engine = dawdreamer.RenderEngine(rate_hz, 512)
processor = engine.make_plugin_processor("timbra", args.bundle)
engine.load_graph([(engine.make_playback_processor("vocal", source), []), (processor, ["vocal"])])
began = time.monotonic()
engine.render(seconds)
judge("dawdreamer", engine.get_audio(), int(processor.get_latency_samples()), began)
verdicts.finish()
