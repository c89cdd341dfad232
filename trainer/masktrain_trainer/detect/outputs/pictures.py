"""Pictures with boxes, under the names of the pictures that they were drawn on."""

import io
from collections.abc import Sequence
from pathlib import Path, PurePath

from PIL import Image

from masktrain_trainer.data.geometry import Image as Pixels
from masktrain_trainer.data.source.pictures import READ_SUFFIXES
from masktrain_trainer.detect.detector import Detection
from masktrain_trainer.predict.drawing import BoxStyle, LabelledBox, draw_boxes

from .base import Detected
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
    """`path`: of the last one that was written."""

    def __init__(self, folder: Path, artist: Artist) -> None:
        self._folder = folder
        self._artist = artist
        self._names = FreeNames()
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
