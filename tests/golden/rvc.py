"""Makes small RVC voices with the package infer-rvc-python, and what that package computes from them.

    pip install torch onnx numpy scipy
    pip install --no-deps infer-rvc-python
    python tests/golden/rvc.py trainer/tests/fixtures [SEED]

A folder for each kind: version 1 or 2, with or without F0, at 32 or 40 kHz, saved as RVC saves a voice: half precision,
without the posterior encoder. The weights are random. Noise is off in what is computed. Layout as in the folders of
`TIMBRA_GOLDEN`: content [1, T, C], f0_hz [1, T] (also where a voice has no use for it), f0_coarse [1, T], audio_speakerN. Beside
the voice of version 1 without F0 is voice.onnx, an export of it.
"""

import importlib.util
import sys
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from small_onnx import export

FRAMES = 36
SPEAKERS = 3
# Segment, bins, widths and layers; the flow's and the posterior's own are fixed by the package.
BINS = 65
WIDTHS = dict(inter=8, hidden=8, filter=16, heads=2, layers=2, kernel=3, initial=32, speaker=6)
# Rate in Hz: upsampling rates and kernels as published for version 1 and version 2.
SHAPES = {
    ("v1", 40000): ([10, 10, 2, 2], [16, 16, 4, 4]),
    ("v2", 40000): ([10, 10, 2, 2], [16, 16, 4, 4]),
    ("v1", 32000): ([10, 4, 2, 2, 2], [16, 16, 4, 4, 4]),
    ("v2", 32000): ([10, 8, 2, 2], [20, 16, 4, 4]),
}
KINDS = [("v1", 40000, False), ("v2", 32000, False), ("v1", 32000, True), ("v2", 40000, True)]
# Residual blocks of the second kind: no checkpoint of the community has them, but a config may ask for them.
SECOND_KIND = ("v2", 40000)
# The kind that is exported too.
EXPORTED = ("v1", 40000, False)


def networks():
    """The package's networks, without what else it would import."""
    found = importlib.util.find_spec("infer_rvc_python")
    package = types.ModuleType("infer_rvc_python")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["infer_rvc_python"] = package
    from infer_rvc_python.lib.infer_pack import models

    return models


class Infer(torch.nn.Module):
    """What an export of a voice without F0 runs."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, phone, phone_lengths, ds):  # noqa: ANN001, ANN201
        return self.net.infer(phone, phone_lengths, ds)[0]


def without_noise() -> None:
    """Every draw is 0."""
    torch.rand = lambda *shape, **rest: torch.zeros(*shape, **rest)
    torch.randn_like = lambda tensor, **rest: torch.zeros_like(tensor)


def make(models, folder: Path, version: str, rate_hz: int, has_f0: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rates, kernels = SHAPES[version, rate_hz]
    w = WIDTHS
    second = (version, rate_hz) == SECOND_KIND
    dilations = [[1, 3], [1, 2]] if second else [[1, 3, 5], [1, 2, 3]]
    config = [
        BINS, 32, w["inter"], w["hidden"], w["filter"], w["heads"], w["layers"], w["kernel"], 0,
        "2" if second else "1", [3, 5], dilations, rates, w["initial"], kernels, SPEAKERS, w["speaker"], rate_hz,
    ]
    channels = {"v1": 256, "v2": 768}[version]
    suffix = "" if has_f0 else "_nono"
    kind = getattr(models, f"SynthesizerTrnMs{channels}NSFsid{suffix}")
    net = kind(*config, is_half=False)
    net.eval()
    # Some of the weights begin as 0 and others so small that they would prove nothing.
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.endswith("weight_g"):
                continue
            scale = 1.4 / weight[0].numel() ** 0.5 if weight.dim() > 1 else 0.05
            scale = {"emb_g.weight": 2.0}.get(name, 0.3 if "emb_rel" in name else scale)
            if "norm" in name and name.endswith("gamma"):
                weight.copy_(torch.from_numpy(1 + 0.2 * rng.standard_normal(weight.shape)))
            else:
                weight.copy_(torch.from_numpy(scale * rng.standard_normal(weight.shape)))
        # Magnitudes of weight-normed convolutions: those of their directions, a little off.
        parameters = dict(net.named_parameters())
        for name, weight in parameters.items():
            if name.endswith("weight_g"):
                direction = parameters[name[:-1] + "v"]
                norm = direction.flatten(1).norm(dim=1).reshape(weight.shape)
                off = torch.from_numpy(1 + 0.3 * rng.random(tuple(weight.shape))).float()
                weight.copy_(norm * off)
    content = rng.standard_normal((1, FRAMES, channels)).astype(np.float32)
    times = np.arange(FRAMES) / 100
    f0_hz = (220 * 2 ** (0.3 * np.sin(2 * np.pi * 3 * times))).astype(np.float32)[None]
    f0_hz[:, 12:18] = 0
    mel = 1127 * np.log(1 + f0_hz / 700)
    low, high = 1127 * np.log(1 + 50 / 700), 1127 * np.log(1 + 1100 / 700)
    coarse = np.where(mel > 0, (mel - low) * 254 / (high - low) + 1, 0)
    coarse = np.rint(np.clip(coarse, 1, 255)).astype(np.int64)

    def sing(speaker: int) -> torch.Tensor:
        inputs = [torch.from_numpy(content), torch.tensor([FRAMES])]
        if has_f0:
            inputs += [torch.from_numpy(coarse), torch.from_numpy(f0_hz)]
        with torch.no_grad():
            return net.infer(*inputs, torch.tensor([speaker]))[0]

    # The last convolution is followed by a tanh, which should be neither a line nor a limiter.
    before = []
    hook = net.dec.conv_post.register_forward_hook(lambda _, __, result: before.append(result))
    sing(0)
    hook.remove()
    with torch.no_grad():
        net.dec.conv_post.weight.mul_(0.5 / before[0].square().mean().sqrt())
    saved = {
        "weight": OrderedDict(
            (key, value.half()) for key, value in net.state_dict().items() if "enc_q" not in key
        ),
        "config": config,
        "info": "3epoch",
        "sr": f"{rate_hz // 1000}k",
        "f0": int(has_f0),
        "version": version,
    }
    torch.save(saved, folder / "voice.pth")
    net.load_state_dict({key: value.float() for key, value in saved["weight"].items()}, strict=False)

    np.save(folder / "content.npy", content)
    np.save(folder / "f0_hz.npy", f0_hz)
    np.save(folder / "f0_coarse.npy", coarse)
    for speaker in (0, 2):
        audio = sing(speaker)[0, 0].numpy().astype(np.float32)
        np.save(folder / f"audio_speaker{speaker}.npy", audio)
        level = np.sqrt(np.mean(audio**2))
        print(f"{folder.name} speaker {speaker}: {audio.shape}, level {level:.3f}")
    if (version, rate_hz, has_f0) == EXPORTED:
        inputs = dict(phone=torch.from_numpy(content), phone_lengths=torch.tensor([FRAMES]), ds=torch.tensor([0]))
        export(Infer(net), inputs, folder / "voice.onnx", True, 16)


def main(folder: Path, seed: int) -> None:
    models = networks()
    without_noise()
    for index, (version, rate_hz, has_f0) in enumerate(KINDS):
        kind = f"rvc_{version}_{rate_hz // 1000}k{'' if has_f0 else '_no_f0'}"
        make(models, folder / kind, version, rate_hz, has_f0, seed + index)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
