"""A training step of the published VITS configuration: so-vits-svc-fork on PyTorch and the trainer, alternated.

    pip install so-vits-svc-fork==4.2.30
    cargo build --release -p timbra-trainer --example training_step [--features libtorch]
    python benches/training_step.py target/release/examples/training_step --backend flex --batch 2 --frames 200 --rounds 3

The fork's networks, losses and optimisers as its training loop runs them (generator, then discriminator), on noise; without
its logging. Prints seconds per step, of the clock and of the processors (medians of a round's steps), and the ratios: on a busy
machine only those of the processors mean something.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time


def fork_seconds(batch, frames, steps):
    import torch
    from pathlib import Path
    from torch.nn import functional as F
    import so_vits_svc_fork
    from so_vits_svc_fork.hparams import HParams
    from so_vits_svc_fork.modules import commons
    from so_vits_svc_fork.modules.descriminators import MultiPeriodDiscriminator
    from so_vits_svc_fork.modules.losses import discriminator_loss, feature_loss, generator_loss, kl_loss
    from so_vits_svc_fork.modules.mel_processing import mel_spectrogram_torch
    from so_vits_svc_fork.modules.synthesizers import SynthesizerTrn

    template = Path(so_vits_svc_fork.__file__).parent / "preprocessing/config_templates/so-vits-svc-4.0v1.json"
    hps = HParams(**json.loads(template.read_text()))
    bins, segment = hps.data.filter_length // 2 + 1, hps.train.segment_size // hps.data.hop_length
    singer = SynthesizerTrn(bins, segment, **hps.model)
    critics = MultiPeriodDiscriminator(hps.model.use_spectral_norm)
    options = dict(lr=hps.train.learning_rate, betas=hps.train.betas, eps=hps.train.eps)
    singer_optimiser = torch.optim.AdamW(singer.parameters(), **options)
    critics_optimiser = torch.optim.AdamW(critics.parameters(), **options)
    singer.train(), critics.train()

    content = torch.randn(batch, hps.model.ssl_dim, frames)
    f0 = torch.full((batch, frames), 200.0)
    spectrum, mel = torch.rand(batch, bins, frames), torch.randn(batch, 80, frames)
    audio = 0.1 * torch.randn(batch, 1, frames * hps.data.hop_length)
    speaker = torch.zeros(batch, 1, dtype=torch.long)
    lengths, voiced = torch.full((batch,), frames), torch.ones(batch, frames)

    def step():
        critics.requires_grad_(False)
        out = singer(content, f0, voiced, spectrum, g=speaker, c_lengths=lengths, spec_lengths=lengths)
        sung, _, places, mask, (_, z_p, m_p, logs_p, _, logs_q), predicted, _, truth = out
        sung_mel = mel_spectrogram_torch(sung.squeeze(1), hps)
        wanted_mel = commons.slice_segments(mel, places, segment)[..., : sung_mel.shape[-1]]
        wanted = commons.slice_segments(audio, places * hps.data.hop_length, hps.train.segment_size)
        _, verdicts, real_maps, maps = critics(wanted, sung)
        loss = F.l1_loss(wanted_mel, sung_mel) * hps.train.c_mel
        loss = loss + kl_loss(z_p, logs_q, m_p, logs_p, mask) * hps.train.c_kl
        loss = loss + feature_loss(real_maps, maps) + generator_loss(verdicts)[0] + F.mse_loss(predicted, truth)
        loss.backward()
        commons.clip_grad_value_(singer.parameters(), None)
        singer_optimiser.step()
        singer_optimiser.zero_grad()
        critics.requires_grad_(True)
        real, fake, _, _ = critics(wanted, sung.detach())
        discriminator_loss(real, fake)[0].backward()
        commons.clip_grad_value_(critics.parameters(), None)
        critics_optimiser.step()
        critics_optimiser.zero_grad()

    seconds = []
    for n in range(steps + 1):
        started = time.perf_counter(), time.process_time()
        step()
        seconds.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    return median(seconds[1:])


def median(pairs):
    """Of wall and of processor seconds."""
    return [statistics.median(column) for column in zip(*pairs)]


def our_seconds(program, backend, batch, frames, steps):
    line = [program, backend, str(batch), str(frames), str(steps)]
    said = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    steps = [line.split() for line in said.splitlines() if line.startswith("step ")]
    return median([(float(words[1]), float(words[3])) for words in steps])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--backend", default="flex")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fork-only", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.fork_only:
        print(*fork_seconds(args.batch, args.frames, args.steps))
        return
    ratios = []
    for _ in range(args.rounds):
        # A process of its own, so that neither keeps memory or threads while the other is timed.
        said = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--fork-only"], check=True, capture_output=True, text=True)
        fork = [float(word) for word in said.stdout.split()[-2:]]
        ours = our_seconds(args.program, args.backend, args.batch, args.frames, args.steps)
        ratios.append([a / b for a, b in zip(ours, fork)])
        print(
            f"fork {fork[0]:.2f} s ({fork[1]:.2f} of processors), {args.backend} {ours[0]:.2f} s ({ours[1]:.2f}), "
            f"ratio {ratios[-1][0]:.2f} ({ratios[-1][1]:.2f})",
            flush=True,
        )
    print("median ratio {:.2f} ({:.2f} of processors)".format(*median(ratios)))


main()
