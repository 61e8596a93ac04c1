"""Makes a small RVC voice as its training keeps it, ONNX exports of it and of the so-vits-svc fixture, and what they compute.

    pip install torch onnx numpy so-vits-svc-fork
    pip download --no-deps rvc-python==0.1.5      (and unpack it: only its `lib/infer_pack` is imported)
    PYTHONPATH=<where it is unpacked> python tests/golden/onnx_exports.py trainer/tests/fixtures [SEED]

writes `rvc_onnx/` (G_7.pth with model, iteration, optimizer and learning_rate; config.json; content, f0_hz, audio_speakerN of both
speakers; voice.onnx as RVC exports, without folding; half.onnx, where weights have no names and are float16) and
`sovits_fork/voice.onnx` (the voice of `sovits_fork.py`, folded). Noise is off. The files run (`small_onnx.py`), but for half.onnx: only
its constants are converted, which is enough to read them.
"""

import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from small_onnx import export, shrink

# The package's own beginning wants programs that the networks have no need of.
package = types.ModuleType("rvc_python")
package.__path__ = [str(Path(folder) / "rvc_python") for folder in sys.path]
sys.modules["rvc_python"] = package

from rvc_python.lib.infer_pack.models_onnx import SynthesizerTrnMsNSFsidM  # noqa: E402
from so_vits_svc_fork.modules.synthesizers import SynthesizerTrn  # noqa: E402

FRAMES = 24
RVC = [513, 16, 4, 4, 8, 2, 1, 3, 0, "1", [3], [[1, 3, 5]], [10, 10, 2, 2], 16, [16, 16, 4, 4], 2, 4, 40000]


def rvc(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    net = SynthesizerTrnMsNSFsidM(*RVC, is_half=False, version="v1")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    optimiser = torch.optim.AdamW(net.parameters(), 1e-4)
    state = {"model": net.state_dict(), "iteration": 7, "optimizer": optimiser.state_dict(), "learning_rate": 1e-4}
    torch.save(state, folder / "G_7.pth")
    model = dict(
        inter_channels=4,
        hidden_channels=4,
        filter_channels=8,
        n_heads=2,
        n_layers=1,
        kernel_size=3,
        p_dropout=0,
        resblock="1",
        resblock_kernel_sizes=RVC[10],
        resblock_dilation_sizes=RVC[11],
        upsample_rates=RVC[12],
        upsample_initial_channel=RVC[13],
        upsample_kernel_sizes=RVC[14],
        use_spectral_norm=False,
        gin_channels=RVC[16],
        spk_embed_dim=RVC[15],
    )
    data = dict(max_wav_value=32768.0, sampling_rate=40000, filter_length=1024, hop_length=400, win_length=1024)
    (folder / "config.json").write_text(json.dumps({"train": {}, "data": data, "model": model}, indent=1))

    content = torch.randn(1, FRAMES, 256)
    f0 = (220 + 30 * torch.sin(torch.arange(FRAMES) / 5))[None]
    f0[:, 10:13] = 0
    mel = 1127 * torch.log(1 + f0 / 700)
    low, high = 1127 * np.log(1 + 50 / 700), 1127 * np.log(1 + 1100 / 700)
    coarse = torch.where(mel > 0, (mel - low) * 254 / (high - low) + 1, mel).clamp(1, 255).round().long()
    np.save(folder / "content.npy", content.numpy())
    np.save(folder / "f0_hz.npy", f0.numpy())
    inputs = dict(
        phone=content,
        phone_lengths=torch.tensor([FRAMES]),
        pitch=coarse,
        pitchf=f0,
        ds=torch.tensor([0]),
        rnd=torch.zeros(1, RVC[2], FRAMES),
    )
    net.eval()
    export(net, inputs, folder / "voice.onnx", False, 13)
    export(net, inputs, folder / "half.onnx", True, 16)
    shrink(folder / "half.onnx", folder / "half.onnx", half=True)
    noisy = torch.rand, torch.randn_like
    torch.rand = lambda *shape, **rest: torch.zeros(*shape, **rest)
    torch.randn_like = lambda tensor, **rest: torch.zeros_like(tensor)
    with torch.no_grad():
        for speaker in range(2):
            inputs["ds"] = torch.tensor([speaker])
            np.save(folder / f"audio_speaker{speaker}.npy", net(*inputs.values())[0, 0].numpy())
    torch.rand, torch.randn_like = noisy


class Infer(torch.nn.Module):
    """What so-vits-svc's exporters run."""

    def __init__(self, net: SynthesizerTrn) -> None:
        super().__init__()
        self.net = net

    def forward(self, c, f0, uv, sid):  # noqa: ANN001, ANN201
        return self.net.infer(c, f0, uv, g=sid, noice_scale=0)


def sovits(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    model = config["model"]
    bins = config["data"]["filter_length"] // 2 + 1
    net = SynthesizerTrn(bins, 10, **model, sampling_rate=config["data"]["sampling_rate"])
    net.load_state_dict(torch.load(folder / "G_3.pth", map_location="cpu", weights_only=True)["model"])
    net.eval()
    inputs = dict(
        c=torch.randn(1, model["ssl_dim"], FRAMES),
        f0=torch.full((1, FRAMES), 220.0),
        uv=torch.ones(1, FRAMES),
        sid=torch.zeros(1, 1, dtype=torch.long),
    )
    export(Infer(net), inputs, folder / "voice.onnx", True, 16)


if __name__ == "__main__":
    torch.manual_seed(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    fixtures = Path(sys.argv[1])
    rvc(fixtures / "rvc_onnx")
    sovits(fixtures / "sovits_fork")
