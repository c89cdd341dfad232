"""`masktrain val`: a checkpoint's scores on a split of any data set."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from masktrain_trainer.config import DATASET_URL_VARIABLE, Precision
from masktrain_trainer.data.loader import ValBatch, val_batches
from masktrain_trainer.data.prepare import SINGLE_CLASS
from masktrain_trainer.data.prepared import PreparedDataset, Split
from masktrain_trainer.errors import InvalidConfiguration, InvalidDataset, InvalidWeights
from masktrain_trainer.model.metrics import DetectionMetrics, DetectionStatistics
from masktrain_trainer.model.precision import choose_format
from masktrain_trainer.predict.predictor import VALIDATION, Predictor, choose_device, load_predictor, round_up
from masktrain_trainer.report.evaluation import ClassScores
from masktrain_trainer.train.evaluate_best import split_scores
from masktrain_trainer.weights.load import load_weights
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .datasets import CheckedDataset, check_dataset, linked_dataset, open_dataset, scratch_folder

Say = Callable[[str], None]


@dataclass(frozen=True)
class EvaluationOptions:
    """Which weights on which data: None is the link in the environment.

    `image_size` None means as trained, `endpoint` is that of s3:// and oci:// URIs.
    """

    weights: str
    data: str | None
    split: str = "val"
    image_size: int | None = None
    batch_size: int = 32
    endpoint: str | None = None


@dataclass(frozen=True)
class Scores:
    """`milliseconds`: per image, in loading, in the network and in NMS."""

    image_size: int
    device: str
    overall: ClassScores
    classes: list[ClassScores]
    milliseconds: dict[str, float]
    skipped: list[str]

    def document(self) -> dict[str, Any]:
        """For machines."""
        return {
            "imageSize": self.image_size,
            "device": self.device,
            "millisecondsPerImage": self.milliseconds,
            "skippedImages": len(self.skipped),
            "overall": _document(self.overall),
            "classes": [_document(row) for row in self.classes],
        }


def _document(row: ClassScores) -> dict[str, Any]:
    counts = {"name": row.name, "images": row.images, "labels": row.labels}
    scores = {"precision": row.precision, "recall": row.recall, "mAP50": row.map50, "mAP50_95": row.map50_95}
    return counts | scores


def evaluate(options: EvaluationOptions, say: Say) -> Scores:
    """Raises UserError, InvalidDataset or StoreError."""
    file = load_weights(options.weights, options.endpoint)
    image_size = round_up(options.image_size or file.image_size, file.architecture.max_stride)
    with scratch_folder() as scratch:
        root = open_dataset(dataset_of(options), options.endpoint, scratch, say)
        single = file.names == [SINGLE_CLASS]
        checked = check_dataset(root, scratch, say, image_size=image_size, splits=(options.split,), single_class=single)
        if options.split not in checked.splits:
            raise InvalidDataset(f"The data set has no {options.split!r} split; its data.yaml names none that exists.")
        if not single:
            _compare_names(file, checked, say)
        for sentence in checked.splits[options.split].account.oddities():
            say(sentence)
        split = checked.splits[options.split].split
        return _score(file, split, image_size, options.batch_size, checked.skipped)


def dataset_of(options: EvaluationOptions) -> str:
    """Where the data lies, as it may be shown. Raises InvalidConfiguration."""
    source = options.data or linked_dataset()
    if source is None:
        raise InvalidConfiguration(
            f"No data set was given: name it with --data, or put a download link into {DATASET_URL_VARIABLE}."
        )
    return source


def _compare_names(file: DetectorWeights, checked: CheckedDataset, say: Say) -> None:
    known, found = ", ".join(file.names), ", ".join(checked.names)
    if len(file.names) != len(checked.names):
        raise InvalidWeights(
            f"The weights know other classes ({known}) than the data set has ({found}); "
            "evaluate on data with the classes of the training.",
        )
    if file.names != checked.names:
        say(f"The weights call the classes {known}, the data set {found}: they are compared by number.")


@dataclass
class _Stopwatch:
    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        # A GPU works on behind the host: the next part would be charged with it.
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started


def _score(file: DetectorWeights, split: Split, image_size: int, batch_size: int, skipped: list[str]) -> Scores:
    device = choose_device()
    watch = _Stopwatch(device)
    predictor = load_predictor(file, VALIDATION, device, choose_format(Precision.AUTO, device))
    # The format wants a training split, too, which nothing reads here.
    prepared = PreparedDataset(names=file.names, image_size=image_size, train=split, val=split)
    batches = val_batches(
        prepared, split, image_size=image_size, batch_size=batch_size, stride=file.architecture.max_stride
    )
    parts = list(_statistics(predictor, batches, watch))
    metrics = DetectionMetrics.from_statistics(DetectionStatistics.concatenate(parts))
    scores = split_scores(file.names, split, metrics)
    with_labels = [row for row in scores.classes if row.labels]
    milliseconds = {part: 1000 * seconds / len(split.images) for part, seconds in watch.seconds.items()}
    return Scores(image_size, _device_name(device), scores.overall, with_labels, milliseconds, skipped)


def _statistics(predictor: Predictor, batches: Iterator[ValBatch], watch: _Stopwatch) -> Iterator[DetectionStatistics]:
    # No `for` loop, because the time until the next batch is what is measured.
    while True:
        with watch.of("load"):
            batch = next(batches, None)
        if batch is None:
            return
        with watch.of("network"):
            inference = predictor.infer(batch.images_BCHW)
        with watch.of("nms"):
            detections = predictor.detections(inference, batch.placements)
        for position, found_K6 in enumerate(detections):
            yield DetectionStatistics.of_image(found_K6, batch.labels(position))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
