"""A small training as its store sees it: snapshots of a few tensors, stored by the real uploader."""

from pathlib import Path
from typing import Any

import torch

from masktrain_trainer.checkpoint.catalog import read_manifests
from masktrain_trainer.checkpoint.keys import Fence, JobKeys
from masktrain_trainer.checkpoint.snapshot import write_snapshot
from masktrain_trainer.checkpoint.spool import SnapshotMeta, Spool
from masktrain_trainer.checkpoint.uploader import Uploader
from masktrain_trainer.checkpoint.writer import CheckpointWriter
from masktrain_trainer.config import Keep, RunConfig
from masktrain_trainer.stores import ObjectInfo, Store

KEYS = JobKeys("team", "masks", "uid-1")
FITNESS = {10: 0.1, 20: 0.3, 30: 0.2, 40: None}
BEST_STEP = 20
OUTPUTS = ["team/masks/best.pt", "team/masks/result.json", "team/masks/results.csv"]


def run_config(attempt: int = 0) -> RunConfig:
    document = {
        "namespace": KEYS.namespace,
        "name": KEYS.name,
        "uid": KEYS.uid,
        "attempt": attempt,
        "model": {},
        "dataset": {"uri": "s3://datasets/x.zip"},
        "training": {},
        "checkpoint": {"uri": "s3://checkpoints"},
        "hangTimeoutSeconds": 60,
        "stopGraceSeconds": 30,
    }
    return RunConfig.model_validate(document)


def state(step: int) -> dict[str, Any]:
    weights = {"weight": torch.full((8, 8), float(step)), "count": torch.tensor(step)}
    return {
        "format": "masktrain-state-v1",
        "step": step,
        "model": weights,
        "ema": {"updates": step, "state_dict": weights},
        "model_info": {"architecture": "yolov5n", "names": ["a", "b"], "image_size": 64},
        "metrics": {"mAP50": step / 100},
        "training": {"epochs": 4},
    }


def meta(step: int, reason: str = "epoch") -> SnapshotMeta:
    return SnapshotMeta(step // 10, step, FITNESS.get(step), is_best=step in (10, 20), reason=reason)


def uploader(store: Store, folder: Path, fence: Fence, keep: Keep = Keep.BEST) -> Uploader:
    writer = CheckpointWriter(store, KEYS, fence)
    return Uploader(writer, Spool(folder / "spool"), folder / "status.json", keep)


def store_all(up: Uploader) -> None:
    while up.store_waiting():
        pass


def train(store: Store, folder: Path, fence: Fence, steps: list[int], keep: Keep = Keep.BEST) -> Uploader:
    """Store a checkpoint of each step as a training process and its uploader would."""
    up = uploader(store, folder, fence, keep)
    for step in steps:
        write_snapshot(folder / "spool", state(step), meta(step))
        store_all(up)
    return up


def artifacts(folder: Path) -> Path:
    """What the training leaves to be published."""
    path = folder / "artifacts"
    path.mkdir(parents=True, exist_ok=True)
    (path / "results.csv").write_text("epoch\n")
    return path


def objects(store: Store) -> list[str]:
    return sorted(info.key for info in store.list(""))


def newest_files(store: Store, name: str) -> list[str]:
    """The keys of one file of every checkpoint, the newest first."""
    ordered = sorted(read_manifests(store, KEYS), key=lambda found: -found.step)
    return [f"{found.prefix(KEYS)}{name}" for found in ordered]


class Wrapped:
    """A store that behaves as another one, for tests that change one thing of it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class IgnoresConditions(Wrapped):
    """A server that accepts conditional headers and does not look at them, as some do."""

    def put(self, key: str, body: bytes | Path, *, sha256: str | None = None, **conditions: Any) -> ObjectInfo:
        return self.store.put(key, body, sha256=sha256)

    def honours_conditional_writes(self) -> bool:
        return False
