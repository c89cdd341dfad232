"""Models of many qualities from few trainings: those of every so many epochs, on good labels and on spoilt ones.

Kept outside the repository, by what they were made from, like those of `models.py`.
"""

import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from masktrain_trainer.local.out_of_fold import FEW_PICTURES

from .models import KEPT, drawn_masks

IMAGE_SIZE = 160
PERIOD = 3
"""Epochs from one kept model to the next."""


@dataclass(frozen=True)
class Training:
    """`spoilt`: the share of training boxes that are taken away or given another class, one as often as the other."""

    architecture: str
    epochs: int
    seed: int
    spoilt: float = 0.0

    @property
    def name(self) -> str:
        return f"family-{self.architecture}-{self.epochs}epochs-seed{self.seed}-spoilt{self.spoilt:g}"


TRAININGS = (Training("yolov5n", 24, 1), Training("yolov5s", 15, 2), Training("yolov5n", 12, 3, spoilt=0.5))


def family() -> dict[str, Path]:
    """Weights by a name that says what they are; trained on first use, in a quarter of an hour on two cores."""
    return dict(entry for training in TRAININGS for entry in _models(training))


def _models(training: Training) -> Iterator[tuple[str, Path]]:
    folder = KEPT / training.name
    if not folder.exists():
        print(f"training {training.name} into {folder}", file=sys.stderr, flush=True)
        _train(training, folder)
    for path in sorted(folder.rglob("ckpt/*/model.pt"), key=_epoch):
        # Before that it knows next to nothing, and nobody would compare it with anything.
        if _epoch(path) >= training.epochs / 3:
            yield f"{training.architecture}-seed{training.seed}-epoch{_epoch(path)}", path


def _epoch(model: Path) -> int:
    return int(model.parent.name.split("-")[1])


def _train(training: Training, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=KEPT) as scratch:
        unfinished, manifest, data = Path(scratch) / "run", Path(scratch) / "job.yaml", Path(scratch) / "data.zip"
        _spoil(drawn_masks(IMAGE_SIZE), data, training.spoilt, random.Random(training.seed))  # noqa: S311 - no secret
        manifest.write_text(yaml.safe_dump(_job(training, data)), encoding="utf-8")
        command = ["masktrain_trainer.cli.main", "train", str(manifest), "--output", str(unfinished)]
        with (Path(scratch) / "log").open("w+", encoding="utf-8") as log:
            if subprocess.run([sys.executable, "-m", *command], stdout=log, stderr=log, check=False).returncode:
                log.seek(0)
                raise RuntimeError(f"the training failed:\n{log.read()[-4000:]}")
        unfinished.rename(folder)


def _job(training: Training, data: Path) -> dict[str, object]:
    settings = {
        "batchSize": 16,
        "patience": 0,
        "imageSize": IMAGE_SIZE,
        "epochs": training.epochs,
        "seed": training.seed,
        "savePeriod": PERIOD,
        "optimizer": "AdamW",
        "schedule": "Cosine",
        "hyperparameters": FEW_PICTURES.model_dump(mode="json", by_alias=True, exclude_unset=True),
    }
    return {
        "apiVersion": "masktrain.dev/v1alpha1",
        "kind": "MaskTrainingJob",
        "metadata": {"namespace": "benchmark", "name": "family"},
        "spec": {
            "model": {"architecture": training.architecture, "weights": "scratch"},
            "dataset": {"uri": data.as_uri()},
            "training": settings,
            "checkpoint": {"uri": "file:///overridden", "keep": "Best"},
            "compute": {"nodes": 1},
        },
    }


def _spoil(good: Path, bad: Path, share: float, chance: random.Random) -> None:
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as target:
        for name in source.namelist():
            body = source.read(name)
            if name.startswith("train/labels/"):
                rows = [row for old in body.decode().splitlines() for row in _spoilt(old, share, chance)]
                body = "\n".join(rows).encode()
            target.writestr(name, body)


def _spoilt(row: str, share: float, chance: random.Random) -> list[str]:
    if chance.random() >= share:
        return [row]
    label, *box = row.split()
    others = [other for other in "012" if other != label]
    return [] if chance.random() < 0.5 else [" ".join([chance.choice(others), *box])]
