"""How long a checkpoint keeps the training thread from its next step: prints one JSON line.

    python benchmarks/snapshot.py [--megabytes 100] [--rounds 9]

The peer is what training programs do without a second process: `torch.save` to a file in memory, which still has to be
uploaded. Both take turns in one process; each figure is the median over the rounds. An idle uploader is assumed: every
snapshot is taken and released before the next one is written. Uses the GPU if there is one.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from masktrain_trainer.checkpoint.snapshot import write_snapshot
from masktrain_trainer.checkpoint.spool import SnapshotMeta, Spool

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - what is measured lies there
COPIES = 3  # weights, averaged weights, momentum
WIDEST_LAYER = 256
TENSORS_PER_LAYER = 5  # a convolution and its batch norm: four vectors


def training_state(megabytes: int, device: torch.device) -> dict[str, Any]:
    """Tensors of the shapes that a convolutional detector has, `megabytes` in all."""
    weights: dict[str, torch.Tensor] = {}
    channels = 16
    while COPIES * sum(tensor.nbytes for tensor in weights.values()) < megabytes * 1e6:
        layer = len(weights) // TENSORS_PER_LAYER
        weights[f"{layer}.weight"] = torch.randn(channels, channels, 3, 3, device=device)
        weights |= {
            f"{layer}.{name}": torch.randn(channels, device=device) for name in ("gamma", "beta", "mean", "var")
        }
        channels = min(2 * channels, WIDEST_LAYER)
    copies = {f"copy-{number}": {name: tensor.clone() for name, tensor in weights.items()} for number in range(COPIES)}
    return {"format": "benchmark", "step": 1, **copies}


def milliseconds(act: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - start)


def measure(state: dict[str, Any], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Milliseconds of each round, without the first one, which gets its memory from the system."""
    meta = SnapshotMeta(epoch=0, step=1, fitness=None, is_best=False, reason="interval")
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        spool, file = Spool(Path(folder) / "spool"), Path(folder) / "state.pt"
        acts: dict[str, Callable[[], None]] = {
            "ours": lambda: write_snapshot(spool.folder, state, meta),
            "torch.save": lambda: torch.save(state, file),
        }
        times: dict[str, list[float]] = {name: [] for name in acts}
        for _ in range(rounds + 1):
            for name, act in acts.items():
                times[name].append(milliseconds(act, device))
            taken = spool.take()
            assert taken is not None
            spool.release(taken)
    return {name: values[1:] for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    state = training_state(options.megabytes, device)
    size = sum(tensor.nbytes for copy in state.values() if isinstance(copy, dict) for tensor in copy.values())
    times = measure(state, options.rounds, device)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        json.dumps(
            {
                "benchmark": f"snapshot-blocks-training/{math.floor(size / 1e6)}-MB-{device.type}",
                "value": round(medians["ours"], 1),
                "worst": round(max(times["ours"]), 1),
                "unit": "ms",
                "better": "lower",
                "peer": round(medians["torch.save"], 1),
                "peer_name": "torch.save to a file in memory",
                "ratio": round(medians["torch.save"] / medians["ours"], 2),
                "machine": f"{os.cpu_count()} cores, "
                + (torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"),
            }
        )
    )


if __name__ == "__main__":
    main()
