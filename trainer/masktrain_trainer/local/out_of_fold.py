"""Labels that a model contradicts which has not seen them: the pictures are parted into folds, a detector is trained
on all folds but one, and what it finds in that one is compared with the labels.

The idea of out-of-fold predictions as a witness against labels is that of confident learning (C. Northcutt, L. Jiang,
I. Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 2021); how boxes disagree is ours.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from masktrain_trainer.config import (
    DEVICE_VARIABLE,
    OFFICIAL,
    SCRATCH,
    Architecture,
    CheckpointSpec,
    DatasetSpec,
    FailureReason,
    HyperparameterOverrides,
    ModelSpec,
    Optimizer,
    OutcomeKind,
    RunConfig,
    Schedule,
    TrainingSpec,
)
from masktrain_trainer.detect.detector import Detection, DetectionOptions, Detector
from masktrain_trainer.errors import MaskTrainError, TrainingEnded, user_error
from masktrain_trainer.predict.models import load_model
from masktrain_trainer.weights.load import fetch_weights

from .contradictions import agreed, mirrored
from .datasets import zip_folder
from .findings import Picture
from .job import LocalJob, cuda_devices
from .results import results_folder
from .training import run_attempt

Say = Callable[[str], None]

ARCHITECTURE = Architecture.YOLOV5N
BATCH_SIZE = 16
LEAST_CONFIDENCE = 0.05
"""Of predictions that are looked at: that a class is not even considered says something, too."""
FEW_PICTURES = HyperparameterOverrides.model_validate(
    {
        "nominalBatchSize": BATCH_SIZE,
        "learningRate": 0.003,
        "momentum": 0.9,
        "warmupEpochs": 1,
        "warmupMinIterations": 25,
        "warmupBiasLearningRate": 0.01,
        "emaDecay": 0.998,
        "emaRampSteps": 200,
        "classGain": 2,
        "mosaic": 0.25,
        "scale": 0.3,
    }
)
"""YOLOv5's are made for 300 epochs of 100,000 pictures. These learn in minutes from some hundred: many small steps of
AdamW, a short warm-up, a fast average, and few mosaics; measured on examples/masks."""
MOST_MEASURED = 64
"""Pictures by which a fold's best epoch is chosen: enough for that, and to measure more takes time from learning."""
_PICTURES_AT_ONCE = 16


@dataclass(frozen=True)
class FoldOptions:
    """`epochs` None takes as many as show the models `passes` pictures each."""

    folds: int = 3
    image_size: int = 160
    epochs: int | None = None
    passes: int = 14_000
    weights: str = OFFICIAL
    seed: int = 0

    def epochs_for(self, training_pictures: int) -> int:
        return self.epochs or min(max(round(self.passes / max(training_pictures, 1)), 10), 300)


def folds_of(groups: Sequence[int], folds: int, seed: int) -> list[list[int]]:
    """Indices of each fold. Pictures of a group stay together: else a model would have seen what it testifies on."""
    members = defaultdict[int, list[int]](list)
    for index, group in enumerate(groups):
        members[group].append(index)
    shuffled = list(members.values())
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - no secret
    found: list[list[int]] = [[] for _ in range(folds)]
    # The largest groups first and each into the least full fold, so that the folds are of like size.
    for group_members in sorted(shuffled, key=len, reverse=True):
        min(found, key=len).extend(group_members)
    return [sorted(fold) for fold in found]


def predict_out_of_fold(
    pictures: Sequence[Picture],
    groups: Sequence[int],
    names: Sequence[str],
    options: FoldOptions,
    *,
    scratch: Path,
    say: Say,
) -> list[list[Detection]]:
    """What is found in each picture by a model that was trained without it. Raises UserError or TrainingEnded."""
    found: dict[int, list[Detection]] = {}
    weights = _starting_weights(options.weights, scratch, say)
    for number, fold in enumerate(folds_of(groups, options.folds, options.seed)):
        say(f"fold {number + 1} of {options.folds}: training without {len(fold)} of {len(pictures)} pictures")
        folder = scratch / f"fold-{number}"
        archive = _write_fold(pictures, fold, names, folder)
        config = _config(archive, folder, options, len(pictures) - len(fold), weights)
        best = _train(config, folder)
        found.update(zip(fold, _detect(best, [pictures[index] for index in fold]), strict=True))
        shutil.rmtree(folder)
    return [found[index] for index in range(len(pictures))]


def _starting_weights(weights: str, scratch: Path, say: Say) -> str:
    """A URI, fetched once for all folds; scratch where the official file cannot be had."""
    if weights == SCRATCH:
        return SCRATCH
    file = scratch / "weights.pt"
    try:
        fetch_weights(ModelSpec(architecture=ARCHITECTURE, weights=weights), None, None, file)
    except MaskTrainError as error:
        if weights != OFFICIAL:
            raise
        say(f"The folds are trained from scratch, which finds less: {error}")
        return SCRATCH
    return file.resolve().as_uri()


def _write_fold(pictures: Sequence[Picture], fold: Sequence[int], names: Sequence[str], folder: Path) -> Path:
    """The zip of a training on all other pictures, measured on a few of the fold."""
    export = folder / "export"
    held_out, measured = set(fold), set(fold[:MOST_MEASURED])
    for index, picture in enumerate(pictures):
        if index in held_out - measured:
            continue
        split = export / ("valid" if index in measured else "train")
        name = f"{index:07d}"
        for kind in ("images", "labels"):
            (split / kind).mkdir(parents=True, exist_ok=True)
        _link(picture.path.resolve(), split / "images" / f"{name}{picture.path.suffix.lower()}")
        rows = [" ".join([str(int(row[0])), *(f"{value:.8f}" for value in row[1:])]) for row in picture.targets]
        (split / "labels" / f"{name}.txt").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    description = {"train": "train/images", "val": "valid/images", "nc": len(names), "names": list(names)}
    (export / "data.yaml").write_text(yaml.safe_dump(description, allow_unicode=True), encoding="utf-8")
    archive = folder / "fold.zip"
    zip_folder(export, archive)
    shutil.rmtree(export)
    return archive


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _config(archive: Path, folder: Path, options: FoldOptions, training: int, weights: str) -> RunConfig:
    return RunConfig(
        namespace="check",
        name="fold",
        uid="1",
        attempt=0,
        model=ModelSpec(architecture=ARCHITECTURE, weights=weights),
        dataset=DatasetSpec(uri=archive.resolve().as_uri()),
        training=TrainingSpec(
            epochs=options.epochs_for(training),
            batch_size=BATCH_SIZE,
            image_size=options.image_size,
            seed=options.seed,
            optimizer=Optimizer.ADAMW,
            schedule=Schedule.COSINE,
            # All epochs: the schedule's end, where it learns the last, is what a short training is for.
            patience=0,
            overrides=FEW_PICTURES,
        ),
        checkpoint=CheckpointSpec(uri=(folder / "results").resolve().as_uri()),
        hang_timeout_seconds=600,
        stop_grace_seconds=30,
    )


def _train(config: RunConfig, folder: Path) -> Path:
    device = os.environ.get(DEVICE_VARIABLE) or ("auto" if cuda_devices() else "cpu")
    outcome, _ = run_attempt(LocalJob(config, 1, {DEVICE_VARIABLE: device}, []), folder)
    if outcome.kind is OutcomeKind.USER_ERROR:
        raise user_error(FailureReason(outcome.reason), outcome.message)
    if outcome.kind is not OutcomeKind.COMPLETE:
        raise TrainingEnded(f"The training of a fold did not come to its end: {outcome.message}")
    return Path(results_folder(config)) / "best.pt"


def _detect(weights: Path, pictures: Sequence[Picture]) -> list[list[Detection]]:
    detector = Detector(load_model(str(weights)), DetectionOptions(confidence=LEAST_CONFIDENCE))
    found: list[list[Detection]] = []
    for start in range(0, len(pictures), _PICTURES_AT_ONCE):
        images = [picture.pixels() for picture in pictures[start : start + _PICTURES_AT_ONCE]]
        in_mirror = detector([np.ascontiguousarray(image[:, ::-1]) for image in images])
        found += [
            agreed(detections, [mirrored(other, image.shape[1]) for other in others])
            for image, detections, others in zip(images, detector(images), in_mirror, strict=True)
        ]
    return found
