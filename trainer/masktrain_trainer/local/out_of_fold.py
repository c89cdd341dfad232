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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
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
from masktrain_trainer.model.boxes import pairwise_iou
from masktrain_trainer.predict.drawing import LabelledBox
from masktrain_trainer.predict.models import load_model
from masktrain_trainer.weights.load import fetch_weights

from .datasets import zip_folder
from .findings import Finding, Kind, Picture, at, marked
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
    passes: int = 25_000
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
        some = pictures[start : start + _PICTURES_AT_ONCE]
        found += detector([picture.pixels() for picture in some])
    return found


SAME_PLACE = 0.5
"""IoU from which a prediction is about a label, as in mAP50."""
ANY_OVERLAP = 0.1
NEARBY = 1.5
"""Times a box's longer side: so far its object may be away before it is taken for another one."""
CLASS_LEAD, MISSING_CONFIDENCE, SHIFTED_CONFIDENCE = 0.65, 0.5, 0.35
UNSEEN_CONFIDENCE, LEAST_RECALL = 0.1, 0.95
"""A label is doubted where nothing is found at all, in a class whose labels are found otherwise."""


@dataclass(frozen=True)
class _Compared:
    """Labels (N) and predictions (M) of a picture. `own_N`: the highest confidence for a label's class among the
    predictions in its place; `any_N`: of whatever overlaps it.
    """

    picture: Picture
    found: Sequence[Detection]
    iou_NM: npt.NDArray[np.float64]
    same_class_NM: npt.NDArray[np.bool_]
    confidence_M: npt.NDArray[np.float64]
    own_N: npt.NDArray[np.float64]
    any_N: npt.NDArray[np.float64]


def contradictions(
    pictures: Sequence[Picture], found: Sequence[Sequence[Detection]], names: Sequence[str]
) -> Iterator[Finding]:
    """Where out-of-fold predictions speak against the labels of their pictures."""
    compared = [_compare(picture, detections) for picture, detections in zip(pictures, found, strict=True)]
    recall_C, usual_C = _recall(compared, len(names)), _usual_confidence(compared, len(names))
    for one in compared:
        yield from _contradictions(one, recall_C, usual_C, names)


def _compare(picture: Picture, found: Sequence[Detection]) -> _Compared:
    boxes_M4 = np.array([detection.xyxy for detection in found], np.float64).reshape(-1, 4)
    iou_NM = pairwise_iou(torch.from_numpy(picture.corners), torch.from_numpy(boxes_M4)).numpy()
    classes_N = np.array(picture.classes, int)
    classes_M = np.array([detection.class_index for detection in found], int)
    confidence_M = np.array([detection.confidence for detection in found], np.float64)
    same_class_NM, same_place_NM = classes_N[:, None] == classes_M[None], iou_NM >= SAME_PLACE

    def highest(counts_NM: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        highest_N: npt.NDArray[np.float64] = np.where(counts_NM, confidence_M[None], 0.0).max(axis=1, initial=0.0)
        return highest_N

    return _Compared(
        picture,
        found,
        iou_NM,
        same_class_NM,
        confidence_M,
        own_N=highest(same_class_NM & same_place_NM),
        any_N=highest(iou_NM >= ANY_OVERLAP),
    )


def _recall(compared: Sequence[_Compared], classes: int) -> npt.NDArray[np.float64]:
    """Share of each class's labels in whose place its class was found."""
    seen, all_of = np.zeros(classes), np.zeros(classes)
    for one in compared:
        np.add.at(all_of, one.picture.classes, 1)
        np.add.at(seen, one.picture.classes, one.own_N >= 2 * UNSEEN_CONFIDENCE)
    return seen / np.maximum(all_of, 1)


def _usual_confidence(compared: Sequence[_Compared], classes: int) -> npt.NDArray[np.float64]:
    """With which each class is found, on average, where a label says so: confident learning's threshold of a class."""
    total, count = np.zeros(classes), np.zeros(classes)
    for one in compared:
        np.add.at(total, one.picture.classes, one.own_N)
        np.add.at(count, one.picture.classes, one.own_N > 0)
    return total / np.maximum(count, 1)


def _contradictions(
    one: _Compared, recall_C: npt.NDArray[np.float64], usual_C: npt.NDArray[np.float64], names: Sequence[str]
) -> Iterator[Finding]:
    doubted = [index for index in range(len(one.picture.classes)) if one.own_N[index] < UNSEEN_CONFIDENCE]
    unlabelled = [
        number
        for number in range(len(one.found))
        if not (one.iou_NM[:, number] >= SAME_PLACE).any() and one.confidence_M[number] >= SHIFTED_CONFIDENCE
    ]
    for index in range(len(one.picture.classes)):
        other = _other_class(one, index)
        if other is not None and _is_convincing(other, float(one.own_N[index]), usual_C):
            yield _as_other_class(one, index, other, names)
            doubted = [other for other in doubted if other != index]
    for number in unlabelled:
        label = _moved(one, number, doubted)
        if label is not None:
            doubted.remove(label)
            yield _shifted(one, label, number, names)
        elif one.confidence_M[number] >= MISSING_CONFIDENCE:
            yield _missing(one, number)
    for index in doubted:
        recall = recall_C[one.picture.classes[index]]
        if one.any_N[index] < UNSEEN_CONFIDENCE and recall >= LEAST_RECALL:
            yield _spurious(one, index, float(recall), names)


def _moved(one: _Compared, number: int, doubted: Sequence[int]) -> int | None:
    """The doubted label of the prediction's class that lies nearest, if it is near and of like size."""
    x1, y1, x2, y2 = one.found[number].xyxy
    found_sides = np.array([x2 - x1, y2 - y1])
    best, nearest = None, np.inf
    for index in doubted:
        left, top, right, bottom = one.picture.corners[index]
        sides = np.array([right - left, bottom - top])
        away = float(np.hypot((left + right - x1 - x2) / 2, (top + bottom - y1 - y2) / 2)) / float(sides.max())
        alike = bool((sides < 2 * found_sides).all() and (found_sides < 2 * sides).all())
        if one.same_class_NM[index, number] and alike and away <= NEARBY and away < nearest:
            best, nearest = index, away
    return best


def _other_class(one: _Compared, index: int) -> Detection | None:
    """What is found in a label's place with the highest confidence, of all other classes."""
    candidates = np.where(~one.same_class_NM[index] & (one.iou_NM[index] >= SAME_PLACE), one.confidence_M, 0.0)
    return one.found[int(candidates.argmax())] if candidates.any() else None


def _is_convincing(other: Detection, own: float, usual_C: npt.NDArray[np.float64]) -> bool:
    """Whether a class is found as surely as where labels name it, and much more so than the label's own."""
    return other.confidence - own >= CLASS_LEAD and other.confidence >= usual_C[other.class_index]


def _as_other_class(one: _Compared, index: int, other: Detection, names: Sequence[str]) -> Finding:
    label, own = one.picture.classes[index], float(one.own_N[index])
    return Finding(
        Kind.CLASS,
        f"{one.picture.name}: the box {names[label]!r} {at(one.picture.corners[index])} looks like {other.name!r} "
        f"({other.confidence:.2f}, as {names[label]!r} {own:.2f}).",
        other.confidence - own,
        [one.picture],
        [marked(one.picture, index, names), _predicted(other)],
    )


def _shifted(one: _Compared, index: int, number: int, names: Sequence[str]) -> Finding:
    label, found = one.picture.classes[index], one.found[number]
    return Finding(
        Kind.SHIFTED,
        f"{one.picture.name}: the box {names[label]!r} {at(one.picture.corners[index])} has nothing in it that looks "
        f"like one, but there is one {at(found.xyxy)} ({found.confidence:.2f}).",
        found.confidence,
        [one.picture],
        [marked(one.picture, index, names), _predicted(found)],
    )


def _missing(one: _Compared, number: int) -> Finding:
    found = one.found[number]
    return Finding(
        Kind.MISSING,
        f"{one.picture.name}: {found.name!r} {at(found.xyxy)} has no box ({found.confidence:.2f}).",
        found.confidence,
        [one.picture],
        [_predicted(found)],
    )


def _spurious(one: _Compared, index: int, recall: float, names: Sequence[str]) -> Finding:
    label = one.picture.classes[index]
    return Finding(
        Kind.SPURIOUS,
        f"{one.picture.name}: nothing is found in the box {names[label]!r} {at(one.picture.corners[index])}; of its "
        f"class {recall:.0%} are found.",
        recall,
        [one.picture],
        [marked(one.picture, index, names)],
    )


def _predicted(found: Detection) -> LabelledBox:
    return LabelledBox(found.xyxy, found.class_index, f"found: {found.name} {found.confidence:.2f}")
