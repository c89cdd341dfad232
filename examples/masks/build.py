"""Draw the mask data set: faces with a mask, without one, and with one worn incorrectly, as a Roboflow YOLOv5 export.

    python examples/masks/build.py --output masks.zip --images 500 --size 320 --seed 7

The same arguments give the same zip, byte for byte (with the same versions of NumPy and OpenCV).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

if __package__ in (None, ""):  # run as a plain script: the sibling modules are found from the repository's root
    sys.path.insert(0, str(Path(__file__).parents[2]))

from examples.masks.look import CLASSES
from examples.masks.scene import draw_scene
from examples.roboflow import Example, describe, write_export

VALIDATION_SHARE = 0.2


def main() -> None:
    options = _options()
    started = time.monotonic()
    build_dataset(options.output, images=options.images, size=options.size, seed=options.seed)
    print(f"{options.output}: {describe(options.output)} ({time.monotonic() - started:.1f} s)")


def build_dataset(output: Path, *, images: int = 500, size: int = 320, seed: int = 7) -> Path:
    """Write the zip and return its path."""
    drawn = draw_examples(images, size, seed)
    return write_export(output, drawn, names=list(CLASSES), project="drawn-masks", licence="Public Domain")


def draw_examples(images: int, size: int, seed: int) -> Iterator[Example]:
    """All pictures in order; each depends on (seed, index) alone, so processes may share the work."""
    validation = round(images * VALIDATION_SHARE)
    draw = partial(_draw_example, size=size, seed=seed, training=images - validation)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("fork")) as pool:
        yield from pool.map(draw, range(images), chunksize=10)


def _draw_example(index: int, *, size: int, seed: int, training: int) -> Example:
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, index])
    picture, faces = draw_scene(rng, size)
    _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(80, 96))])
    split = "train" if index < training else "valid"
    return Example(split, f"faces-{index:04d}", jpeg.tobytes(), [(face.label, *face.box) for face in faces])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("masks.zip"), help="zip to write (default: %(default)s)")
    parser.add_argument(
        "--images", type=int, default=500, help="pictures in all; a fifth validates (default: %(default)s)"
    )
    parser.add_argument("--size", type=int, default=320, help="side of a picture in pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="(default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
