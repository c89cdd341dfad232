"""`masktrain data check`: what is in a data set, and which of its pictures and labels look like mistakes.

The findings go to a page with their pictures, a table for other programs, and in numbers to the terminal.
"""

import base64
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from rich.console import Console

from masktrain_trainer.data.prepare import TABLE_WIDTH, print_classes, warnings_of
from masktrain_trainer.files import claimed_output, write_text_atomically
from masktrain_trainer.predict.drawing import LabelledBox, draw_boxes
from masktrain_trainer.report.tables import as_text

from .contradictions import contradictions
from .datasets import check_dataset, open_dataset, scratch_folder
from .findings import (
    Finding,
    Kind,
    Picture,
    alike,
    duplicates,
    fingerprints,
    groups_of,
    odd_boxes,
    odd_classes,
    pictures_of,
    same_source,
)
from .out_of_fold import FoldOptions, predict_out_of_fold

Say = Callable[[str], None]

OUTPUT = Path("data-check")
_DECODED = 64
"""Side of the pictures that are compared with each other: twice that of the thumbnails made of them."""


@dataclass(frozen=True)
class CheckOptions:
    """`deep` None trains nothing; where something lies in `output`, a numbered folder beside it is taken."""

    source: str
    output: Path = OUTPUT
    endpoint: str | None = None
    deep: FoldOptions | None = None


def check(options: CheckOptions, say: Say) -> list[Finding]:
    """Look for mistakes and write `suspects.html` and `suspects.csv`, if there are any. Raises MaskTrainError."""
    with claimed_output(options.output, "the page and the table") as folder, scratch_folder() as scratch:
        root = open_dataset(options.source, options.endpoint, scratch, say)
        checked = check_dataset(root, scratch, say, image_size=_DECODED)
        print_classes(checked.names, checked.splits, Console(stderr=True, width=TABLE_WIDTH))
        for sentence in warnings_of(checked.names, checked.splits):
            say(sentence)
        splits = {name: verified.split for name, verified in checked.splits.items()}
        pictures = pictures_of(splits)
        pairs = [*alike(fingerprints(splits)), *same_source(pictures)]
        groups = groups_of(len(pictures), pairs)
        found = [
            *duplicates(pictures, groups),
            *odd_boxes(pictures, checked.names),
            *odd_classes(pictures, checked.names),
        ]
        if options.deep is not None:
            predicted = predict_out_of_fold(pictures, groups, checked.names, options.deep, scratch=scratch, say=say)
            found += contradictions(pictures, predicted, checked.names)
        found = in_order(found)
        for line in _summary(found):
            say(line)
        if found:
            _write(found, folder, options.source)
            say(f"{folder / 'suspects.html'} shows them; {folder / 'suspects.csv'} is for other programs.")
    return found


def in_order(found: Sequence[Finding]) -> list[Finding]:
    """By kind, and the worst of each first."""
    kinds = list(Kind)
    return sorted(found, key=lambda finding: (kinds.index(finding.kind), -finding.score))


def _summary(found: Sequence[Finding]) -> Iterator[str]:
    if not found:
        yield "Nothing looks like a mistake."
    for kind, number in Counter(finding.kind for finding in found).items():
        yield f"{kind}: {number}"


def _write(found: Sequence[Finding], folder: Path, source: str) -> None:
    write_text_atomically(folder / "suspects.html", render(found, source))
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(("kind", "score", "pictures", "finding"))
    for finding in found:
        names = " ".join(picture.name for picture in finding.pictures)
        writer.writerow((finding.kind.name.lower(), f"{finding.score:.3f}", as_text(names), as_text(finding.sentence)))
    write_text_atomically(folder / "suspects.csv", rows.getvalue())


SHOWN_OF_A_KIND = 200
"""On the page, where each has its pictures: the table has all of them."""
_PICTURES_SHOWN = 4
_TILE = 360
"""Longest side of a picture on the page, in pixels."""
_TEMPLATE = "suspects.html.j2"


@dataclass(frozen=True)
class _Card:
    sentence: str
    images: list[str]
    """Data URIs."""


@dataclass(frozen=True)
class _Section:
    kind: Kind
    number: int
    cards: list[_Card]


def render(found: Sequence[Finding], source: str) -> str:
    """One page that needs no other file."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        # Names of classes and files are other people's text.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    kinds = Counter(finding.kind for finding in found)
    sections = [_section(kind, number, found) for kind, number in kinds.items()]
    return environment.get_template(_TEMPLATE).render(source=source, sections=sections)


def _section(kind: Kind, number: int, found: Sequence[Finding]) -> _Section:
    shown = islice((finding for finding in found if finding.kind is kind), SHOWN_OF_A_KIND)
    return _Section(kind, number, [_card(finding) for finding in shown])


def _card(finding: Finding) -> _Card:
    return _Card(finding.sentence, [_tile(picture, finding.boxes) for picture in finding.pictures[:_PICTURES_SHOWN]])


def _tile(picture: Picture, boxes: Sequence[LabelledBox]) -> str:
    image = picture.pixels()
    ratio = min(_TILE / max(image.shape[:2]), 1.0)
    size = max(round(image.shape[1] * ratio), 1), max(round(image.shape[0] * ratio), 1)
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    scaled = [LabelledBox(_scaled(box.xyxy, ratio), box.class_index, box.text) for box in boxes]
    encoded = io.BytesIO()
    Image.fromarray(draw_boxes(small, scaled)).save(encoded, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode('ascii')}"


def _scaled(xyxy: tuple[float, float, float, float], ratio: float) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = xyxy
    return x1 * ratio, y1 * ratio, x2 * ratio, y2 * ratio
