"""Pictures with boxes, under the names of the pictures that they were drawn on, and what is in the boxes, cut out."""

import io
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from PIL import Image

from masktrain_trainer.data.geometry import Image as Pixels
from masktrain_trainer.data.source.pictures import READ_SUFFIXES
from masktrain_trainer.detect.detector import Detection
from masktrain_trainer.predict.drawing import BoxStyle, LabelledBox, draw_boxes

from .base import Detected
from .labels import Stems
from .naming import FreeNames, unwritable, write_whole

NEVER_WRITTEN = frozenset({".dib", ".dng", ".pbm", ".pfm", ".pgm"})
"""Endings that are read but have no place for colours, or that Pillow writes otherwise or not at all."""
NARROW_FORMATS = {"AVIF": 65_535, "GIF": 65_535, "JPEG": 65_500, "MPO": 65_500, "WEBP": 16_383}
"""The longest side in pixels that can be written; a PNG may be called `.jpg` and be longer."""


class Artist:
    """Draws what was found; `names`: of each class what is drawn."""

    def __init__(self, names: Sequence[str], style: BoxStyle) -> None:
        self._names = names
        self._style = style

    def draw(self, detected: Detected) -> Pixels:
        """A copy; the surest boxes lie on top."""
        boxes = [self._labelled(found) for found in reversed(detected.detections)]
        return draw_boxes(detected.frame.pixels_HWC, boxes, self._style)

    def _labelled(self, found: Detection) -> LabelledBox:
        return LabelledBox(
            found.xyxy, found.class_index, self._style.text(self._names[found.class_index], found.confidence)
        )


class PictureFiles:
    """`path`: of the last one that was written. `names`: shared by all who write pictures into the folder."""

    def __init__(self, folder: Path, artist: Artist, names: FreeNames | None = None) -> None:
        self._folder = folder
        self._artist = artist
        self._names = names or FreeNames()
        self.path: Path | None = None

    def write(self, detected: Detected) -> None:
        """Raises UnwritableResults."""
        picture = Image.fromarray(self._artist.draw(detected))
        path = self._folder / self._names.give(*picture_names(detected.frame.medium.name, picture.size))
        write_whole(self._folder, path, _encoded(picture, path))
        self.path = path

    def close(self) -> None:
        """Every picture is finished already."""


def picture_names(name: PurePath, size: tuple[int, int]) -> list[PurePath]:
    """The picture's own name, if its ending is written and its format takes such sides, and with `.png` behind it."""
    suffix = name.suffix.lower()
    as_png = name.with_name(f"{name.name}.png")
    most = NARROW_FORMATS.get(Image.registered_extensions().get(suffix, ""))
    takes = suffix in READ_SUFFIXES - NEVER_WRITTEN and (most is None or max(size) <= most)
    return [name, as_png] if takes else [as_png]


def _encoded(picture: Image.Image, path: Path) -> bytes:
    """In memory: Pillow's own words for a full disk are no sentence."""
    content = io.BytesIO()
    try:
        picture.save(content, format=Image.registered_extensions()[path.suffix.lower()])
    except (OSError, ValueError) as error:
        raise unwritable(path, str(error)) from None
    return content.getvalue()


GROWTH, MARGIN = 1.02, 10
"""YOLOv5's: a crop is so many times as large as its box, and so many pixels larger."""
_NO_NAME = re.compile(r"[/\\\x00-\x1f]|^\.+")


class Crops:
    """Each object as `crops/CLASS/NAME.jpg`, as YOLOv5 lays it out. `names`: of the classes, as folders are called.

    `files` as in PictureFiles: what is drawn may come from folders that are called like those of crops.
    """

    def __init__(self, folder: Path, names: Sequence[str], files: FreeNames | None = None) -> None:
        self._folder = folder
        self._files = files or FreeNames()
        self._classes = [_NO_NAME.sub("_", name)[:100] or f"class {index}" for index, name in enumerate(names)]
        self._stems = Stems()

    def write(self, detected: Detected) -> None:
        """Raises UnwritableResults."""
        stem = self._stems.of(detected.frame)
        for found in detected.detections:
            crop_HWC = cut_out(detected.frame.pixels_HWC, found.xyxy)
            name = self._classes[found.class_index]
            # Numbered where a frame has several, or another picture is called as the second one would be.
            path = self._files.give(PurePath("crops", name, stem.with_name(f"{stem.name}.jpg")))
            write_whole(self._folder, self._folder / path, _jpeg(crop_HWC))

    def close(self) -> None:
        """Every crop is finished already."""


def cut_out(pixels_HWC: Pixels, xyxy: tuple[float, float, float, float]) -> Pixels:
    """The box and a little around it; at least one pixel."""
    height, width = pixels_HWC.shape[:2]
    x1, x2 = _grown(xyxy[0], xyxy[2], width)
    y1, y2 = _grown(xyxy[1], xyxy[3], height)
    return pixels_HWC[y1:y2, x1:x2]


def _grown(low: float, high: float, most: int) -> tuple[int, int]:
    centre, half = (low + high) / 2, ((high - low) * GROWTH + MARGIN) / 2
    first = min(max(int(centre - half), 0), most - 1)
    return first, max(min(int(centre + half), most), first + 1)


def _jpeg(pixels_HWC: Pixels) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels_HWC).save(content, "JPEG", quality=95, subsampling=0)
    return content.getvalue()
