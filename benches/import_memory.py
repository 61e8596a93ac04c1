"""What the import of a large checkpoint needs: a so-vits-svc voice of full width, saved by so-vits-svc-fork with its optimiser.

    pip install torch so-vits-svc-fork transformers soundfile
    cargo build --release -p timbra-trainer
    python benches/import_memory.py target/release/trainer WORK_FOLDER

Makes the checkpoint as training leaves it (float32) and the same with every tensor in half precision, imports both and prints
seconds and the most memory (resident, in multiples of the file's size). Asked: at most 20 s and 2.5 times.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path


def make(folder: Path) -> None:
    import torch
    from against_fork import DATA, MODEL, RATE_HZ
    from so_vits_svc_fork.modules.synthesizers import SynthesizerTrn
    from so_vits_svc_fork.utils import save_checkpoint

    torch.manual_seed(1)
    voice = SynthesizerTrn(DATA["filter_length"] // 2 + 1, 20, **MODEL, sampling_rate=RATE_HZ)
    optimiser = torch.optim.AdamW(voice.parameters(), 1e-4)
    for parameter in voice.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimiser.step()
    save_checkpoint(voice, optimiser, 1e-4, 1, folder / "full.pth")
    half = lambda x: x.half() if torch.is_tensor(x) and x.is_floating_point() else x  # noqa: E731
    saved = torch.load(folder / "full.pth", weights_only=False)
    saved["model"] = {name: half(value) for name, value in saved["model"].items()}
    for state in saved["optimizer"]["state"].values():
        state.update({name: half(value) for name, value in state.items()})
    torch.save(saved, folder / "half.pth")
    config = dict(train=dict(segment_size=10_240), data=DATA, model=MODEL, spk={"one": 0})
    (folder / "config.json").write_text(json.dumps(config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trainer")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--make", action="store_true", help="only make the checkpoints")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.make:
        return make(args.folder)
    if not (args.folder / "half.pth").exists():
        # In a process of its own: a child's most memory counts from its parent's.
        subprocess.run([sys.executable, *sys.argv, "--make"], check=True)
    for name in ["full.pth", "half.pth"]:
        path = args.folder / name
        size = path.stat().st_size
        began = time.perf_counter()
        process = subprocess.Popen([args.trainer, "import", str(path), "-o", str(args.folder / f"{name}.timbra")])
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        assert status == 0, f"{name}: import failed"
        most = used.ru_maxrss * 1024
        print(f"{name}: {size / 1e6:.0f} MB, {seconds:.1f} s, {most / 1e6:.0f} MB at the most, {most / size:.2f} times its size")


if __name__ == "__main__":
    main()
