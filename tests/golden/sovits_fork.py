"""Makes a small so-vits-svc 4.0 voice with the package so-vits-svc-fork, and what that package computes from it.

    pip install torch so-vits-svc-fork numpy
    python tests/golden/sovits_fork.py trainer/tests/fixtures/sovits_fork [SEED | posterior]

The voice is trained for a few steps on noise and saved by the package itself, optimiser and all. Noise is off in what is
computed. Layout as in the folders of `TIMBRA_GOLDEN`: content [1, C, T], f0_hz [1, T], voiced [1, T], audio_speakerN; and of the
posterior encoder spectrum [1, bins, T], posterior_mean and posterior_log_deviation of speaker 1, [1, inter, T]. With `posterior`
these alone are made, of the voice that is there.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from so_vits_svc_fork.modules.decoders.hifigan import _models as hifigan
from so_vits_svc_fork.modules.synthesizers import SynthesizerTrn
from so_vits_svc_fork.utils import save_checkpoint

FRAMES = 40
MODEL = dict(
    inter_channels=8,
    hidden_channels=8,
    filter_channels=16,
    n_heads=2,
    n_layers=2,
    kernel_size=3,
    p_dropout=0.1,
    resblock="1",
    resblock_kernel_sizes=[3, 5],
    resblock_dilation_sizes=[[1, 3, 5], [1, 2, 3]],
    upsample_rates=[5, 4, 4],
    upsample_initial_channel=32,
    upsample_kernel_sizes=[11, 8, 8],
    gin_channels=6,
    ssl_dim=12,
    n_speakers=2,
)
DATA = dict(sampling_rate=16000, filter_length=160, hop_length=80, win_length=160)


def train(net: SynthesizerTrn, optimiser: torch.optim.Optimizer) -> None:
    """A few steps towards nothing in particular: weights and optimiser are those of a run."""
    for _ in range(3):
        bins = DATA["filter_length"] // 2 + 1
        lengths = torch.tensor([FRAMES, FRAMES])
        f0 = 200 + 50 * torch.rand(2, FRAMES)
        out = net(
            torch.randn(2, MODEL["ssl_dim"], FRAMES),
            f0,
            torch.ones(2, FRAMES),
            torch.rand(2, bins, FRAMES),
            g=torch.tensor([[0], [1]]),
            c_lengths=lengths,
            spec_lengths=lengths,
        )
        audio, _, _, _, (_, z_p, m_p, logs_p, _, _), predicted, _, f0_mel = out
        loss = audio.square().mean() + (z_p - m_p).square().mean() + logs_p.square().mean()
        loss = loss + (predicted - f0_mel).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def posterior(folder: Path) -> None:
    """What the posterior encoder of the voice in the folder says of a spectrum."""
    bins = DATA["filter_length"] // 2 + 1
    net = SynthesizerTrn(bins, 10, **MODEL, sampling_rate=DATA["sampling_rate"])
    state = torch.load(folder / "G_3.pth", map_location="cpu", weights_only=True)
    net.load_state_dict(state["model"])
    net.eval()
    # Magnitudes of a harmonic sound that glides, over noise.
    rng = np.random.default_rng(5)
    partials = 0.5 + 0.5 * np.cos(np.arange(bins)[:, None] / (1.2 + 0.3 * np.sin(np.arange(FRAMES) / 6)))
    spectrum = (partials**4 * 10 + rng.random((bins, FRAMES)))[None].astype(np.float32)
    with torch.no_grad():
        speaker = net.emb_g(torch.tensor([[1]])).mT
        _, mean, log_deviation, _ = net.enc_q(torch.from_numpy(spectrum), torch.tensor([FRAMES]), g=speaker)
    np.save(folder / "spectrum.npy", spectrum)
    np.save(folder / "posterior_mean.npy", mean.numpy())
    np.save(folder / "posterior_log_deviation.npy", log_deviation.numpy())


def without_noise() -> None:
    """Every draw is 0."""
    torch.rand = lambda *shape, **rest: torch.zeros(*shape, **rest)
    zeros_like = lambda tensor, **rest: torch.zeros_like(tensor)  # noqa: E731
    torch.randn_like = zeros_like
    assert hifigan is not None


def main(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    net = SynthesizerTrn(
        DATA["filter_length"] // 2 + 1,
        10,
        **MODEL,
        sampling_rate=DATA["sampling_rate"],
    )
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
    train(net, optimiser)
    save_checkpoint(net, optimiser, 1e-3, 3, folder / "G_3.pth")
    config = {"train": {"segment_size": 800}, "data": DATA, "model": MODEL, "spk": {"one": 0, "two": 1}}
    (folder / "config.json").write_text(json.dumps(config, indent=1))

    content = torch.randn(1, MODEL["ssl_dim"], FRAMES)
    time = torch.arange(FRAMES)
    # Also above what the embedding of F0 distinguishes.
    f0 = (220 + 30 * torch.sin(time / 5))[None]
    f0[:, 30:34] = 1300.0
    voiced = torch.ones(1, FRAMES)
    voiced[:, 15:20] = 0
    f0[:, 15:20] = 0
    np.save(folder / "content.npy", content.numpy())
    np.save(folder / "f0_hz.npy", f0.numpy())
    np.save(folder / "voiced.npy", voiced.numpy())
    without_noise()
    net.eval()
    with torch.no_grad():
        for speaker in range(MODEL["n_speakers"]):
            audio = net.infer(content, f0, voiced, g=torch.tensor([[speaker]]), noice_scale=0)
            np.save(folder / f"audio_speaker{speaker}.npy", audio[0, 0].numpy())
        audio = net.infer(content, f0, voiced, g=torch.tensor([[1]]), noice_scale=0, predict_f0=True)
        np.save(folder / "audio_speaker1_auto_f0.npy", audio[0, 0].numpy())
    posterior(folder)


if __name__ == "__main__":
    if sys.argv[2:] == ["posterior"]:
        posterior(Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
