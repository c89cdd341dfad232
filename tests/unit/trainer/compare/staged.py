"""A staged video: objects that move through a picture, and models that see them as well as they are told to.

No network runs: the boxes of a model of a given skill are drawn by lot, with the mistakes that detectors make.
"""

from dataclasses import dataclass

import numpy as np

from masktrain_trainer.compare.matching import Classes, FrameBoxes
from masktrain_trainer.compare.recording import Moment, Recording

NAMES = ["incorrect", "mask", "no mask"]
WIDTH, HEIGHT = 640, 360


@dataclass(frozen=True)
class Skill:
    """finds: the mean confidence for an object, before noise. wobbles: the noise from frame to frame.

    confuses: the share of boxes whose class is wrong. invents: false boxes a frame, for a moment each; ghosts:
    places where something that is no object is seen for long. loose: the error of a side, as a share of the size.
    """

    finds: float
    wobbles: float = 0.12
    confuses: float = 0.1
    invents: float = 0.3
    ghosts: int = 0
    loose: float = 0.04


def truth(frames: int, seed: int, objects: int = 14) -> list[FrameBoxes]:
    """Each object crosses the picture in a time of its own."""
    rng = np.random.default_rng([seed, 0])
    rows: list[list[tuple[int, list[float]]]] = [[] for _ in range(frames)]
    for number in range(objects):
        first, length = int(rng.integers(-20, frames - 15)), int(rng.integers(40, 120))
        size, label = rng.uniform(30, 90), int(rng.integers(len(NAMES)))
        start, way = rng.uniform((0, 40), (WIDTH, HEIGHT - 40)), rng.normal(0, 2.5, 2)
        for frame in range(max(0, first), min(frames, first + length)):
            x, y = start + way * (frame - first)
            if size < x < WIDTH - size and size / 2 < y < HEIGHT - size / 2:
                rows[frame].append((number * 10 + label, [x - size / 2, y - size / 2, x + size / 2, y + size / 2]))
    return [
        FrameBoxes(
            np.array([box for _, box in row], np.float32).reshape(-1, 4),
            np.ones(len(row), np.float32),
            np.array([identity for identity, _ in row], np.int64),
        )
        for row in rows
    ]


def labels(objects: FrameBoxes) -> FrameBoxes:
    """Without the objects' numbers, which `truth` keeps in its labels."""
    return FrameBoxes(objects.xyxy_N4, objects.confidence_N, objects.label_N % 10)


def imagined(objects: list[FrameBoxes], skill: Skill, seed: int) -> list[FrameBoxes]:
    """What a model of that skill finds in each frame, faint boxes included."""
    rng = np.random.default_rng([seed, 1])
    ease = {identity: rng.normal(0, 0.15) for identity in sorted({i for row in objects for i in row.label_N.tolist()})}
    ghosts = [(*rng.uniform((40, 40), (WIDTH - 40, HEIGHT - 40)), rng.uniform(15, 40)) for _ in range(skill.ghosts)]
    return [_frame(row, skill, ease, ghosts, rng) for row in objects]


def _frame(row, skill, ease, ghosts, rng) -> FrameBoxes:  # type: ignore[no-untyped-def]
    found: list[tuple[list[float], float, int]] = []
    for identity, box in zip(row.label_N.tolist(), row.xyxy_N4, strict=True):
        confidence = float(np.clip(skill.finds + ease[identity] + rng.normal(0, skill.wobbles), 0, 0.97))
        size = float(box[2] - box[0])
        label = identity % 10
        if rng.random() < skill.confuses:
            label = (label + 1) % len(NAMES)
        found.append(((box + rng.normal(0, skill.loose * size, 4)).tolist(), confidence, label))
    for _ in range(rng.poisson(skill.invents)):
        x, y, half = rng.uniform((0, 0, 10), (WIDTH, HEIGHT, 40)).tolist()
        found.append(([x - half, y - half, x + half, y + half], float(rng.beta(1.5, 4)), int(rng.integers(3))))
    for x, y, half in ghosts:
        found.append(([x - half, y - half, x + half, y + half], float(np.clip(rng.normal(0.3, 0.12), 0, 1)), 1))
    found = sorted((one for one in found if one[1] > 0.05), key=lambda one: -one[1])
    return FrameBoxes(
        np.array([box for box, _, _ in found], np.float32).reshape(-1, 4),
        np.array([confidence for _, confidence, _ in found], np.float32),
        np.array([label for _, _, label in found], np.int64),
    )


def staged(first: list[FrameBoxes], second: list[FrameBoxes], *, rate: float = 25.0, moving: bool = True) -> Recording:
    recording = Recording(
        ("first.pt (yolov5n)", "second.pt (yolov5s)"), Classes.matched(NAMES, NAMES), 0.25, rate, moving
    )
    recording.boxes[0].extend(first)
    recording.boxes[1].extend(second)
    recording.moments.extend(Moment("clip.mp4", index, index / rate, (HEIGHT, WIDTH)) for index in range(len(first)))
    recording.seconds[0].extend([0.02] * len(first))
    recording.seconds[1].extend([0.05] * len(first))
    return recording
