"""What so-vits-svc-fork's discriminators, losses and mel spectrograms make of known signals.

    pip install torch so-vits-svc-fork numpy
    python tests/golden/vits_losses.py trainer/tests/fixtures/vits_losses

The discriminators are of the published size and their weights are numbers anybody can make again (`numbers`), so that none
have to be kept. Written: expected.json (losses, the mean square of every feature map), mel.npy [80, T], spectrum.npy [bins, T].
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from so_vits_svc_fork.hparams import HParams
from so_vits_svc_fork.modules.descriminators import MultiPeriodDiscriminator
from so_vits_svc_fork.modules.losses import discriminator_loss, feature_loss, generator_loss, kl_loss
from so_vits_svc_fork.modules.mel_processing import mel_spectrogram_torch, spectrogram_torch

SAMPLES, FRAMES = 4_000, 16
CONFIG = dict(
    train={},
    data=dict(
        sampling_rate=44_100,
        filter_length=2048,
        hop_length=512,
        win_length=2048,
        n_mel_channels=80,
        mel_fmin=0.0,
        mel_fmax=22_050,
    ),
    model={},
)


def numbers(name: str, count: int) -> np.ndarray:
    """`count` numbers from -0.5 to 0.5 that follow from a name."""
    seed = 0
    for byte in name.encode():
        seed = (seed * 31 + byte) % 2**32
    x = (seed + np.arange(count, dtype=np.uint64) * 2_654_435_761) % 2**32
    x ^= x >> np.uint64(15)
    x = (x * 2_246_822_519) % 2**32
    x ^= x >> np.uint64(13)
    return (x / 2.0**32 - 0.5).astype(np.float32)


def weights(name: str, shape: torch.Size) -> torch.Tensor:
    values = torch.from_numpy(numbers(name, shape.numel())).reshape(shape)
    if name.endswith("weight_g"):
        return 1.4 + 0.4 * values
    return 0.1 * values if name.endswith("bias") else values


def main(folder: Path) -> None:
    torch.manual_seed(0)
    critics = MultiPeriodDiscriminator(False)
    critics.load_state_dict({name: weights(name, value.shape) for name, value in critics.state_dict().items()})
    recorded = torch.from_numpy(numbers("recorded", 2 * SAMPLES)).reshape(2, 1, SAMPLES)
    rendered = torch.from_numpy(numbers("rendered", 2 * SAMPLES)).reshape(2, 1, SAMPLES)
    with torch.no_grad():
        real, fake, real_maps, fake_maps = critics(recorded, rendered)
        expected = dict(
            judge=float(discriminator_loss(real, fake)[0]),
            verdict=float(generator_loss(fake)[0]),
            maps=float(feature_loss(real_maps, fake_maps)),
            mean_squares=[[float(m.square().mean()) for m in maps] for maps in fake_maps],
        )
        shape = (2, 6, 50)
        z, m, log_p, log_q = (
            torch.from_numpy(numbers(name, 600)).reshape(shape) for name in ("z", "m", "log_p", "log_q")
        )
        mask = torch.ones(2, 1, 50)
        mask[1, :, 30:] = 0
        expected["divergence"] = float(kl_loss(z, log_q, m, log_p, mask))
        hps = HParams(**CONFIG)
        audio = torch.from_numpy(numbers("audio", FRAMES * 512)).reshape(1, -1)
        # Quiet in the middle, so that what is added before roots and logarithms is seen.
        audio[:, 3_000:6_000] *= 1e-4
        np.save(folder / "mel.npy", mel_spectrogram_torch(audio, hps)[0].numpy())
        np.save(folder / "spectrum.npy", spectrogram_torch(audio, hps)[0].numpy())
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
