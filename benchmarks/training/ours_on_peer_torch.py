"""Our trainer on v7.0's version of torch, to tell apart what a newer torch does for the speed and what we do.

That torch has no launcher that takes our options, so preparation and rank are started directly, without an uploader.
"""

import os
import socket
from pathlib import Path

from masktrain_trainer.data.cpu_limit import cpu_limit
from masktrain_trainer.pod.launch import ALLOCATOR_VARIABLE, KEEP_FREED_MEMORY, Paths

from .environments import own_environment_on_peer_torch
from .epochs import Epoch
from .observed_process import run_observed
from .ours import environment, read_epochs, run_config
from .workload import DrawnDataset, Workload


def train(workload: Workload, dataset: DrawnDataset, folder: Path) -> list[Epoch]:
    """The epochs of one run."""
    folder.mkdir(parents=True)
    python = str(own_environment_on_peer_torch() / "bin" / "python")
    config = run_config(workload, dataset, folder, {})
    variables = {**environment(config, workload.device, folder), **_single_rank()}
    paths = Paths.from_environment(variables)
    paths.run.create()
    paths.spool.mkdir(parents=True)
    data, run = ("--data", str(paths.data)), ("--run-directory", str(paths.run.root))
    prepare = ("--output", str(paths.data), "--result", str(paths.run.prepare_result))
    run_observed([python, "-m", "masktrain_trainer.data.prepare", *prepare], variables, folder)
    worker = [python, "-m", "masktrain_trainer.train.worker", *run, *data, "--spool", str(paths.spool)]
    return read_epochs(run_observed(worker, variables, folder))


def _single_rank() -> dict[str, str]:
    """What torchrun and the supervisor would tell the rank."""
    return {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cpu_limit())),
        ALLOCATOR_VARIABLE: KEEP_FREED_MEMORY,
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
