"""Whether `compare` names the better of two models, and whether the frames that it picks hold the mistakes.

Models of many qualities look at videos whose truth only this benchmark knows: a minute each of what a camera at an
entrance sees (`examples/masks/passages.py` says why). Every model sees every frame once, and each pair of them is then
judged by the code of `masktrain compare`, from both models' boxes alone, with as many frames to pick as it picks.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePath

import numpy as np
import torch

from examples.masks.look import CLASSES
from examples.masks.video import FRAMES_PER_SECOND, draw_video
from masktrain_trainer.compare.candidates import Candidates
from masktrain_trainer.compare.command import FRAMES as PICKED
from masktrain_trainer.compare.matching import Classes, FrameBoxes, match
from masktrain_trainer.compare.picks import choose
from masktrain_trainer.compare.recording import FAINT, Recording, Seen
from masktrain_trainer.compare.verdict import gather, judge
from masktrain_trainer.detect.detector import DetectionOptions, Detector
from masktrain_trainer.detect.sources.base import Frame, Kind, Medium
from masktrain_trainer.model.metrics import DetectionMetrics, DetectionStatistics
from masktrain_trainer.predict.models import load_model

from ..training.report import emit, median
from .family import family

CONFIDENCE = 0.25
SIZE = (320, 192)
SECONDS, QUICK_SECONDS = 60, 16
STEP = 2
"""Moments of a drawn film from one frame to the next: such cameras record 10 to 15 frames/s."""
RATE = FRAMES_PER_SECOND / STEP
DETECTED_SIZE = 320
LEAST_APART = 0.05
"""In true mAP50, from which on one of two models has to be named."""
TUNED_SEEDS = (21, 31)
"""On whose videos the thresholds of the verdict were chosen."""
SEEDS = (41, 42)
GOALS = {"named": 0.95, "errors": 2.0}


@dataclass(frozen=True)
class Film:
    """Frames with the truth about them, and what each model found."""

    seed: int
    frames: list[Frame]
    truth: list[FrameBoxes]
    found: dict[str, list[FrameBoxes]]


@dataclass(frozen=True)
class Judged:
    """apart: true mAP50 of the first less that of the second. smaller: whether the better one is the smaller network.

    errors: mistakes a frame in those picked, as a multiple of those in all frames. most_errors: the same of as many
    frames as are wanted, picked by someone who knows the truth: no choice can have more. fullest: those that show most
    boxes, which needs no thought at all.
    """

    apart: float
    better: int | None
    smaller: bool
    errors: float
    most_errors: float
    fullest_errors: float


def measure(folder: Path, *, quick: bool = False, seeds: Sequence[int] = SEEDS, seconds: int = SECONDS) -> None:
    """Print a line for each goal. `folder`: for the frames that are picked."""
    models = family()
    judged = [
        one
        for seed in (seeds[:1] if quick else seeds)
        for one in _judge_all(film(seed, QUICK_SECONDS if quick else seconds, models), folder / f"film-{seed}")
    ]
    apart = [one for one in judged if abs(one.apart) >= LEAST_APART]
    right = [one for one in apart if one.better == (0 if one.apart > 0 else 1)]
    emit(
        "compare-names-the-better-model",
        value=round(len(right) / max(1, len(apart)), 3),
        unit="of the pairs that are apart",
        goal=GOALS["named"],
        pairs=len(apart),
        no_verdict=sum(one.better is None for one in apart),
        smaller_is_better=sum(one.smaller for one in apart),
        smaller_named=sum(one.smaller for one in right),
    )
    emit(
        "compare-errors-in-picked-frames",
        value=median([one.errors for one in judged]),
        unit="times those of random frames",
        goal=GOALS["errors"],
        pairs=len(judged),
        at_most=round(median([one.most_errors for one in judged]), 2),
        by_counting_boxes=round(median([one.fullest_errors for one in judged]), 2),
    )


def film(seed: int, seconds: int, models: dict[str, Path]) -> Film:
    frames = round(seconds * RATE)
    medium = Medium(PurePath(f"film-{seed}.mp4"), Kind.VIDEO, "drawn", RATE, frames)
    drawn = list(draw_video(frames, *SIZE, seed, entrance=True, step=STEP))
    shown = [Frame(medium, number, number / RATE, pixels) for number, (pixels, _) in enumerate(drawn)]
    found = {name: _detect(path, shown) for name, path in models.items()}
    return Film(seed, shown, [_truth(boxes) for _, boxes in drawn], found)


def _detect(weights: Path, frames: Sequence[Frame]) -> list[FrameBoxes]:
    detector = Detector(
        load_model(str(weights), device=torch.device("cpu")),
        DetectionOptions(confidence=FAINT, image_size=DETECTED_SIZE),
    )
    labels = list(range(len(CLASSES)))
    return [FrameBoxes.of(detector([frame.pixels_HWC])[0], labels) for frame in frames]


def _truth(boxes: Sequence[tuple[int, float, float, float, float]]) -> FrameBoxes:
    return FrameBoxes(
        np.array([box[1:] for box in boxes], np.float32).reshape(-1, 4),
        np.ones(len(boxes), np.float32),
        np.array([box[0] for box in boxes], np.int64),
    )


def _judge_all(shown: Film, folder: Path) -> Iterator[Judged]:
    scores = {name: true_map50(found, shown.truth) for name, found in shown.found.items()}
    for name, score in scores.items():
        emit("compare-true-map50", value=round(score, 3), model=name, film=shown.seed)
    for first, second in combinations(shown.found, 2):
        yield _judge(shown, (first, second), scores[first] - scores[second], folder / f"{first}-{second}")


def true_map50(found: Sequence[FrameBoxes], truth: Sequence[FrameBoxes]) -> float:
    parts = []
    for boxes, objects in zip(found, truth, strict=True):
        detections = np.concatenate((boxes.xyxy_N4, boxes.confidence_N[:, None], boxes.label_N[:, None]), axis=1)
        labels = np.concatenate((objects.label_N[:, None], objects.xyxy_N4), axis=1)
        rows = (torch.from_numpy(columns.astype(np.float32)) for columns in (detections, labels))
        parts.append(DetectionStatistics.of_image(*rows))
    return DetectionMetrics.from_statistics(DetectionStatistics.concatenate(parts)).map50


def _judge(shown: Film, names: tuple[str, str], apart: float, folder: Path) -> Judged:
    folder.mkdir(parents=True)
    classes = Classes.matched(list(CLASSES), list(CLASSES))
    recording = Recording(names, classes, CONFIDENCE)
    wanted = min(PICKED, len(shown.frames) // 10)
    candidates = Candidates(folder, wanted, CONFIDENCE, classes.shared)
    for index, frame in enumerate(shown.frames):
        seen = Seen(frame, (shown.found[names[0]][index], shown.found[names[1]][index]))
        recording.add(seen)
        candidates.offer(index, seen)
    evidence = gather(recording, (None, None))
    better = judge(evidence).better
    labels = better if better is not None else int(evidence.agreement.difference < 0)
    mistakes = [_mistakes(shown.found[names[labels]][index], shown.truth[index]) for index in range(len(shown.frames))]
    picked = [mistakes[pick.index] for pick in choose(recording, evidence.witness, candidates, labels, wanted)]
    boxes = [len(found) for found in recording.compared(labels)]
    fullest = [mistakes[index] for index in sorted(range(len(boxes)), key=lambda index: -boxes[index])[:wanted]]
    smaller = "yolov5n" in names[0 if apart > 0 else 1] and "yolov5s" in " ".join(names)
    multiples = (_multiple(some, mistakes) for some in (picked, sorted(mistakes)[-wanted:], fullest))
    return Judged(apart, better, smaller, *multiples)


def _multiple(of_some: Sequence[int], of_all: Sequence[int]) -> float:
    return float(np.mean(of_some)) / max(float(np.mean(of_all)), 1e-9) if of_some else 0.0


def _mistakes(found: FrameBoxes, objects: FrameBoxes) -> int:
    """Boxes that are wrong or missing; one of another class is both."""
    compared = match(found.above(CONFIDENCE), objects)
    return len(compared.only[0]) + len(compared.only[1]) + 2 * len(compared.other_class)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=list(SEEDS), help="of the videos (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of each (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="masktrain-benchmark-") as folder:
        measure(Path(folder), seeds=options.seeds, seconds=options.seconds)


if __name__ == "__main__":
    main()
