"""Makes small so-vits-svc 4.1 voices whose convolutions are depth-wise separable, and what they compute.

    pip install torch so-vits-svc-fork numpy
    python tests/golden/sovits_depthwise.py trainer/tests/fixtures [SEED]

The network is that of so-vits-svc-fork, which has no such convolutions; they are put in its convolutions' places. Two
folders: `sovits_depthwise`, with `use_depthwise_conv` as the last version of so-vits-svc 4.1 understands it (the gated
convolutions of flow and posterior), and `sovits_depthwise_all`, as an early one did, with `use_depthwise_transposeconv`
(the decoder's too: all but the last of the source, which has one tap; those of the source without weight normalisation).
An odd number of samples of the source for one of a stage is among their strides, and is padded as so-vits-svc 4.1 pads it.
The weights are random. Noise is off in what is computed. Layout as in the folders of `TIMBRA_GOLDEN`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from so_vits_svc_fork.modules.synthesizers import SynthesizerTrn
from torch.nn.utils import weight_norm
from sovits_fork import DATA, MODEL, without_noise

FRAMES = 24
SMALL = MODEL | dict(
    n_layers=1,
    resblock_kernel_sizes=[3],
    resblock_dilation_sizes=[[1, 3, 5]],
    upsample_rates=[4, 4, 5],
    upsample_kernel_sizes=[8, 8, 9],
)


class Separable(torch.nn.Module):
    """Every channel by itself, then all channels tap by tap."""

    def __init__(self, like: torch.nn.Module, normed: bool):
        super().__init__()
        kind = type(like)
        inputs, outputs = like.in_channels, like.out_channels
        taps = dict(stride=like.stride, padding=like.padding, dilation=like.dilation)
        depth = kind(inputs, inputs, like.kernel_size, groups=inputs, **taps)
        point = torch.nn.Conv1d(inputs, outputs, 1)
        self.depth_conv = weight_norm(depth) if normed else depth
        self.point_conv = weight_norm(point) if normed else point

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.point_conv(self.depth_conv(x))


def split(net: torch.nn.Module, decoder: bool) -> None:
    """Puts separable convolutions where so-vits-svc has them."""
    for name, module in list(net.named_modules()):
        if not isinstance(module, (torch.nn.Conv1d, torch.nn.ConvTranspose1d)):
            continue
        gated = ".in_layers." in name
        source = name.startswith("dec.noise_convs.")
        inside = source or name.startswith(("dec.conv_", "dec.ups.", "dec.resblocks."))
        if gated or (decoder and inside and not (source and module.kernel_size == (1,))):
            parent, _, place = name.rpartition(".")
            setattr(net.get_submodule(parent), place, Separable(module, normed=not source))


def fill(net: torch.nn.Module, rng: np.random.Generator) -> None:
    """Weights under which every layer is heard."""
    with torch.no_grad():
        for name, weight in net.named_parameters():
            drawn = torch.from_numpy(rng.standard_normal(weight.shape)).float()
            if name.endswith("weight_g") or name.endswith("gamma"):
                weight.copy_(1 + 0.2 * drawn)
            elif weight.dim() == 1:
                weight.copy_(0.1 * drawn)
            else:
                weight.copy_(drawn / weight[0].numel() ** 0.5)


def main(folder: Path, decoder: bool, seed: int) -> None:
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    net = SynthesizerTrn(DATA["filter_length"] // 2 + 1, 10, **SMALL, sampling_rate=DATA["sampling_rate"])
    for conv in net.dec.noise_convs:
        conv.padding = tuple(stride // 2 + stride % 2 for stride in conv.stride if stride > 1) or (0,)
    split(net, decoder)
    fill(net, np.random.default_rng(seed))
    # As a checkpoint that was made smaller: the posterior is not in it.
    kept = {name: weight for name, weight in net.state_dict().items() if not name.startswith("enc_q.")}
    torch.save({"model": kept, "iteration": 0, "learning_rate": 1e-4}, folder / "G_0.pth")
    model = SMALL | dict(use_depthwise_conv=True, speech_encoder="vec256l9")
    if decoder:
        model["use_depthwise_transposeconv"] = True
    config = {"train": {"segment_size": 800}, "data": DATA, "model": model, "spk": {"one": 0, "two": 1}}
    (folder / "config.json").write_text(json.dumps(config, indent=1))

    content = torch.randn(1, SMALL["ssl_dim"], FRAMES)
    f0 = (220 + 30 * torch.sin(torch.arange(FRAMES) / 5))[None]
    voiced = torch.ones(1, FRAMES)
    voiced[:, 9:12] = 0
    f0[:, 9:12] = 0
    np.save(folder / "content.npy", content.numpy())
    np.save(folder / "f0_hz.npy", f0.numpy())
    np.save(folder / "voiced.npy", voiced.numpy())
    net.eval()
    with torch.no_grad():
        for speaker in range(SMALL["n_speakers"]):
            audio = net.infer(content, f0, voiced, g=torch.tensor([[speaker]]), noice_scale=0)
            np.save(folder / f"audio_speaker{speaker}.npy", audio[0, 0].numpy())


if __name__ == "__main__":
    fixtures, seed = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    without_noise()
    main(fixtures / "sovits_depthwise", False, seed)
    main(fixtures / "sovits_depthwise_all", True, seed + 1)
