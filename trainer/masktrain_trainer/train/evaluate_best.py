"""The last word on the best weights: all classes, the confusion matrix and a few pictures, left for the report."""

import logging
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from masktrain_trainer.data.cache import CachedImages
from masktrain_trainer.model.confusion import confusion_matrix
from masktrain_trainer.model.metrics import ClassMetrics
from masktrain_trainer.model.yolo import Yolo
from masktrain_trainer.report.evaluation import ClassScores, EvaluatedPicture, Evaluation, PictureBox

from .advice import advice_on_run
from .context import Context
from .run_directory import write_atomically
from .state import TrainingState
from .validate import Validation, Validator

log = logging.getLogger(__name__)

PICTURES = 16
DRAWN_CONFIDENCE = 0.25


@dataclass
class Observations:
    """One rank's share; pictures by their index in the validation split."""

    confusion: Tensor
    wanted: frozenset[int]
    pictures: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def observe(self, index: int, found_K6: Tensor, labels_L5: Tensor) -> None:
        self.confusion += confusion_matrix(found_K6, labels_L5, len(self.confusion) - 1)
        if index in self.wanted:
            self.pictures[index] = (found_K6[found_K6[:, 4] >= DRAWN_CONFIDENCE], labels_L5)


def evaluate_best(context: Context, state: TrainingState, validator: Validator) -> None:
    """Validate the best weights once more on all ranks; rank 0 writes results.csv and the report's source."""
    classes = len(context.prepared.names)
    observations = Observations(torch.zeros(classes + 1, classes + 1, dtype=torch.int64), _pictures_to_draw(context))
    model = cast("Yolo", state.ema.module)
    if context.ranks.leads and state.best is not None:
        model.load_state_dict(state.best.state_dict)
    context.ranks.broadcast_tensors([*model.parameters(), *model.buffers()])
    validation = validator.run(model, observations.observe)
    shares = context.ranks.gather_to_leader(observations)
    if not context.ranks.leads:
        return
    (context.run.artifacts / "results.csv").write_text(state.results_csv, encoding="utf-8")
    if validation is not None:
        evaluation = describe(context, state, validation, shares)
        write_atomically(context.run.evaluation, evaluation.to_json())
        for scores in (evaluation.overall, *evaluation.classes):
            log.info("%s", table_row(scores))


def describe(context: Context, state: TrainingState, validation: Validation, shares: list[Observations]) -> Evaluation:
    config, names = context.config, context.prepared.names
    images_C = _images_per_class(context)
    by_class = {row.class_index: row for row in validation.metrics.classes}
    metrics = validation.metrics
    overall = ClassScores(
        name="all",
        images=len(context.prepared.val.images),
        labels=metrics.labels,
        precision=metrics.precision,
        recall=metrics.recall,
        map50=metrics.map50,
        map50_95=metrics.map50_95,
    )
    confusion = torch.stack([share.confusion for share in shares]).sum(dim=0)
    pictures = {index: boxes for share in shares for index, boxes in share.pictures.items()}
    return Evaluation(
        title=f"{config.namespace}/{config.name}",
        architecture=config.model.architecture.value,
        image_size=config.training.image_size,
        epoch=state.early_stopping.best_epoch,
        epochs_trained=state.position.epoch,
        stopped_early=state.stopped_early,
        overall=overall,
        classes=[_class_scores(name, images_C[index], by_class.get(index)) for index, name in enumerate(names)],
        confusion=confusion.tolist(),
        pictures=[_picture(context, index, *pictures[index]) for index in sorted(pictures)],
        advice=advice_on_run(config, context.prepared, context.ranks.world_size),
    )


def table_row(scores: ClassScores) -> str:
    numbers = (scores.precision, scores.recall, scores.map50, scores.map50_95)
    named = zip(("P", "R", "mAP50", "mAP50-95"), numbers, strict=True)
    counts = f"{scores.images:6d} images {scores.labels:6d} labels"
    return f"{scores.name:>20} {counts}  " + "  ".join(f"{name} {number:.3f}" for name, number in named)


def _pictures_to_draw(context: Context) -> frozenset[int]:
    """Spread evenly over the split."""
    count = len(context.prepared.val.images)
    return frozenset(round(step * (count - 1) / max(1, PICTURES - 1)) for step in range(min(PICTURES, count)))


def _images_per_class(context: Context) -> list[int]:
    split = context.prepared.val
    images = CachedImages(split.labels, split.cache)
    shown = [set(images.targets(index)[:, 0].astype(int).tolist()) for index in range(len(images))]
    return [sum(class_index in classes for classes in shown) for class_index in range(len(context.prepared.names))]


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
