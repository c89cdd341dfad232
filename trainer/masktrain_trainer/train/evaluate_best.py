"""The last evaluation, of the best weights: scores of all classes, confusion matrix and pictures, for the report."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from masktrain_trainer.checkpoint.state_files import save
from masktrain_trainer.data.prepared import CachedImages, Split
from masktrain_trainer.files import finished_whole, write_news
from masktrain_trainer.model.metrics import (
    CONFIDENCES,
    ClassCurves,
    ClassMetrics,
    DetectionMetrics,
    confusion_matrix,
    curves_by_class,
)
from masktrain_trainer.model.yolo import Yolo
from masktrain_trainer.report.evaluation import (
    ClassCurve,
    ClassScores,
    EvaluatedPicture,
    Evaluation,
    Fact,
    PictureBox,
    SplitScores,
)
from masktrain_trainer.run_directory import RestoreResult, read_document
from masktrain_trainer.weights.load import MODEL_FORMAT

from .advice import advice_on_run
from .state import Context, TrainingState, describe_model, half_precision_copy
from .validation import Validation, Validator

log = logging.getLogger(__name__)

PICTURES = 48
"""Three grids of sixteen."""
# YOLOv5's for detecting: people look at what `detect` would draw.
DRAWN_CONFIDENCE = 0.25
CURVE_STEP = 3
"""Every third of the thousand confidences, the first and the last among them, draws the same line."""


@dataclass
class Observations:
    """One rank's share; pictures by their index in the validation split."""

    confusion: Tensor
    wanted: frozenset[int]
    pictures: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def to_tree(self) -> dict[str, Any]:
        """For other ranks."""
        return {"confusion": self.confusion, "pictures": self.pictures}

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> "Observations":
        return cls(tree["confusion"], frozenset(tree["pictures"]), tree["pictures"])

    def observe(self, index: int, found_K6: Tensor, labels_L5: Tensor) -> None:
        self.confusion += confusion_matrix(found_K6, labels_L5, len(self.confusion) - 1)
        if index in self.wanted:
            self.pictures[index] = (found_K6[found_K6[:, 4] >= DRAWN_CONFIDENCE], labels_L5)


def evaluate_best(context: Context, state: TrainingState, validator: Validator) -> Validation | None:
    """Validate the best weights once more on all ranks; rank 0 writes results.csv and the report's source.

    None if the pod was asked to stop meanwhile.
    """
    classes = len(context.prepared.names)
    observations = Observations(torch.zeros(classes + 1, classes + 1, dtype=torch.int64), _pictures_to_draw(context))
    model = cast("Yolo", state.ema.module)
    # Rank 0 alone keeps the best weights: the others get them by the broadcast.
    if context.ranks.leads and state.best is not None:
        model.load_state_dict(state.best.state_dict)
    context.ranks.broadcast_tensors([*model.parameters(), *model.buffers()])
    validation = validator.run(model, observations.observe)
    shares = [Observations.from_tree(tree) for tree in context.ranks.gather_to_leader(observations.to_tree())]
    # None on all ranks or on none: no rank validates alone.
    test = _validate_test(context, model, validator) if validation is not None else None
    if not context.ranks.leads:
        return validation
    if context.config.export is not None or context.config.evaluation is not None:
        _keep_best(context, state, model)
    # The training is over and its last checkpoint handed over: a full disk must not cost it.
    write_news(context.run.artifacts / "results.csv", state.results_csv)
    if validation is not None:
        evaluation = describe(context, state, validation, shares, test)
        write_news(context.run.evaluation, evaluation.to_json())
        _log_scores(evaluation)
    return validation


def _keep_best(context: Context, state: TrainingState, model: Yolo) -> None:
    """As best.pt will be, for the steps that follow and must not wait for a store. Without it they say so."""
    document = {
        "format": MODEL_FORMAT,
        **describe_model(context.config, context.prepared),
        "epoch": state.early_stopping.best_epoch,
        "step": state.position.step,
        "fitness": state.best.fitness if state.best is not None else None,
        "metrics": state.metrics,
        "training": context.config.training.resolved(),
        "state_dict": half_precision_copy(model),
    }
    try:
        with finished_whole(context.run.best_model) as unfinished:
            save(document, unfinished.name, unfinished.parent)
    except OSError as error:
        log.warning("nothing can follow the training, since best.pt has no copy on this disk: %s", error)


def describe(
    context: Context,
    state: TrainingState,
    validation: Validation,
    shares: list[Observations],
    test: Validation | None = None,
) -> Evaluation:
    config, prepared = context.config, context.prepared
    scores = split_scores(prepared.names, prepared.val, validation.metrics)
    confusion = torch.stack([share.confusion for share in shares]).sum(dim=0)
    pictures = {index: boxes for share in shares for index, boxes in share.pictures.items()}
    return Evaluation(
        title=f"{config.namespace}/{config.name}",
        architecture=config.model.architecture.value,
        image_size=config.training.image_size,
        epoch=state.early_stopping.best_epoch,
        epochs_trained=state.position.epoch,
        stopped_early=state.stopped_early,
        fitness_warning=fitness_warning(prepared.val, state),
        overall=scores.overall,
        classes=scores.classes,
        test=split_scores(prepared.names, prepared.test, test.metrics) if prepared.test and test else None,
        confidence=validation.metrics.confidence,
        confidences=_rounded(CONFIDENCES[::CURVE_STEP]),
        curves=_curves(validation),
        confusion=confusion.tolist(),
        pictures=[_picture(context, index, *pictures[index]) for index in sorted(pictures)],
        advice=advice_on_run(config, prepared, context.ranks.world_size),
        facts=_facts(context, state, scores),
        settings=dict(_settings(config.training.resolved())),
    )


def split_scores(names: list[str], split: Split, metrics: DetectionMetrics) -> SplitScores:
    """The mean over the classes, and every class of the data set, also those without labels in this split."""
    images_C = _images_per_class(split, len(names))
    by_class = {row.class_index: row for row in metrics.classes}
    overall = ClassScores(
        name="all",
        images=len(split.images),
        labels=metrics.labels,
        precision=metrics.precision,
        recall=metrics.recall,
        map50=metrics.map50,
        map50_95=metrics.map50_95,
    )
    classes = [_class_scores(name, images_C[index], by_class.get(index)) for index, name in enumerate(names)]
    return SplitScores(overall=overall, classes=classes)


def table_row(scores: ClassScores) -> str:
    numbers = (scores.precision, scores.recall, scores.map50, scores.map50_95)
    named = zip(("P", "R", "mAP50", "mAP50-95"), numbers, strict=True)
    counts = f"{scores.images:6d} images {scores.labels:6d} labels"
    return f"{scores.name:>20} {counts}  " + "  ".join(f"{name} {number:.3f}" for name, number in named)


def _validate_test(context: Context, model: Yolo, validator: Validator) -> Validation | None:
    """On the test split, which no decision of this training has seen; None if there is none."""
    test = context.prepared.test
    return validator.run(model, split=test) if test is not None and test.images else None


def _log_scores(evaluation: Evaluation) -> None:
    for scores in (evaluation.overall, *evaluation.classes):
        log.info("%s", table_row(scores))
    if evaluation.test is not None:
        log.info("%s", table_row(evaluation.test.overall.model_copy(update={"name": "all of the test split"})))


def _curves(validation: Validation) -> list[ClassCurve]:
    assert validation.statistics is not None, "only rank 0 describes a validation"
    return [_curve(index, curves) for index, curves in curves_by_class(validation.statistics).items()]


def _curve(class_index: int, curves: ClassCurves) -> ClassCurve:
    return ClassCurve(
        class_index=class_index,
        precision=_rounded(curves.precision[::CURVE_STEP]),
        recall=_rounded(curves.recall[::CURVE_STEP]),
        precision_at_recall=_rounded(curves.precision_at_recall),
    )


def _rounded(values: Any) -> list[float]:
    """Finer than a figure can show."""
    rounded: list[float] = np.round(values, 4).tolist()
    return rounded


def _facts(context: Context, state: TrainingState, scores: SplitScores) -> list[Fact]:
    """What was trained, on what, and how long: a line each."""
    config, prepared, ranks = context.config, context.prepared, context.ranks
    known = {
        "model": f"{config.model.architecture.value} from {config.model.weights_shown}",
        "data set": config.dataset.shown,
        "classes": f"{len(prepared.names)}",
        "training split": f"{len(prepared.train.images):,} images, {_boxes(prepared.train):,} boxes",
        "validation split": f"{len(prepared.val.images):,} images, {scores.overall.labels:,} boxes",
        "test split": f"{len(prepared.test.images):,} images" if prepared.test else "none",
        "epochs": f"{state.position.epoch} of at most {config.training.epochs}; {_choice(state)}",
        "time": _time(context),
        "hardware": f"{ranks.world_size} × {ranks.device_name}, {str(context.format).removeprefix('torch.')}",
    }
    return [Fact(name=name, value=value) for name, value in known.items()]


def fitness_warning(val: Split, state: TrainingState) -> str | None:
    """What a person has to know of a best.pt that no fitness has chosen; None where one has."""
    if state.early_stopping.has_fitness:
        return None
    newest = f"best.pt holds the newest weights, those of epoch {state.early_stopping.best_epoch}, and nothing says"
    boxes = _boxes(val)
    if not boxes:
        return (
            f"No epoch had a fitness, because no picture of the validation split has a box: {newest} how good they "
            "are; label those pictures, or look at what `masktrain detect` draws before best.pt is used."
        )
    return (
        f"No epoch had a fitness above 0, because no detection matched any of the {boxes:,} boxes of the validation "
        f"split: {newest} that they are good; look whether these labels fit their pictures, and train for more epochs."
    )


def _choice(state: TrainingState) -> str:
    """Which epoch best.pt is of, and why."""
    stopping = state.early_stopping
    if stopping.has_fitness:
        return f"the best is epoch {stopping.best_epoch}, counted from 0"
    return f"none had a fitness above 0, best.pt is of epoch {stopping.best_epoch}, counted from 0"


def _boxes(split: Split) -> int:
    images = CachedImages(split.labels, split.cache)
    return sum(len(images.targets(index)) for index in range(len(images)))


def _time(context: Context) -> str:
    """Of this process; what earlier attempts took, it does not know."""
    minutes, seconds = divmod(round(time.monotonic() - context.started), 60)
    hours, minutes = divmod(minutes, 60)
    words = f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
    restored = read_document(context.run.restore_result, RestoreResult)
    if restored is None or restored.restored is None:
        return words
    return f"{words} since it went on from a checkpoint of epoch {restored.restored.epoch}"


def _settings(document: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value).lower() if isinstance(value, bool) else str(value)


def _pictures_to_draw(context: Context) -> frozenset[int]:
    """Spread evenly over the split; all of a small one."""
    count = len(context.prepared.val.images)
    drawn = min(PICTURES, count)
    return frozenset(round(step * (count - 1) / max(1, drawn - 1)) for step in range(drawn))


def _images_per_class(split: Split, classes: int) -> list[int]:
    images = CachedImages(split.labels, split.cache)
    shown = [set(images.targets(index)[:, 0].astype(int).tolist()) for index in range(len(images))]
    return [sum(class_index in found for found in shown) for class_index in range(classes)]


def _class_scores(name: str, images: int, row: ClassMetrics | None) -> ClassScores:
    """A class without labels has no scores; zeros stand for them."""
    if row is None:
        return ClassScores(name=name, images=images, labels=0, precision=0, recall=0, map50=0, map50_95=0)
    return ClassScores(
        name=name,
        images=images,
        labels=row.labels,
        precision=row.precision,
        recall=row.recall,
        map50=row.ap50,
        map50_95=row.ap50_95,
    )


def _picture(context: Context, index: int, found_K6: Tensor, labels_L5: Tensor) -> EvaluatedPicture:
    record = context.prepared.val.images[index]
    return EvaluatedPicture(
        name=record.name,
        path=str(record.path),
        labels=[PictureBox(class_index=int(row[0]), xyxy=tuple(row[1:])) for row in labels_L5.tolist()],
        predictions=[
            PictureBox(class_index=int(row[5]), xyxy=tuple(row[:4]), confidence=row[4]) for row in found_K6.tolist()
        ],
    )
