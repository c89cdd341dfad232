"""Draw a video of people with and without masks, and the truth about it as a Roboflow YOLOv5 export.

    python -m examples.masks.video --output clip.mp4 --truth truth.zip --frames 300 --size 640x360 --seed 7

The people walk by, stay and come nearer, turn their heads and pass in front of each other; the background drifts, the
light and the focus change. With `--varied` there are harder passages as well: a crowd far away, dusk, blur. The same
seed gives the same pictures, and a longer video begins with the shorter one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from examples.roboflow import Example, describe, write_export

from .face import draw_person, head_outline
from .look import CLASSES, Look, random_look
from .passages import CROWD_SIZE, Hardship, Passage, passages_of, strength
from .pen import Image, Pose
from .scene import CLASS_SHARES, SUPERSAMPLING, background, covered_share

Box = tuple[int, float, float, float, float]
"""Label and x1, y1, x2, y2 in pixels, within the picture."""

FRAMES_PER_SECOND = 25.0
"""What the movements are made for."""
LANES = 6
"""In each of them one person follows the other, so there are never more in the picture, crowds aside."""
QUIET_LANES = 2
"""Where crowds come, there are few people in between, and at times none."""
NEAR_WIDTHS, CROWD_WIDTHS = (0.03, 0.095), (0.016, 0.036)
"""Half the width of a head, as a share of the longer side."""
WAYS = (100, 260)
"""Frames from where a person comes in to where they leave."""
MOST_HIDDEN = 0.5
"""A face of which others hide more than this is not labelled: nobody would."""
LEAST_INSIDE = 0.5
"""Nor is one of which less than this is within the picture."""
DRIFT = 0.12
"""How far the background drifts, as a share of the longer side."""
JPEG_QUALITY = 92


def main() -> None:
    options = _options()
    width, height = options.size
    drawn = draw_video(options.frames, width, height, options.seed, varied=options.varied)
    if options.truth is None:
        write_video(options.output, (frame for frame, _ in drawn), options.frames_per_second)
        return
    # One pass for both: the video is written while the pictures of the truth are taken from it.
    with VideoWriter(options.output, (width, height), options.frames_per_second) as video:
        write_truth(options.truth, video.pass_on(drawn), every=options.every)
    print(f"{options.output}; {options.truth}: {describe(options.truth)}")


def draw_video(
    frames: int, width: int, height: int, seed: int, *, varied: bool = False
) -> Iterator[tuple[npt.NDArray[np.uint8], list[Box]]]:
    """Each frame (height, width, 3), red green blue, with the boxes of the faces that can be seen in it.

    varied: with passages that are harder than the rest.
    """
    stage = _Stage.build(width, height, seed)
    side = max(width, height) * SUPERSAMPLING
    passages = passages_of(seed, frames) if varied else []
    crowd = _crowd(seed, height / max(width, height), QUIET_LANES if varied else LANES, passages)
    for number, walks in zip(range(frames), crowd, strict=False):
        people = sorted(((walk, walk.pose(number, side)) for walk in walks), key=lambda person: person[1].half_width)
        canvas = stage.backdrop(number)
        for walk, pose in people:
            draw_person(canvas, pose, walk.look, np.random.default_rng(walk.seed))
        picture = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        yield stage.expose(np.asarray(picture, np.uint8), number, passages), _truth(people, width, height)


def write_video(path: Path, frames: Iterable[npt.NDArray[np.uint8]], frames_per_second: float) -> Path:
    """An MP4 (MPEG-4 part 2, by OpenCV itself) of pictures (H, W, 3), red green blue, all of one size."""
    frames = iter(frames)
    first = next(frames)
    with VideoWriter(path, (first.shape[1], first.shape[0]), frames_per_second) as video:
        video.write(first)
        for frame in frames:
            video.write(frame)
    return path


def write_truth(
    path: Path,
    drawn: Iterable[tuple[npt.NDArray[np.uint8], Sequence[Box]]],
    *,
    every: int = 1,
    name: str = "frame",
) -> Path:
    """A zip in YOLOv5 layout with each `every`th frame of `draw_video` and its boxes, to validate on.

    The first frame is its `train` split, without which it would be no data set.
    """
    chosen = (
        _example(f"{name}-{number:05d}", "valid" if number else "train", frame, boxes)
        for number, (frame, boxes) in enumerate(drawn)
        if number % every == 0
    )
    return write_export(path, chosen, names=list(CLASSES), project="drawn-masks", licence="Public Domain")


class VideoWriter:
    """An MP4 that OpenCV writes. A context: it is complete when left."""

    def __init__(self, path: Path, size: tuple[int, int], frames_per_second: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), frames_per_second, size)
        if not self._file.isOpened():
            raise OSError(f"OpenCV can't write {path}")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.release()

    def write(self, frame_HWC: npt.NDArray[np.uint8]) -> None:
        self._file.write(cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR))

    def pass_on(
        self, drawn: Iterable[tuple[npt.NDArray[np.uint8], list[Box]]]
    ) -> Iterator[tuple[npt.NDArray[np.uint8], list[Box]]]:
        """What `draw_video` gives, each frame written on the way."""
        for frame, boxes in drawn:
            self.write(frame)
            yield frame, boxes


@dataclass(frozen=True)
class _Walk:
    """One person, from the frame in which they come to the one in which they go; lengths as shares of the longer side.

    start, end: x, y and half the width of the head. `swings`: how often, in radians a frame, and from where on the
    head turns and the body bobs.
    """

    label: int
    look: Look
    seed: int
    """Of what is drawn by lot on the person, such as the dots of a mask: the same in each frame."""
    first: int
    frames: int
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    rise: float
    """How far above the line between them half-way."""
    turn: float
    yaw: float
    swings: tuple[float, float]

    def pose(self, frame: int, side: float) -> Pose:
        share = (frame - self.first) / self.frames
        x, y, half_width = (
            before + (after - before) * share for before, after in zip(self.start, self.end, strict=True)
        )
        phase = self.swings[0] * frame + self.swings[1]
        return Pose(
            x=side * (x + 0.25 * half_width * np.sin(phase * 0.7)),
            y=side * (y - self.rise * np.sin(np.pi * share) + 0.12 * half_width * np.sin(phase * 2)),
            half_width=side * half_width,
            angle=self.turn + np.radians(7) * np.sin(phase),
            yaw=self.yaw + np.radians(18) * np.sin(phase * 0.6 + 1),
        )


@dataclass(frozen=True)
class _Stage:
    """What one seed makes of a video: a backdrop larger than the picture, a camera, and people who come and go."""

    width: int
    height: int
    seed: int
    backdrop_SS3: Image
    phases: tuple[float, ...]
    """Where drift, light and focus begin, in radians."""
    vignette_HW1: npt.NDArray[np.float32]

    @classmethod
    def build(cls, width: int, height: int, seed: int) -> _Stage:
        rng = np.random.default_rng([seed, LANES])
        side = round(max(width, height) * SUPERSAMPLING * (1 + DRIFT))
        x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
        vignette = 1 - rng.uniform(0, 0.25) * (x[None] ** 2 + y[:, None] ** 2) / 2
        phases = tuple(float(phase) for phase in rng.uniform(0, 2 * np.pi, 6))
        return cls(width, height, seed, background(rng, side), phases, vignette[..., None].astype(np.float32))

    def backdrop(self, frame: int) -> Image:
        """The part of the background that the camera sees, to be drawn on."""
        height, width = self.height * SUPERSAMPLING, self.width * SUPERSAMPLING
        free_y, free_x = self.backdrop_SS3.shape[0] - height, self.backdrop_SS3.shape[1] - width
        y = round(free_y * (0.5 + 0.5 * np.sin(0.009 * frame + self.phases[0])))
        x = round(free_x * (0.5 + 0.5 * np.sin(0.013 * frame + self.phases[1])))
        return self.backdrop_SS3[y : y + height, x : x + width].copy()

    def expose(self, picture_HW3: Image, frame: int, passages: Sequence[Passage]) -> npt.NDArray[np.uint8]:
        """The camera's faults at that moment, and red green blue."""
        rng = np.random.default_rng([self.seed, LANES + 1, frame])
        waves = [
            np.sin(speed * frame + phase) for speed, phase in zip((0.021, 0.034, 0.015), self.phases[2:5], strict=True)
        ]
        gain = (0.92 + 0.2 * waves[0]) * (1 + 0.05 * np.array([waves[1], 0.0, -waves[1]], np.float32))
        dusk, unsharp = (strength(passages, hardship, frame) for hardship in (Hardship.DUSK, Hardship.UNSHARP))
        gain *= 1 - 0.65 * dusk
        loud = np.float32((4 + 3 * waves[2]) * (1 + 1.5 * dusk))
        noise = rng.standard_normal((self.height, self.width, 1), dtype=np.float32) * loud
        exposed = picture_HW3 * (self.vignette_HW1 * gain.astype(np.float32)) + noise
        out_of_focus = 1.1 * max(0.0, float(np.sin(0.027 * frame + self.phases[5]))) + 4 * unsharp
        sigma = out_of_focus * max(self.width, self.height) / 640
        blurred = cv2.GaussianBlur(exposed, (0, 0), sigma) if sigma > 0.3 else exposed
        return np.ascontiguousarray(np.clip(blurred, 0, 255).astype(np.uint8)[..., ::-1])


def _crowd(seed: int, floor: float, lanes_in_use: int, passages: Sequence[Passage]) -> Iterator[list[_Walk]]:
    """Who is there in frame 0, 1, 2 and so on. `floor`: the picture's height as a share of its longer side."""
    passers = [
        walk for passage in passages if passage.hardship is Hardship.CROWD for walk in _passers(seed, passage, floor)
    ]
    lanes = [_walks(np.random.default_rng([seed, lane]), floor) for lane in range(lanes_in_use)]
    latest = [next(lane) for lane in lanes]
    for frame in count():
        for number, lane in enumerate(lanes):
            while latest[number].first + latest[number].frames <= frame:
                latest[number] = next(lane)
        there = [walk for walk in passers if frame < walk.first + walk.frames]
        yield [walk for walk in (*latest, *there) if walk.first <= frame]


def _passers(seed: int, passage: Passage, floor: float) -> Iterator[_Walk]:
    """The people of a crowd: small, since far away, and soon gone."""
    rng = np.random.default_rng([seed, LANES + 2, passage.first])
    for _ in range(rng.integers(*CROWD_SIZE)):
        first = passage.first + int(rng.integers(0, passage.frames // 4))
        yield _walk(rng, first, floor, widths=CROWD_WIDTHS, lengths=(passage.frames, 3 * passage.frames // 2))


def _walks(rng: np.random.Generator, floor: float) -> Iterator[_Walk]:
    """One person after the other, with pauses; the first one is on their way when the video begins."""
    first = -int(rng.integers(0, 150))
    while True:
        walk = _walk(rng, first, floor)
        yield walk
        first += walk.frames + int(rng.integers(5, 60))


def _walk(
    rng: np.random.Generator,
    first: int,
    floor: float,
    *,
    widths: tuple[float, float] = NEAR_WIDTHS,
    lengths: tuple[int, int] = WAYS,
) -> _Walk:
    label = int(rng.choice(list(CLASS_SHARES), p=list(CLASS_SHARES.values())))
    half_width = float(rng.uniform(*widths))
    grown = half_width * float(rng.uniform(0.75, 1.5))
    y = float(rng.uniform(0.3, 0.6)) * floor
    outside = 2 * half_width
    if rng.random() < 0.6:  # the others come up from the lower edge and go down again
        rise = 0.0
        way = [-outside, 1 + 2 * grown][:: int(rng.choice([-1, 1]))]
        start, end = (way[0], y, half_width), (way[1], y + float(rng.uniform(-0.08, 0.08)), grown)
    else:
        x = float(rng.uniform(0.1, 0.9))
        way = [floor + outside, floor + 2 * grown]
        start, end, rise = (x, way[0], half_width), (x + float(rng.uniform(-0.2, 0.2)), way[1], grown), way[0] - y
    return _Walk(
        label=label,
        look=random_look(rng, label),
        seed=int(rng.integers(2**31)),
        first=first,
        frames=int(rng.integers(*lengths)),
        start=start,
        end=end,
        rise=rise,
        turn=float(np.radians(rng.normal(0, 8))),
        yaw=float(np.radians(np.clip(rng.normal(0, 18), -32, 32))),
        swings=(float(rng.uniform(0.05, 0.16)), float(rng.uniform(0, 2 * np.pi))),
    )


def _truth(people: Sequence[tuple[_Walk, Pose]], width: int, height: int) -> list[Box]:
    """Boxes of the faces that can be seen; `people` with the nearest last."""
    boxes = []
    for number, (walk, pose) in enumerate(people):
        outline = head_outline(pose) / SUPERSAMPLING
        (x1, y1), (x2, y2) = outline.min(axis=0), outline.max(axis=0)
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        inside = max(0, right - left) * max(0, bottom - top) / ((x2 - x1) * (y2 - y1))
        hidden = sum(covered_share(pose, near) for _, near in people[number + 1 :])
        if inside >= LEAST_INSIDE and hidden <= MOST_HIDDEN:
            boxes.append((walk.label, float(left), float(top), float(right), float(bottom)))
    return boxes


def _example(name: str, split: str, frame_HWC: npt.NDArray[np.uint8], boxes: Sequence[Box]) -> Example:
    height, width = frame_HWC.shape[:2]
    _, jpeg = cv2.imencode(".jpg", frame_HWC[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    fractions = [
        (label, (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        for label, x1, y1, x2, y2 in boxes
    ]
    return Example(split, name, jpeg.tobytes(), fractions)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.masks.video", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("masks.mp4"), help="MP4 to write (default: %(default)s)")
    parser.add_argument("--truth", type=Path, help="zip to write with labelled frames, in YOLOv5 layout")
    parser.add_argument("--every", type=int, default=10, help="frames from one labelled to the next (%(default)s)")
    parser.add_argument("--frames", type=int, default=300, help="(default: %(default)s)")
    parser.add_argument("--frames-per-second", type=float, default=FRAMES_PER_SECOND, help="(default: %(default)s)")
    parser.add_argument("--varied", action="store_true", help="with passages that are harder than the rest")
    parser.add_argument("--size", type=_size, default=(640, 360), metavar="WIDTHxHEIGHT", help="(default: 640x360)")
    parser.add_argument("--seed", type=int, default=7, help="(default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
