"""`masktrain val`: a model's scores on a split of any data set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from masktrain_trainer.config import DATASET_URL_VARIABLE, Precision
from masktrain_trainer.data.prepare import SINGLE_CLASS
from masktrain_trainer.data.prepared import PreparedDataset, Split
from masktrain_trainer.errors import InvalidConfiguration, InvalidDataset, InvalidWeights
from masktrain_trainer.model.precision import choose_format
from masktrain_trainer.predict.accuracy import measure, size_for
from masktrain_trainer.predict.models import Model, load_model
from masktrain_trainer.predict.predictor import choose_device
from masktrain_trainer.report.evaluation import ClassScores
from masktrain_trainer.train.evaluate_best import split_scores

from .datasets import check_dataset, linked_dataset, open_dataset, scratch_folder

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
    device = choose_device()
    model = load_model(
        options.weights, options.endpoint, device=device, number_format=choose_format(Precision.AUTO, device)
    )
    image_size = size_for(model, options.image_size)
    with scratch_folder() as scratch:
        root = open_dataset(dataset_of(options), options.endpoint, scratch, say)
        single = model.names == [SINGLE_CLASS]
        checked = check_dataset(root, scratch, say, image_size=image_size, splits=(options.split,), single_class=single)
        if options.split not in checked.splits:
            raise InvalidDataset(f"The data set has no {options.split!r} split; its data.yaml names none that exists.")
        if not single:
            compare_names(model.names, checked.names, say)
        for sentence in checked.splits[options.split].account.oddities():
            say(sentence)
        split = checked.splits[options.split].split
        return _score(model, split, image_size, options.batch_size, checked.skipped)


def dataset_of(options: EvaluationOptions) -> str:
    """Where the data lies, as it may be shown. Raises InvalidConfiguration."""
    source = options.data or linked_dataset()
    if source is None:
        raise InvalidConfiguration(
            f"No data set was given: name it with --data, or put a download link into {DATASET_URL_VARIABLE}."
        )
    return source


def compare_names(known: list[str], found: list[str], say: Say) -> None:
    """Of the weights' classes with those of the data set. Raises InvalidWeights if they cannot be the same."""
    if len(known) != len(found):
        raise InvalidWeights(
            f"The weights know other classes ({', '.join(known)}) than the data set has ({', '.join(found)}); "
            "evaluate on data with the classes of the training.",
        )
    if known != found:
        say(
            f"The weights call the classes {', '.join(known)}, the data set {', '.join(found)}: "
            "they are compared by number."
        )


def _score(model: Model, split: Split, image_size: int, batch_size: int, skipped: list[str]) -> Scores:
    # The format wants a training split, too, which nothing reads here.
    prepared = PreparedDataset(names=model.names, image_size=image_size, train=split, val=split)
    measured = measure(model, prepared, split, image_size=image_size, batch_size=batch_size)
    scores = split_scores(model.names, split, measured.metrics)
    with_labels = [row for row in scores.classes if row.labels]
    device = _device_name(model.network.device)
    return Scores(image_size, device, scores.overall, with_labels, measured.milliseconds, skipped)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
