"""What of a still camera's picture is an object that stays, and what is the background that a model takes for one."""

from pathlib import PurePath

import cv2
import numpy as np
import pytest

from masktrain_trainer.compare.matching import Classes, FrameBoxes
from masktrain_trainer.compare.recording import Recording, Seen
from masktrain_trainer.compare.witness import call_witness
from masktrain_trainer.data.geometry import Image
from masktrain_trainer.detect.sources.base import Frame, Kind, Medium

from .staged import NAMES, staged

FRAMES = 200
Rows = list[list[list[float]]]
"""Of each frame the boxes."""


def box(x: float, y: float, size: float) -> list[float]:
    return [x - size / 2, y - size / 2, x + size / 2, y + size / 2]


def standing(*stretches: range, frames: int = FRAMES) -> Rows:
    return [[box(320, 120, 40)] if any(frame in there for there in stretches) else [] for frame in range(frames)]


def seen(rows: Rows) -> Recording:
    """Two models that see the same in each frame."""
    found = []
    for row in rows:
        boxes = np.array(row, np.float32).reshape(-1, 4)
        found.append(FrameBoxes(boxes, np.full(len(boxes), 0.8, np.float32), np.ones(len(boxes), np.int64)))
    return staged(found, found)


def objects(recording: Recording) -> int:
    return len(call_witness(recording).tracks)


@pytest.mark.parametrize(("there", "expected"), [((range(FRAMES),), 1), ((range(20, 60), range(90, 150)), 0)])
def test_what_appears_and_vanishes_in_one_place_is_no_object(there: tuple[range, ...], expected: int) -> None:
    assert objects(seen(standing(*there))) == expected


@pytest.mark.parametrize("back", [False, True])
def test_somebody_who_walks_straight_at_the_camera_is_no_background(*, back: bool) -> None:
    """They grow in one place, and shrink there again when they turn back."""
    rows: Rows = [[] for _ in range(FRAMES)]
    for frame in range(20, 140):
        near = (frame - 20) / 120
        rows[frame] = [box(320, 120, 20 + 50 * (1 - abs(1 - 2 * near) if back else near))]
    assert objects(seen(rows)) == 1


def test_boxes_of_the_background_may_differ_in_size_from_frame_to_frame() -> None:
    rng = np.random.default_rng(3)
    rows: Rows = [[] for _ in range(FRAMES)]
    for frame in range(40, 160):
        rows[frame] = [box(320, 120, 40 * float(rng.uniform(0.75, 1.25)))]
    assert objects(seen(rows)) == 0


def test_who_walks_slowly_and_is_seen_for_less_than_a_second_is_no_background() -> None:
    """Such as somebody who comes in just before the film ends."""
    rows: Rows = [[] for _ in range(FRAMES)]
    for frame in range(FRAMES - 21, FRAMES):
        rows[frame] = [box(320 + 1.3 * frame, 120, 88)]
    assert objects(seen(rows)) == 1


def test_boxes_of_the_background_may_scatter_about_their_place() -> None:
    rng = np.random.default_rng(3)
    rows: Rows = [[] for _ in range(FRAMES)]
    for frame in range(30, 170):
        x, y = rng.normal((320, 120), 0.06 * 40).tolist()
        rows[frame] = [box(x, y, 40)]
    assert objects(seen(rows)) == 0


def test_who_sits_in_one_shot_of_an_edited_film_is_no_background() -> None:
    recording = seen(standing(range(60, 130)))
    assert objects(recording) == 0
    recording.shots |= {60, 130}
    assert objects(recording) == 1


def pictures(*seeds: int) -> list[Image]:
    """Blots that no other seed has, with the noise of a camera."""
    rng = np.random.default_rng(0)
    drawn = []
    for seed in seeds:
        small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        large = cv2.resize(small, (160, 96), interpolation=cv2.INTER_CUBIC)
        drawn.append(np.clip(large + rng.normal(0, 8, large.shape), 0, 255).astype(np.uint8))
    return drawn


def recorded(shown: list[Image], kind: Kind = Kind.VIDEO) -> Recording:
    recording = Recording(("a", "b"), Classes.matched(NAMES, NAMES), 0.25)
    medium = Medium(PurePath("clip.mp4"), kind, "clip.mp4", 25.0)
    for number, pixels in enumerate(shown):
        recording.add(Seen(Frame(medium, number, number / 25, pixels), (FrameBoxes(), FrameBoxes())))
    return recording


def test_the_shots_of_an_edited_film_are_told_apart() -> None:
    assert recorded(pictures(1, 1, 1, 2, 2, 1)).shots == {3, 5}


def test_somebody_in_the_picture_or_a_lamp_is_no_other_shot() -> None:
    shown = pictures(*[1] * 8)
    for number, pixels in enumerate(shown):
        cv2.circle(pixels, (15 * number, 48), 18, (240, 200, 180), -1)
    dark = [np.asarray(pixels * 0.4, np.uint8) for pixels in shown]
    assert recorded([*shown[:4], *dark[4:]]).shots == set()


def test_pictures_have_no_shots() -> None:
    assert recorded(pictures(1, 2, 3), Kind.PICTURE).shots == set()
