"""`masktrain data convert`: the export of another tool becomes a data set as YOLOv5 reads it.

Everything is written beside the destination and takes its place at the end, once the label files have been read back:
each class has as many boxes there as the source has, less those that were left out for a reason that is printed.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path, PurePosixPath

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from masktrain_trainer.config import MOST_CLASSES
from masktrain_trainer.data.convert.annotations import NO_BOX, AnnotatedPicture, Box, Export, Ledger
from masktrain_trainer.data.convert.json_exports import read_coco, read_label_studio
from masktrain_trainer.data.convert.picture_search import Pictures
from masktrain_trainer.data.convert.recognise import (
    COCO,
    CVAT,
    DARKNET,
    LABEL_STUDIO,
    PASCAL_VOC,
    Found,
    Kind,
    find_exports,
    recognise,
)
from masktrain_trainer.data.convert.xml_exports import read_cvat, read_darknet, read_pascal_voc
from masktrain_trainer.data.prepare import TABLE_WIDTH
from masktrain_trainer.data.source.data_yaml import read_data_yaml
from masktrain_trainer.data.source.file_list import FileList, list_files
from masktrain_trainer.data.source.pictures import READ_SUFFIXES, SMALLEST_SIDE, UnreadablePicture, read_picture
from masktrain_trainer.errors import InvalidConfiguration, InvalidDataset

from .datasets import Say, open_dataset, scratch_folder

READERS: dict[Kind, Callable[[FileList, Sequence[PurePosixPath], Pictures], Export]] = {
    COCO: read_coco,
    LABEL_STUDIO: read_label_studio,
    CVAT: read_cvat,
    PASCAL_VOC: read_pascal_voc,
    DARKNET: read_darknet,
}
FOLDERS = {"train": "train", "val": "valid", "test": "test"}
"""As Roboflow calls them."""
VALIDATION_SHARE = 0.2
SECONDS_BETWEEN_LINES = 5.0
DIGITS = 8
"""Behind the point, of fractions of a side: a hundredth of a pixel in pictures of a million."""
SAME_SHAPE = 0.02
"""By which width : height may differ between the picture and what its export says: a resized picture is rounded."""
OF_ANY_SHAPE = ((1.0, 1.0), (100.0, 100.0))
"""Sizes of pictures whose boxes are fractions or percent."""
EXAMPLES = 3
OUTSIDE, NO_AREA = "lie outside their picture", "have no area"
CLIPPED = "reached beyond their picture and were cut at its edge"


@dataclass(frozen=True)
class ConvertOptions:
    """`validation`: the share of pictures that a source without a validation set gives to it; None: a fifth."""

    validation: float | None = None
    seed: int = 0
    boxes_only: bool = False


@dataclass(frozen=True)
class Labelled:
    """A picture that is taken: its file, its split, and its rows `class x y w h`."""

    path: PurePosixPath
    split: str | None
    rows: list[tuple[int, float, float, float, float]]


def convert_dataset(source: str, destination: Path, options: ConvertOptions, say: Say) -> None:
    """Read the folder, zip or URI `source` and write the new folder `destination`.

    Raises InvalidDataset, InvalidConfiguration or StoreError, and then leaves nothing behind.
    """
    target = _new_folder(destination, source)
    _refuse_part(source)
    with scratch_folder() as scratch:
        files = list_files(open_dataset(source, None, scratch, say))
        found = _only_export(files, source)
        pictures = Pictures(name for name in files.files if name.suffix.lower() in READ_SUFFIXES)
        say(f"{source} is a {found.kind.title} export ({_some(found.names)})")
        export = READERS[found.kind](files, found.names, pictures)
        _refuse_other_shapes(export.ledger, source, boxes_only=options.boxes_only)
        _look_at_pictures(export, files, source, say)
        labelled = _with_validation(_rows(export), source, options, say)
        _say_rest(export, pictures, say)
        with _written_whole(target) as unfinished:
            _write(unfinished, export.names, labelled, files)
            written = _check(unfinished, export, labelled)
    _print_counts(export, written)
    say(f"wrote {', '.join(f'{count} {split}' for split, count in _sizes(labelled).items())} pictures to {target}")


def _new_folder(destination: Path, source: str) -> Path:
    target = destination.resolve()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InvalidConfiguration(f"{destination} exists already; name a new folder, nothing is overwritten.")
    if "://" not in source and target.is_relative_to(Path(source).resolve()):
        raise InvalidConfiguration(f"{destination} is within {source}; name a folder outside of it.")
    return target


def _refuse_part(source: str) -> None:
    if Path(source).suffix.lower() in (".json", ".xml") and Path(source).is_file():
        raise InvalidDataset(
            f"{source} is one file of an export; give the folder that holds it and the pictures, or a zip of that."
        )


def _only_export(files: FileList, source: str) -> Found:
    """Raises InvalidDataset unless exactly one format is there that can be converted."""
    if any(name.stem == "data" and name.suffix in (".yaml", ".yml") for name in files.files):
        try:
            read_data_yaml(files.root)
        except InvalidDataset as error:
            raise InvalidDataset(f"{source} has a data.yaml, so it is not converted but mended: {error}") from None
        raise InvalidDataset(f"{source} has a data.yaml and is read as it is; train on it without converting it.")
    found = [kind for kind in find_exports(files) if kind.kind.is_converted]
    if len(found) > 1:
        both = " and ".join(f"a {one.kind.title} export ({one.names[0]})" for one in found)
        raise InvalidDataset(f"{source} holds {both}; leave only one of them in it.")
    if found:
        return found[0]
    known = recognise(files)
    if known is not None:
        raise InvalidDataset(f"{source} is {known}.")
    kinds = ", ".join(kind.title for kind in READERS)
    raise InvalidDataset(f"{source} holds no export that is known: {kinds}.")


def _refuse_other_shapes(ledger: Ledger, source: str, *, boxes_only: bool) -> None:
    shapes = ", ".join(f"{kind}: {tally.classes.total()} ({tally})" for kind, tally in ledger.other_shapes.items())
    if shapes and not boxes_only:
        raise InvalidDataset(
            f"{source} has shapes that are no boxes, {shapes}; convert it without them by --boxes-only."
        )
    if shapes:
        ledger.sentences.append(f"left out, shapes that are no boxes, {shapes}")


def _look_at_pictures(export: Export, files: FileList, source: str, say: Say) -> None:
    """Say what is wrong with a picture's file, and measure those whose size the export does not say."""
    _refuse_twice(export)
    there = [picture for picture in export.pictures if not picture.problem]
    if not there:
        what = f"{export.pictures[0].shown} {export.pictures[0].problem}" if export.pictures else "it names none"
        raise InvalidDataset(
            f"No picture of the export can be taken (the first: {what}); export it with its pictures, or put them into "
            f"{source}."
        )
    said = time.monotonic()
    for done, picture in enumerate(there):
        if time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            say(f"{done} of {len(there)} pictures looked at")
        _measure(picture, files)


def _refuse_twice(export: Export) -> None:
    seen = dict[PurePosixPath, str]()
    for picture in export.pictures:
        if picture.path is not None and not picture.problem:
            if picture.path in seen:
                raise InvalidDataset(
                    f"{picture.path} is annotated twice, as {seen[picture.path]!r} and as {picture.shown!r}; leave one "
                    "of them in the export."
                )
            seen[picture.path] = picture.shown


def _measure(picture: AnnotatedPicture, files: FileList) -> None:
    """With the reader of the training, which turns pictures as their EXIF says."""
    assert picture.path is not None
    image = read_picture(files.path(picture.path), smallest_side=SMALLEST_SIDE)
    if isinstance(image, UnreadablePicture):
        picture.problem = f"cannot be read: {image.reason}"
        return
    height, width = image.shape[:2]
    size = picture.size or (width, height)
    if size not in OF_ANY_SHAPE and not _is_of_shape((width, height), size):
        picture.problem = f"measures {width} x {height} pixels, and its export says {size[0]:g} x {size[1]:g}"
    picture.size = size


def _is_of_shape(actual: tuple[int, int], said: tuple[float, float]) -> bool:
    """Whether one is the other, or a scaled copy of it."""
    across, down = actual[0] / said[0], actual[1] / said[1]
    is_rounded = min(abs(actual[0] - said[0] * down), abs(actual[1] - said[1] * across)) <= 1
    return is_rounded or abs(across / down - 1) <= SAME_SHAPE


def _rows(export: Export) -> list[Labelled]:
    """Rows of all pictures that are taken; what is not taken goes to the ledger."""
    if not 0 < len(export.names) <= MOST_CLASSES:
        raise InvalidDataset(f"The export names {len(export.names):,} classes; 1 to {MOST_CLASSES:,} are taken.")
    numbers = {name: index for index, name in enumerate(export.names)}
    _refuse_fractions(export)
    taken = list[Labelled]()
    for picture in export.pictures:
        if picture.problem or picture.path is None:
            for box in picture.boxes:
                export.ledger.leave_out("are of a picture that is left out", box.name, picture.shown)
            continue
        rows = [(numbers[box.name], *row) for box in picture.boxes if (row := _fractions(box, picture, export.ledger))]
        taken.append(Labelled(picture.path, picture.split, rows))
    if not any(picture.rows for picture in taken):
        raise InvalidDataset(f"The export has no box that can be taken{_reasons(export.ledger)}.")
    return taken


def _refuse_fractions(export: Export) -> None:
    """Written by hand, where pixels are due: every box would be a speck in its picture's corner."""
    boxes = [box for picture in export.pictures if picture.size not in OF_ANY_SHAPE for box in picture.boxes]
    if boxes and all(max(map(abs, box[1:])) <= 1 for box in boxes):
        raise InvalidDataset(
            f"All {len(boxes)} boxes of the export end within one pixel of their picture's corner; are they fractions? "
            "The format has pixels."
        )


def _reasons(ledger: Ledger) -> str:
    return "".join(f"; {tally.classes.total()} {reason}" for reason, tally in ledger.left_out.items())


def _fractions(box: Box, picture: AnnotatedPicture, ledger: Ledger) -> tuple[float, float, float, float] | None:
    """Centre and size as fractions of the picture's sides."""
    assert picture.size is not None
    width, height = picture.size
    where = picture.shown
    left, right, top, bottom = box.left / width, box.right / width, box.top / height, box.bottom / height
    if not all(map(math.isfinite, (left, right, top, bottom, right - left, bottom - top))):
        ledger.leave_out(NO_BOX, box.name, where)
        return None
    if round(right - left, DIGITS) <= 0 or round(bottom - top, DIGITS) <= 0:
        ledger.leave_out(NO_AREA, box.name, where)
        return None
    inner = max(left, 0.0), min(right, 1.0), max(top, 0.0), min(bottom, 1.0)
    if round(inner[1] - inner[0], DIGITS) <= 0 or round(inner[3] - inner[2], DIGITS) <= 0:
        ledger.leave_out(OUTSIDE, box.name, where)
        return None
    if max(abs(a - b) for a, b in zip(inner, (left, right, top, bottom), strict=True)) > 10**-6:
        ledger.remark(CLIPPED, box.name, where)
    left, right, top, bottom = inner
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _with_validation(labelled: list[Labelled], source: str, options: ConvertOptions, say: Say) -> list[Labelled]:
    """The source's own splits; of a source without a validation set some training pictures, drawn by the seed."""
    splits = {picture.split for picture in labelled}
    if None in splits and splits != {None}:
        say("pictures of no split are taken for training")
    labelled = [replace(picture, split=picture.split or "train") for picture in labelled]
    training = sorted((picture for picture in labelled if picture.split == "train"), key=lambda picture: picture.path)
    if not training:
        raise InvalidDataset(f"{source} has no training pictures, only those of {_some(sorted(map(str, splits)))}.")
    if "val" in splits:
        if options.validation is not None:
            raise InvalidConfiguration(f"{source} has a validation set of its own; leave --val out.")
        return labelled
    share = options.validation or VALIDATION_SHARE
    number = max(round(len(training) * share), 1)
    if number >= len(training):
        raise InvalidDataset(
            f"{source} has {len(training)} training picture(s) and no validation set, too few to draw one of {share:g}."
        )
    drawn = {picture.path for picture in random.Random(options.seed).sample(training, number)}  # noqa: S311 - no secret
    say(f"no validation set in the source: {number} of {len(training)} pictures are drawn for it, seed {options.seed}")
    return [replace(picture, split="val") if picture.path in drawn else picture for picture in labelled]


def _say_rest(export: Export, pictures: Pictures, say: Say) -> None:
    """All that a count alone would not tell."""
    ledger = export.ledger
    for sentence in ledger.sentences:
        say(sentence)
    problems = [f"{picture.shown} {picture.problem}" for picture in export.pictures if picture.problem]
    if problems:
        say(f"left out, pictures: {len(problems)} of {len(export.pictures)} ({_some(problems)})")
    named = {picture.path for picture in export.pictures}
    others = [str(name) for name in pictures.names if name not in named]
    if others:
        say(f"left out, pictures that the export does not name: {len(others)} ({_some(others)})")
    for reason, tally in ledger.left_out.items():
        say(f"left out, boxes that {reason}: {tally.classes.total()} ({tally})")
    for reason, tally in ledger.remarks.items():
        say(f"kept, boxes that {reason}: {tally.classes.total()} ({tally})")


def _some(values: Sequence[object]) -> str:
    return ", ".join(map(str, values[:EXAMPLES])) + (", …" if len(values) > EXAMPLES else "")


@contextmanager
def _written_whole(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` at the end, or is gone after an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside it, since links and renames do not cross file systems.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        unfinished = Path(scratch) / "data"
        unfinished.mkdir()
        yield unfinished
        # Over an empty folder, too.
        unfinished.rename(target)


def _write(folder: Path, names: list[str], labelled: list[Labelled], files: FileList) -> None:
    for split in _sizes(labelled):
        for kind in ("images", "labels"):
            (folder / FOLDERS[split] / kind).mkdir(parents=True)
    for picture, stem in zip(labelled, _stems(labelled), strict=True):
        place = folder / FOLDERS[picture.split or "train"]
        _link_or_copy(files.path(picture.path).resolve(), place / "images" / f"{stem}{picture.path.suffix}")
        rows = [f"{label} " + " ".join(f"{value:.{DIGITS}f}" for value in box) for label, *box in picture.rows]
        (place / "labels" / f"{stem}.txt").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    places = {split: f"{FOLDERS[split]}/images" for split in _sizes(labelled)}
    document = {**places, "nc": len(names), "names": names}
    (folder / "data.yaml").write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")


def _sizes(labelled: list[Labelled]) -> dict[str, int]:
    """Pictures of each split that has any."""
    counts = Counter(picture.split for picture in labelled)
    return {split: counts[split] for split in FOLDERS if counts[split]}


def _stems(labelled: list[Labelled]) -> Iterator[str]:
    """Names without ending, each once in its split; where files of several folders are alike, with their folders."""
    counts = Counter((picture.split, picture.path.stem.lower()) for picture in labelled)
    taken = {key for key, times in counts.items() if times == 1}
    for picture in labelled:
        if counts[picture.split, picture.path.stem.lower()] == 1:
            yield picture.path.stem
            continue
        joined = "_".join(picture.path.with_suffix("").parts)
        candidates = (f"{joined}_{number}" if number else joined for number in count())
        stem = next(name for name in candidates if (picture.split, name.lower()) not in taken)
        taken.add((picture.split, stem.lower()))
        yield stem


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same file costs no space."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _check(folder: Path, export: Export, labelled: list[Labelled]) -> Counter[str]:
    """Boxes of each class in the label files, read back; raises InvalidDataset if one is lost without a reason."""
    described = read_data_yaml(folder)
    written = Counter[str]()
    for path in folder.glob("*/labels/*.txt"):
        written.update(export.names[int(row.split()[0])] for row in path.read_text(encoding="utf-8").splitlines())
    left_out = sum((tally.classes for tally in export.ledger.left_out.values()), Counter[str]())
    lost = [name for name, count in export.ledger.source.items() if count != written[name] + left_out[name]]
    sizes = {split: len(images) for split, images in described.images.items()}
    if lost or described.names != export.names or sizes != _sizes(labelled):
        raise InvalidDataset(
            f"What was written is not what the export holds ({_some(lost) or 'names or pictures'} differ); nothing is "
            "left of it, please report it."
        )
    return written


def _print_counts(export: Export, written: Counter[str]) -> None:
    table = Table(title="Boxes, classes numbered as in data.yaml", title_justify="left")
    table.add_column("class", justify="right")
    table.add_column("name")
    for column in ("in the source", "written", "left out"):
        table.add_column(column, justify="right")
    source = export.ledger.source
    for index, name in [*enumerate(export.names), *(("", name) for name in source if name not in export.names)]:
        # As Text: rich would obey square brackets in a class's name.
        table.add_row(str(index), Text(name), *map(str, (source[name], written[name], source[name] - written[name])))
    table.add_section()
    lost = source.total() - written.total()
    table.add_row("", "all", *map(str, (source.total(), written.total(), lost)))
    Console(width=TABLE_WIDTH).print(table)
