"""Makes small so-vits-svc 4.1 voices with the flows that are optional there, and what they compute.

    pip install torch onnx so-vits-svc-fork numpy
    python tests/golden/sovits_flows.py trainer/tests/fixtures [SEED]

A folder for each kind: `use_transformer_flow`, `flow_share_parameter`, and both. The flows are written here, from the names,
shapes and order of operations of the 4.1 code; all else is the package's (whose own flow has neither option). Weights are
random, and saved as 4.1 saves them: what is shared appears under every name it has. Noise is off in what is computed. Layout as
in the folders of `TIMBRA_GOLDEN`: content [1, C, T], f0_hz [1, T], voiced [1, T], audio_speakerN, speaker_mix [T, S] with
audio_speaker_mix, auto_f0_hz with audio_speaker1_auto_f0. Where weights are shared also mixing.onnx, as 4.1 exports a voice whose
speakers are mixed: what is shared has one name there.

The prior's attention keeps to the frames with a position embedding, so that what is sung depends on a bounded number of frames of
the future: a stream that sees as many has to equal the clip.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from small_onnx import export
from sovits_fork import DATA, MODEL, without_noise
from so_vits_svc_fork.modules.modules import WN, LayerNorm
from so_vits_svc_fork.modules.synthesizers import SynthesizerTrn
from so_vits_svc_fork.utils import save_checkpoint
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import weight_norm

FRAMES = 72
KERNEL = 5
# What 4.1 takes where a configuration does not say it.
DEFAULTS = dict(n_flow_layer=4, n_layers_trans_flow=3)
KINDS = {
    "sovits_shared_flow": dict(flow_share_parameter=True, n_flow_layer=2),
    "sovits_transformer_flow": dict(use_transformer_flow=True, n_flow_layer=3, n_layers_trans_flow=2),
    "sovits_transformer_shared": dict(use_transformer_flow=True, flow_share_parameter=True),
}
# Score of a frame with a position embedding above that of one without: e^-40 is nothing beside 1 in float32.
NEARER = 40.0


class Attention(nn.Module):
    """Every frame looks at itself and the past."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        for name in ("conv_q", "conv_k", "conv_v", "conv_o"):
            self.add_module(name, nn.Conv1d(width, width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # [B, C, T] as [B, heads, T, C / heads] and back.
        parts = [layer(x).unflatten(1, (self.heads, -1)).transpose(2, 3) for layer in (self.conv_q, self.conv_k, self.conv_v)]
        seen = F.scaled_dot_product_attention(*parts, is_causal=True)
        return self.conv_o(seen.transpose(2, 3).flatten(1, 2))


class Feed(nn.Module):
    """Two convolutions over the past with a rectifier between."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv1d(width, inner, KERNEL)
        self.conv_2 = nn.Conv1d(inner, width, KERNEL)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_1(F.pad(x, (KERNEL - 1, 0))).relu()
        return self.conv_2(F.pad(x, (KERNEL - 1, 0)))


class Gated(nn.Module):
    """Transformer layers, each behind a gate that the speaker moves; all gates have the same convolution."""

    def __init__(self, width: int, inner: int, heads: int, layers: int, speaker: int) -> None:
        super().__init__()
        self.cond_pre = nn.Conv1d(width, 2 * width, 1)
        self.cond_layer = weight_norm(nn.Conv1d(speaker, 2 * width * layers, 1))
        self.self_attn_layers = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.norm_layers_0 = nn.ModuleList(LayerNorm(width) for _ in range(layers))
        self.ffn_layers = nn.ModuleList(Feed(width, inner) for _ in range(layers))
        self.norm_layers_1 = nn.ModuleList(LayerNorm(width) for _ in range(layers))

    def forward(self, x: torch.Tensor, mask: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        assert bool((mask == 1).all()), "clips are whole"
        moves = self.cond_layer(g).chunk(len(self.ffn_layers), dim=1)
        layers = zip(moves, self.self_attn_layers, self.norm_layers_0, self.ffn_layers, self.norm_layers_1)
        for move, attention, norm_0, feed, norm_1 in layers:
            bent, gate = (self.cond_pre(x) + move).chunk(2, dim=1)
            x = bent.tanh() * gate.sigmoid()
            x = norm_0(x + attention(x))
            x = norm_1(x + feed(x))
        return x


class Coupling(nn.Module):
    def __init__(self, half: int, width: int, inner: nn.Module) -> None:
        super().__init__()
        self.pre = nn.Conv1d(half, width, 1)
        self.enc = inner
        self.post = nn.Conv1d(width, half, 1)

    def shift(self, x: torch.Tensor, mask: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return self.post(self.enc(self.pre(x), mask, g=g))


class Flow(nn.Module):
    """Couplings at the even places of the list, at the odd ones reversals of the channels, which have no weights."""

    def __init__(self, model: dict, options: dict) -> None:
        super().__init__()
        half, width, speaker = model["inter_channels"] // 2, model["hidden_channels"], model["gin_channels"]
        options = DEFAULTS | options
        count, layers = 4, options["n_flow_layer"]
        transformer = options.get("use_transformer_flow", False)
        if transformer:
            count, layers = options["n_flow_layer"], options["n_layers_trans_flow"]

        def inner() -> nn.Module:
            if transformer:
                return Gated(width, model["filter_channels"], model["n_heads"], layers, speaker)
            return WN(width, KERNEL, 1, layers, gin_channels=speaker)

        self.flows = nn.ModuleList()
        self.wn = inner() if options.get("flow_share_parameter", False) else None
        for _ in range(count):
            self.flows += [Coupling(half, width, self.wn or inner()), nn.Identity()]

    def forward(self, x: torch.Tensor, mask: torch.Tensor, g: torch.Tensor, reverse: bool) -> torch.Tensor:
        assert reverse, "only singing is asked for"
        for coupling in reversed(self.flows[::2]):
            kept, moved = x.flip(1).chunk(2, dim=1)
            x = torch.cat([kept, moved - coupling.shift(kept, mask, g)], dim=1)
        return x


class Mixture(nn.Module):
    """In place of the table of speakers: weights [1, T, S] of its rows, which exports hold as a factor [1, S, 1, 1, G]."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.factor = table.detach()[None, :, None, None]

    def forward(self, weights: torch.Tensor) -> torch.Tensor:
        shares = weights[0, :, :, None, None, None] * self.factor
        return shares.sum(dim=1).flatten(1)[None]


class Mixing(nn.Module):
    """What 4.1's exporter runs where speakers are mixed, but for the noise and for content that is stretched."""

    def __init__(self, net: SynthesizerTrn) -> None:
        super().__init__()
        self.net = net

    def forward(self, c, f0, uv, spk_mix):  # noqa: ANN001, ANN201
        return self.net.infer(c, f0, uv, g=spk_mix, noice_scale=0)


def scatter(net: nn.Module, rng: np.random.Generator) -> None:
    """Some of the weights begin as 0 and others so small that they would prove nothing."""
    normal = lambda shape: torch.from_numpy(rng.standard_normal(tuple(shape))).float()  # noqa: E731
    parameters = dict(net.named_parameters())
    with torch.no_grad():
        for name, weight in parameters.items():
            if name.endswith("gamma"):
                weight.copy_(1 + 0.2 * normal(weight.shape))
            elif not name.endswith("weight_g"):
                scale = 1.4 / weight[0].numel() ** 0.5 if weight.dim() > 1 else 0.05
                scale = {"emb_g.weight": 1.5}.get(name, 0.3 if "emb_rel" in name else scale)
                weight.copy_(scale * normal(weight.shape))
        for name, weight in parameters.items():
            if name.endswith("weight_g"):
                direction = parameters[name[:-1] + "v"]
                norm = direction.flatten(1).norm(dim=1).reshape(weight.shape)
                weight.copy_(norm * (1 + 0.2 * normal(weight.shape)))
        # F0 is predicted in units of 500 mel: 0.616 is 220 Hz.
        parameters["f0_decoder.proj.weight"].mul_(0.1)
        parameters["f0_decoder.proj.bias"].fill_(0.616)


def keep_near(net: SynthesizerTrn, rng: np.random.Generator) -> None:
    """Queries have a part in common, which all position embeddings have too: what has none is not looked at."""
    with torch.no_grad():
        for layer in net.enc_p.enc_.attn_layers:
            width = layer.k_channels
            common = torch.from_numpy(rng.standard_normal(width)).float()
            common /= common.norm()
            weight = layer.conv_q.weight.unflatten(0, (-1, width))
            weight -= torch.einsum("w,v,hvik->hwik", common, common, weight)
            layer.conv_q.bias.copy_(common.repeat(net.n_heads))
            layer.emb_rel_k += NEARER * width**0.5 * common


def make(folder: Path, options: dict, seed: int) -> None:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    net = SynthesizerTrn(DATA["filter_length"] // 2 + 1, 10, **MODEL, sampling_rate=DATA["sampling_rate"])
    net.flow = Flow(MODEL, options)
    scatter(net, rng)
    keep_near(net, rng)
    net.eval()

    speakers = MODEL["n_speakers"]
    content = torch.from_numpy(rng.standard_normal((1, MODEL["ssl_dim"], FRAMES))).float()
    time = torch.arange(FRAMES)
    f0 = (220 + 60 * torch.sin(time / 7))[None]
    voiced = torch.ones(1, FRAMES)
    voiced[:, 25:31] = 0
    f0[:, 25:31] = 0
    share = 0.5 + 0.5 * torch.sin(time / 4)
    mix = torch.stack([share, 1 - share], dim=1)
    heard = []
    net.dec.register_forward_pre_hook(lambda _, __, named: heard.append(named["f0"]), with_kwargs=True)

    def sing(speaker: torch.Tensor, **rest: bool) -> torch.Tensor:
        with torch.no_grad():
            return net.infer(content, f0, voiced, g=speaker, noice_scale=0, **rest)[0, 0]

    # The last convolution is followed by a tanh, which should be neither a line nor a limiter.
    before = []
    hook = net.dec.conv_post.register_forward_hook(lambda _, __, result: before.append(result))
    sing(torch.tensor([[0]]))
    hook.remove()
    with torch.no_grad():
        net.dec.conv_post.weight_g.mul_(0.5 / before[0].square().mean().sqrt())

    optimiser = torch.optim.AdamW(net.parameters(), 1e-4)
    save_checkpoint(net, optimiser, 1e-4, 5, folder / "G_5.pth")
    model = MODEL | dict(speech_encoder="vec256l9", use_automatic_f0_prediction=True) | options
    config = {"train": {"segment_size": 800}, "data": DATA, "model": model, "spk": {"one": 0, "two": 1}}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    np.save(folder / "content.npy", content.numpy())
    np.save(folder / "f0_hz.npy", f0.numpy())
    np.save(folder / "voiced.npy", voiced.numpy())
    np.save(folder / "speaker_mix.npy", mix.numpy())
    for speaker in range(speakers):
        audio = sing(torch.tensor([[speaker]]))
        np.save(folder / f"audio_speaker{speaker}.npy", audio.numpy())
        print(f"{folder.name} speaker {speaker}: {audio.numel()} samples, level {audio.square().mean().sqrt():.3f}")
    np.save(folder / "audio_speaker1_auto_f0.npy", sing(torch.tensor([[1]]), predict_f0=True).numpy())
    np.save(folder / "auto_f0_hz.npy", heard[-1].numpy())

    table = net.emb_g
    net.emb_g = Mixture(table.weight)
    np.save(folder / "audio_speaker_mix.npy", sing(mix[None]).numpy())
    if options.get("flow_share_parameter", False):
        inputs = dict(c=content, f0=f0, uv=voiced, spk_mix=mix[None])
        export(Mixing(net), inputs, folder / "mixing.onnx", True, 16)
    net.emb_g = table

    # No frame is seen from where it has no position embedding, and what a wrong flow would cost.
    far = (time[:, None] - time).abs() > net.enc_p.enc_.window_size
    assert all(layer.attn[..., far].max() < 1e-7 for layer in net.enc_p.enc_.attn_layers)
    with_flow = sing(torch.tensor([[0]]))
    net.flow = type("None", (nn.Module,), {"forward": lambda _, x, *__, **___: x})()
    without = sing(torch.tensor([[0]]))
    print(f"{folder.name}: without its flow {(without - with_flow).norm() / with_flow.norm():.2f}")


def main(folder: Path, seed: int) -> None:
    without_noise()
    for index, (name, options) in enumerate(KINDS.items()):
        make(folder / name, options, seed + index)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
