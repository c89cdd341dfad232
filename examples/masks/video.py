"""Draw a video of people with and without masks, and the truth about it as a Roboflow YOLOv5 export.

    python -m examples.masks.video --output clip.mp4 --truth truth.zip --frames 300 --size 640x360 --seed 7

The people walk by, stay and come nearer, turn their heads and pass in front of each other; the background drifts, the
light and the focus change. With `--entrance` it is what a camera sees that hangs at one: few people or none, and harder
passages (`passages.py`). The same seed gives the same pictures, and a longer video begins with the shorter one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from examples.roboflow import Example, describe, write_export

from .face import draw_person, head_outline
from .look import CLASSES
from .passages import Hardship, Passage, passages_of, strength
from .pen import Image, Pose
from .scene import SUPERSAMPLING, background, covered_share
from .walks import LANES, Walk, people_at_an_entrance, people_in_a_street

Box = tuple[int, float, float, float, float]
"""Label and x1, y1, x2, y2 in pixels, within the picture."""

FRAMES_PER_SECOND = 25.0
"""What the movements are made for."""
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
    drawn = draw_video(options.frames, width, height, options.seed, entrance=options.entrance)
    if options.truth is None:
        write_video(options.output, (frame for frame, _ in drawn), options.frames_per_second)
        return
    # One pass for both: the video is written while the pictures of the truth are taken from it.
    with VideoWriter(options.output, (width, height), options.frames_per_second) as video:
        write_truth(options.truth, video.pass_on(drawn), every=options.every)
    print(f"{options.output}; {options.truth}: {describe(options.truth)}")


def draw_video(
    frames: int, width: int, height: int, seed: int, *, entrance: bool = False, step: int = 1
) -> Iterator[tuple[npt.NDArray[np.uint8], list[Box]]]:
    """Each frame (height, width, 3), red green blue, with the boxes of the faces that can be seen in it.

    entrance: what a camera sees that hangs there, as `passages.py` describes it. step: only every so many-th moment.
    """
    stage = _Stage.build(width, height, seed, still=entrance)
    side = max(width, height) * SUPERSAMPLING
    floor = height / max(width, height)
    passages = passages_of(seed, frames * step) if entrance else []
    crowd = people_at_an_entrance(seed, floor, passages) if entrance else people_in_a_street(seed, floor)
    for number, walks in islice(enumerate(crowd), 0, frames * step, step):
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
class _Stage:
    """What one seed makes of a video: a backdrop larger than the picture, a camera, and people who come and go."""

    width: int
    height: int
    seed: int
    backdrop_SS3: Image
    phases: tuple[float, ...]
    """Where drift, light and focus begin, in radians."""
    vignette_HW1: npt.NDArray[np.float32]
    still: bool
    """Whether the camera hangs somewhere, and nothing drifts."""

    @classmethod
    def build(cls, width: int, height: int, seed: int, *, still: bool) -> _Stage:
        rng = np.random.default_rng([seed, LANES])
        side = round(max(width, height) * SUPERSAMPLING * (1 + DRIFT))
        x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
        vignette = 1 - rng.uniform(0, 0.25) * (x[None] ** 2 + y[:, None] ** 2) / 2
        phases = tuple(float(phase) for phase in rng.uniform(0, 2 * np.pi, 6))
        vignette_HW1 = vignette[..., None].astype(np.float32)
        return cls(width, height, seed, background(rng, side), phases, vignette_HW1, still)

    def backdrop(self, frame: int) -> Image:
        """The part of the background that the camera sees, to be drawn on."""
        height, width = self.height * SUPERSAMPLING, self.width * SUPERSAMPLING
        free_y, free_x = self.backdrop_SS3.shape[0] - height, self.backdrop_SS3.shape[1] - width
        moment = 0 if self.still else frame
        y = round(free_y * (0.5 + 0.5 * np.sin(0.009 * moment + self.phases[0])))
        x = round(free_x * (0.5 + 0.5 * np.sin(0.013 * moment + self.phases[1])))
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


def _truth(people: Sequence[tuple[Walk, Pose]], width: int, height: int) -> list[Box]:
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
    parser.add_argument("--entrance", action="store_true", help="what a camera at an entrance sees")
    parser.add_argument("--size", type=_size, default=(640, 360), metavar="WIDTHxHEIGHT", help="(default: 640x360)")
    parser.add_argument("--seed", type=int, default=7, help="(default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
