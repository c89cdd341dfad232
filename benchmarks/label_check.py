"""How many planted mistakes `masktrain data check --deep` finds, and how many of its suspects are planted.

    python -m benchmarks.label_check --images 500

Faces are drawn, 5 % of their boxes removed, given another class, or shifted by at least half a side, and some pictures
of `train` put into `valid` once more, resized, compressed, brightened or mirrored. A suspect is right if its picture
has a planted mistake of which the true or the wrong box overlaps one that the suspect shows (IoU 0.3).
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.training.report import emit
from examples.masks.build import draw_examples
from examples.masks.look import CLASSES
from examples.roboflow import Example, write_export
from masktrain_trainer.local.check import CheckOptions, check
from masktrain_trainer.local.findings import Finding, Kind
from masktrain_trainer.local.out_of_fold import FoldOptions

SHARE = 0.05
DUPLICATES = 20
LEAST_OVERLAP = 0.3
KINDS = ("removed", "swapped", "shifted")
JUDGED = {Kind.CLASS, Kind.MISSING, Kind.SHIFTED, Kind.SPURIOUS}
GOALS = {"recall": 0.6, "precision": 0.5, "minutes": 15.0}
Box = tuple[float, float, float, float]
"""Centre x, y, width, height as fractions of the picture."""


@dataclass(frozen=True)
class Mistake:
    """`boxes`: the true one and, unless it was removed, the wrong one."""

    kind: str
    picture: str
    boxes: Sequence[Box]


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="masktrain-benchmark-", dir=options.folder) as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    rng = np.random.default_rng(options.seed)
    examples, mistakes = plant(list(draw_examples(options.images, options.size, options.seed)), rng)
    honest = [example for example in examples if example.name not in {mistake.picture for mistake in mistakes}]
    copies = list(_duplicates(honest, rng))
    archive = write_export(
        folder / "faces.zip", [*examples, *copies], names=list(CLASSES), project="planted", licence="Public Domain"
    )
    started = time.monotonic()
    deep = FoldOptions(weights="scratch", epochs=options.epochs, image_size=options.image_size, folds=options.folds)
    found = check(CheckOptions(str(archive), folder / "out", deep=deep), lambda line: print(line, flush=True))
    minutes = (time.monotonic() - started) / 60
    _print(options, mistakes, copies, found, minutes)


def plant(examples: Sequence[Example], rng: np.random.Generator) -> tuple[list[Example], list[Mistake]]:
    """The examples with wrong labels, and what was done to them."""
    places = [(number, index) for number, example in enumerate(examples) for index in range(len(example.boxes))]
    chosen = rng.permutation(len(places))[: round(SHARE * len(places))]
    planned = {places[place]: KINDS[turn % len(KINDS)] for turn, place in enumerate(chosen)}
    wrong, mistakes = list[Example](), list[Mistake]()
    for number, example in enumerate(examples):
        boxes = list[tuple[int, float, float, float, float]]()
        for index, (label, *box) in enumerate(example.boxes):
            kind = planned.get((number, index))
            changed = _change(kind, label, (box[0], box[1], box[2], box[3]), rng)
            boxes += changed
            if kind is not None:
                shown = [(box[0], box[1], box[2], box[3]), *(row[1:] for row in changed)]
                mistakes.append(Mistake(kind, example.name, shown))
        wrong.append(dataclasses.replace(example, boxes=boxes))
    return wrong, mistakes


def _change(
    kind: str | None, label: int, box: Box, rng: np.random.Generator
) -> list[tuple[int, float, float, float, float]]:
    if kind == "removed":
        return []
    if kind == "swapped":
        return [((label + int(rng.integers(1, len(CLASSES)))) % len(CLASSES), *box)]
    if kind == "shifted":
        return [(label, *_shifted(box, rng))]
    return [(label, *box)]


def _shifted(box: Box, rng: np.random.Generator) -> Box:
    """By half a side to a whole one, along one axis or both, within the picture."""
    x, y, width, height = box
    while True:
        sides = rng.uniform(0.5, 1.0, 2) * rng.choice([-1, 1], 2) * (rng.permutation(np.array([1, rng.integers(0, 2)])))
        moved_x, moved_y = x + sides[0] * width, y + sides[1] * height
        if width / 2 <= moved_x <= 1 - width / 2 and height / 2 <= moved_y <= 1 - height / 2:
            return float(moved_x), float(moved_y), width, height


def _duplicates(examples: Sequence[Example], rng: np.random.Generator) -> Iterator[Example]:
    train = [example for example in examples if example.split == "train"]
    for turn, place in enumerate(rng.permutation(len(train))[:DUPLICATES]):
        example = train[place]
        image = np.asarray(cv2.imdecode(np.frombuffer(example.jpeg, np.uint8), cv2.IMREAD_COLOR))
        boxes = example.boxes
        if turn % 4 == 0:
            image = cv2.resize(image, (0, 0), fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
        elif turn % 4 == 1:
            image = cv2.convertScaleAbs(image, alpha=1.0, beta=20)
        elif turn % 4 == 2:
            image = np.ascontiguousarray(image[:, ::-1])
            boxes = [(label, 1 - x, y, width, height) for label, x, y, width, height in boxes]
        _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])
        yield Example("valid", f"copy-of-{example.name}", jpeg.tobytes(), boxes)


def _print(
    options: argparse.Namespace,
    mistakes: Sequence[Mistake],
    copies: Sequence[Example],
    found: Sequence[Finding],
    minutes: float,
) -> None:
    name = f"{options.images}-pictures-{options.folds}-folds-{options.image_size}px"
    suspects = [finding for finding in found if finding.kind in JUDGED]
    for kind in KINDS:
        of_kind = [mistake for mistake in mistakes if mistake.kind == kind]
        recall = np.mean([any(_shows(finding, mistake) for finding in suspects) for mistake in of_kind])
        emit(f"label-check-recall-of-{kind}/{name}", value=round(float(recall), 3), planted=len(of_kind))
    recall = np.mean([any(_shows(finding, mistake) for finding in suspects) for mistake in mistakes])
    right = [any(_shows(finding, mistake) for mistake in mistakes) for finding in suspects]
    emit(f"label-check-recall/{name}", value=round(float(recall), 3), planted=len(mistakes), goal=GOALS["recall"])
    emit(
        f"label-check-precision/{name}",
        value=round(float(np.mean(right)) if right else 0.0, 3),
        suspects=len(suspects),
        goal=GOALS["precision"],
    )
    leaks = {_stem(picture.name) for finding in found if finding.kind is Kind.LEAK for picture in finding.pictures}
    seen = np.mean([copy.name in leaks for copy in copies])
    emit(f"label-check-duplicates/{name}", value=round(float(seen), 3), planted=len(copies), goal=1.0)
    emit(f"label-check-minutes/{name}", value=round(minutes, 1), unit="min", limit=GOALS["minutes"], better="lower")


def _shows(finding: Finding, mistake: Mistake) -> bool:
    if not finding.pictures or _stem(finding.pictures[0].name) != mistake.picture:
        return False
    picture = finding.pictures[0]
    boxes = [
        (
            (x - width / 2) * picture.width,
            (y - height / 2) * picture.height,
            (x + width / 2) * picture.width,
            (y + height / 2) * picture.height,
        )
        for x, y, width, height in mistake.boxes
    ]
    return any(_iou(shown.xyxy, box) >= LEAST_OVERLAP for shown in finding.boxes for box in boxes)


def _iou(first: Box, second: Box) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (areas - width * height)


def _stem(name: str) -> str:
    """The example's name of a file that is called as Roboflow calls them."""
    return Path(name).name.partition("_jpg.rf.")[0].partition(".")[0]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--size", type=int, default=320, help="side of the drawn pictures in pixels")
    parser.add_argument("--image-size", type=int, default=FoldOptions.image_size, help="of the training")
    parser.add_argument("--folds", type=int, default=FoldOptions.folds)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where temporary files go")
    return parser.parse_args()


if __name__ == "__main__":
    main()
