"""What a so-vits-svc 4.1 voice of full width costs here and in so-vits-svc-fork, on the same weights, machine and cores.

    pip install torch torchaudio transformers so-vits-svc-fork pyworld praat-parselmouth soundfile
    cargo build --release -p timbra-trainer
    python benches/against_fork.py target/release/trainer WORK_FOLDER SPEECH_RECORDING... [--rounds 3]

Weights are random: only time is measured. Neither chooses the melody: the fork is not asked to, and ours is imported
without what does. The fork takes its content encoder from the network; it gets a HuBERT base of random weights instead,
the same that `trainer import` reads. Both play the same recordings, in turn, so that what else the machine does falls on
both. Printed are processor seconds (user and system, all threads) per second of audio, and seconds on the clock for whole
clips.

Real time: the fork's `RealtimeVC` and `RealtimeVC2` with the settings its window and its command line start with, and the
former with blocks so short that it is about as late as ours (its block, its crossfade and what it sees after them). Ours:
`trainer convert --as-played`, which steps the graphs exactly as the plugin does; what loading costs is taken off by
converting a short and a long clip. `int8`: encoder and voice as CPUs play them in 8 bits; with steps about as long as the
fork's blocks it is still less late than that. Whole clips: the fork's `infer_silence` with its defaults, ours `trainer convert`, loading left out of both.
"""

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

CORES = 2
# Threads of OpenMP wait for each other by turning round, which on a busy machine costs several times the work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402

RATE_HZ = 44_100
SHORT_S, LONG_S, CLIP_S = 5, 20, 60
PLAYED_S = 12
MODEL = dict(
    inter_channels=192,
    hidden_channels=192,
    filter_channels=768,
    n_heads=2,
    n_layers=6,
    kernel_size=3,
    p_dropout=0.1,
    resblock="1",
    resblock_kernel_sizes=[3, 7, 11],
    resblock_dilation_sizes=[[1, 3, 5]] * 3,
    upsample_rates=[8, 8, 2, 2, 2],
    upsample_initial_channel=512,
    upsample_kernel_sizes=[16, 16, 4, 4, 4],
    gin_channels=768,
    ssl_dim=768,
    n_speakers=1,
)
DATA = dict(
    sampling_rate=RATE_HZ,
    filter_length=2048,
    hop_length=512,
    win_length=2048,
    contentvec_final_proj=False,
)
# The fork's window, "Default VC (GPU)" and "Default VC (CPU)", and its command line.
REALTIME = {
    "window, GPU preset: blocks of 0.35 s": (1, 0.35, 0.05, 0.15, 0.1, 0.1, -35),
    "window, CPU preset: blocks of 1.5 s": (1, 1.5, 0.05, 0.01, 0.01, 0.1, -35),
    "window, GPU preset but blocks of 0.05 s: 0.2 s late": (1, 0.05, 0.05, 0.15, 0.1, 0.1, -35),
    "window, GPU preset but blocks of 0.08 s, half as much after: 0.15 s late": (1, 0.08, 0.02, 0.15, 0.05, 0.1, -35),
    "window, crooning preset: blocks of 0.15 s, 0.24 s late": (1, 0.15, 0.04, 0.05, 0.05, 0.1, -35),
    "command line, algorithm 1: blocks of 0.5 s": (1, 0.5, 0.05, 0.2, 0.1, 0.5, -35),
    "command line, algorithm 2: whole phrases": (2, 0.5, None, None, None, None, -35),
}


# Ours: precision, frames of the future the voice sees, frames of a step and of the future of the encoder, which the voice
# follows; seconds of its latency in the studio tier.
OURS = {
    "f32: 0.15 s late": ("f32", 2, (2, 1)),
    "int8: 0.12 s late": ("int8", 2, (1, 1)),
    "int8: 0.15 s late": ("int8", 2, (2, 1)),
    "int8, longer steps that see less: 0.15 s late": ("int8", 1, (3, 0)),
    "int8, longer steps: 0.26 s late": ("int8", 4, (4, 2)),
    "int8, longer steps: 0.46 s late": ("int8", 4, (10, 2)),
}


def processor_s(who=resource.RUSAGE_SELF) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def make(folder: Path) -> None:
    """The checkpoint of a voice and of an encoder."""
    from so_vits_svc_fork.modules.synthesizers import SynthesizerTrn
    from so_vits_svc_fork.utils import save_checkpoint
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(1)
    voice = SynthesizerTrn(DATA["filter_length"] // 2 + 1, 20, **MODEL, sampling_rate=RATE_HZ)
    optimiser = torch.optim.AdamW(voice.parameters(), 1e-4)
    save_checkpoint(voice, optimiser, 1e-4, 1, folder / "G_1.pth")
    config = dict(train=dict(segment_size=10_240), data=DATA, model=MODEL, spk={"one": 0})
    (folder / "config.json").write_text(json.dumps(config))
    encoder = HubertModel(HubertConfig())
    torch.save(encoder.state_dict(), folder / "hubert.pt")


def fork(folder: Path):
    """The fork's voice, its encoder ours."""
    from so_vits_svc_fork import utils
    from so_vits_svc_fork.inference.core import Svc
    from transformers import HubertConfig, HubertModel

    def encoder(device, final_proj=True):
        model = HubertModel(HubertConfig())
        model.load_state_dict(torch.load(folder / "hubert.pt"))
        for module in model.modules():
            if isinstance(module, torch.nn.Conv1d):
                utils.remove_weight_norm_if_exists(module)
        return model.to(device).eval()

    utils.get_hubert_model = encoder
    return Svc(net_g_path=str(folder / "G_1.pth"), config_path=str(folder / "config.json"), device="cpu")


def fork_realtime(svc, audio: np.ndarray, settings) -> float:
    """Processor seconds per second."""
    from so_vits_svc_fork.inference.core import RealtimeVC, RealtimeVC2

    version, block_s, crossfade_s, before_s, after_s, pad_s, threshold_db = settings
    samples = lambda seconds: int(seconds * RATE_HZ)  # noqa: E731
    more = dict(speaker="one", transpose=0, f0_method="dio", db_thresh=threshold_db, chunk_seconds=0.5)
    if version == 1:
        model = RealtimeVC(
            svc_model=svc,
            crossfade_len=samples(crossfade_s),
            additional_infer_before_len=samples(before_s),
            additional_infer_after_len=samples(after_s),
        )
        more["pad_seconds"] = pad_s
    else:
        model = RealtimeVC2(svc_model=svc)
    block = samples(block_s)
    count = len(audio) // block
    began = processor_s()
    for n in range(count):
        model.process(audio[n * block : (n + 1) * block], **more)
    return (processor_s() - began) / (count * block / RATE_HZ)


def ours(trainer: str, clip: Path, voice: Path, *more: str) -> tuple[float, float]:
    """Processor seconds and seconds on the clock of a conversion, loading among them."""
    before, began = processor_s(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [trainer, "convert", str(clip), "-o", str(clip.with_suffix(".out.wav")), "--voice", str(voice), *more]
    clip.with_suffix(".out.wav").unlink(missing_ok=True)
    subprocess.run(command, check=True, capture_output=True)
    return processor_s(resource.RUSAGE_CHILDREN) - before, time.perf_counter() - began


def speech(paths: list[str], seconds: int) -> np.ndarray:
    """So many seconds of the recordings, one after the other."""
    import torchaudio

    parts, found = [], 0
    while found < seconds * RATE_HZ:
        for path in paths:
            audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
            mono = torch.from_numpy(audio.mean(1))
            mono = torchaudio.functional.resample(mono, rate_hz, RATE_HZ).numpy()
            parts.append(mono)
            found += len(mono)
    return np.concatenate(parts)[: seconds * RATE_HZ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainer")
    parser.add_argument("folder", type=Path)
    parser.add_argument("recordings", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch; one wastes nothing on waiting")
    parser.add_argument("--only", choices=["realtime", "clips"])
    args = parser.parse_args()
    # What random weights make of silence is denormal, and what trained ones make is not.
    torch.set_flush_denormal(True)
    torch.set_num_threads(args.threads)
    logging.disable(logging.WARNING)
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:CORES]))
    folder = args.folder
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "G_1.pth").exists():
        make(folder)
    voices = {}
    for name, (precision, ahead, encoder_step) in OURS.items():
        steps = "-".join(str(frames) for frames in (ahead, *encoder_step))
        encoder, voice = folder / f"hubert-{precision}-{steps}.timbra", folder / f"voice-{precision}-{steps}.timbra"
        if not voice.exists():
            measured = ["--measure-on", args.recordings[0]] if precision != "f32" else []
            imports = [
                [
                    *[str(folder / "hubert.pt"), "-o", str(encoder), "--precision", precision],
                    *["--step-frames", str(encoder_step[0]), "--lookahead-frames", str(encoder_step[1]), *measured],
                ],
                [
                    *[str(folder / "G_1.pth"), "-o", str(voice), "--encoder", str(encoder)],
                    *["--precision", precision, "--without-auto-f0", "--lookahead-frames", str(ahead)],
                ],
            ]
            for arguments in imports:
                subprocess.run([args.trainer, "import", *arguments], check=True)
        voices[name] = voice
    clips = {}
    for seconds in [SHORT_S, LONG_S, CLIP_S]:
        clips[seconds] = folder / f"speech-{seconds}.wav"
        soundfile.write(clips[seconds], speech(args.recordings, seconds), RATE_HZ, subtype="PCM_16")
    audio, _ = soundfile.read(clips[CLIP_S], dtype="float32")
    svc = fork(folder)
    svc.infer(speaker="one", transpose=0, audio=np.zeros(RATE_HZ, dtype=np.float32))

    print(f"torch {torch.__version__}, {args.threads} of its threads, {CORES} cores, load average before: {os.getloadavg()[0]:.1f}")
    print("\nreal time, processor seconds a second")
    for number in range(args.rounds if args.only != "clips" else 0):
        for name, settings in REALTIME.items():
            print(f"  round {number}: fork, {name}: {fork_realtime(svc, audio[: PLAYED_S * RATE_HZ], settings):.2f}", flush=True)
        for name, voice in voices.items():
            short, long = (ours(args.trainer, clips[s], voice, "--as-played")[0] for s in (SHORT_S, LONG_S))
            print(f"  round {number}: ours, {name}: {(long - short) / (LONG_S - SHORT_S):.2f}", flush=True)

    print(f"\nwhole clip of {CLIP_S} s: seconds on the clock, processor seconds")
    for number in range(args.rounds if args.only != "realtime" else 0):
        before, began = processor_s(), time.perf_counter()
        svc.infer_silence(audio, speaker="one", transpose=0)
        wall = time.perf_counter() - began
        print(f"  round {number}: fork: {wall:.1f} {processor_s() - before:.1f}", flush=True)
        for name, voice in voices.items():
            if "longer" in name:
                continue  # Clips are converted in steps of their own.
            empty = folder / "short.wav"
            soundfile.write(empty, audio[: RATE_HZ // 10], RATE_HZ, subtype="PCM_16")
            loading = ours(args.trainer, empty, voice)
            whole = ours(args.trainer, clips[CLIP_S], voice)
            print(
                f"  round {number}: ours, {name}: {whole[1] - loading[1]:.1f} {whole[0] - loading[0]:.1f}, "
                f"with loading {whole[1]:.1f} {whole[0]:.1f}",
                flush=True,
            )
    print(f"load average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    sys.exit(main())
