"""What each rank of the resume test runs: a training in one go, and the same one stopped mid-epoch and continued."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch

from masktrain_trainer.checkpoint.snapshot import read_snapshot
from masktrain_trainer.checkpoint.spool import Spool
from masktrain_trainer.config import OutcomeKind, RunConfig
from masktrain_trainer.data.dataset import TrainDataset
from masktrain_trainer.data.loader import TrainLoader
from masktrain_trainer.data.prepared import load_prepared
from masktrain_trainer.train.context import Context
from masktrain_trainer.train.distributed import Ranks, process_groups
from masktrain_trainer.train.heartbeat import Heartbeat
from masktrain_trainer.train.initialise import initial_state
from masktrain_trainer.train.run_directory import RunDirectory
from masktrain_trainer.train.training import Training

CONFIG = {
    "namespace": "team",
    "name": "tiny",
    "uid": "uid-1",
    "attempt": 0,
    "model": {"architecture": "yolov5n"},
    "dataset": {"uri": "file:///unused.zip"},
    "training": {"epochs": 2, "batchSize": 4, "imageSize": 64, "hyperparameters": {"nominalBatchSize": 8}},
    "checkpoint": {"uri": "file:///unused"},
    "hangTimeoutSeconds": 60,
    "stopGraceSeconds": 60,
}


@contextmanager
def training(folder: Path, data: Path, ranks: Ranks) -> Iterator[Training]:
    run = RunDirectory(folder)
    run.artifacts.mkdir(parents=True, exist_ok=True)
    config, prepared = RunConfig.model_validate(CONFIG), load_prepared(data)
    dataset = TrainDataset(prepared, 64, config.training.hyperparameters, seed=0)
    with (
        Heartbeat(run.heartbeat(ranks.rank)) as heart,
        TrainLoader(dataset, batch_size=4, rank=ranks.rank, world_size=ranks.world_size) as loader,
    ):
        context = Context(config, prepared, ranks, run, folder / "spool", heart, torch.float32)
        yield Training(context, initial_state(context), loader)


def offer_checkpoint(spool: Path, folder: Path) -> int:
    """What uploader and restore stage do together, without a store; the step."""
    taken = Spool(spool).take()
    assert taken is not None
    state, meta = read_snapshot(taken)
    folder.mkdir()
    torch.save(state, folder / "state.pt")
    (folder / "restore.json").write_text(json.dumps({"run": 0, "file": str(folder / "state.pt")}))
    return meta.step


def main() -> None:
    data, output = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    with process_groups(timedelta(seconds=60)) as ranks:
        with training(output / "whole", data, ranks) as whole:
            assert whole.run().kind is OutcomeKind.COMPLETE
        with training(output / "stopped", data, ranks) as stopped:
            (output / "stopped" / "stop").touch()
            assert stopped.run().kind is OutcomeKind.STOPPED
        if ranks.leads:
            step = offer_checkpoint(output / "stopped" / "spool", output / "resumed")
            (output / "step").write_text(str(step))
        ranks.gather(None)
        with training(output / "resumed", data, ranks) as resumed:
            assert resumed.run().kind is OutcomeKind.COMPLETE


if __name__ == "__main__":
    main()
