"""Exports that are XML, Pascal VOC and the two of CVAT; and Darknet's, which are YOLOv5's without a data.yaml.

Formats: the VOC2012 development kit; docs.cvat.ai/docs/manual/advanced/xml_format. The standard library's parser takes
no entities here: a document that declares any is refused before it can multiply them.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from masktrain_trainer.errors import InvalidDataset, printable

from ..source.file_list import FileList
from .annotations import (
    NO_BOX,
    TURNED,
    AnnotatedPicture,
    Box,
    Edges,
    Export,
    around_ellipse,
    around_turned_box,
    class_name,
    extent,
    number,
    numbers,
)
from .picture_search import Pictures, split_of, split_of_folders

LARGEST_XML = 256 << 20
"""Bytes: a hundred thousand pictures of CVAT, which take about 2.6 GB of memory while they are read."""
LARGEST_TEXT = 64 << 20
"""Bytes of a list of names or a label file."""
LAST_FRAME = 1_000_000_000
_XML_ERRORS = (ET.ParseError, ValueError, LookupError)
"""Also encodings that the parser does not know, or that are of several bytes."""


def is_pascal_voc(_: PurePosixPath, text: bytes) -> bool:
    """By a file's first bytes."""
    return re.search(rb"<annotation[\s/>]", text) is not None


def is_cvat(_: PurePosixPath, text: bytes) -> bool:
    """By a file's first bytes."""
    return re.search(rb"<annotations[\s/>]", text) is not None


class _Builder(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002 - as it is called
        raise _Declared


class _Declared(Exception):
    """A document type, in which entities would be."""


def load_xml(files: FileList, name: PurePosixPath) -> ET.Element:
    """Raises InvalidDataset."""
    path = files.path(name)
    if path.stat().st_size > LARGEST_XML:
        raise InvalidDataset(f"{name} is larger than {LARGEST_XML >> 20} MiB; export the data set in parts.")
    parser = ET.XMLParser(target=_Builder())  # noqa: S314 - see _Builder
    try:
        parser.feed(path.read_bytes())
        root = parser.close()
    except _Declared:
        raise InvalidDataset(f"{name} declares a document type (<!DOCTYPE), which no export does; remove it.") from None
    except _XML_ERRORS as error:
        raise InvalidDataset(f"{name} is not valid XML ({error}); it is cut or damaged, export it again.") from None
    assert isinstance(root, ET.Element)
    return root


def read_pascal_voc(files: FileList, names: Sequence[PurePosixPath], pictures: Pictures) -> Export:
    """One file for each picture; raises InvalidDataset."""
    export = Export()
    lists = _image_sets(files)
    for name in names:
        root = load_xml(files, name)
        said = (root.findtext("filename") or "").strip()
        # By the file's own name, as all readers of the format do: `filename` stays when pictures are renamed.
        path, problem = pictures.find(str(name.with_suffix("")), near=name, without_ending=True)
        if path is None and said:
            path, problem = pictures.find(said, near=name)
        split, unlisted = _voc_split(name, lists)
        picture = AnnotatedPicture(said or name.stem, path, problem or unlisted, split, _voc_size(root))
        for entry in root.iter("object"):
            _voc_object(entry, picture, export, str(name))
        export.pictures.append(picture)
    export.add_names(_label_map(files))
    export.add_names(sorted(export.ledger.source))
    if "background" in export.names and not export.ledger.source["background"]:
        export.names.remove("background")
    return export


def _voc_size(root: ET.Element) -> tuple[float, float] | None:
    """Zero, as some tools write, is none."""
    return _size(root.findtext("size/width"), root.findtext("size/height"))


def _size(*sides: object) -> tuple[float, float] | None:
    found = numbers(sides)
    return (found[0], found[1]) if found and min(found) > 0 else None


def _voc_object(entry: ET.Element, picture: AnnotatedPicture, export: Export, shown: str) -> None:
    ledger, where = export.ledger, picture.shown
    name = class_name(entry.findtext("name") or "", shown)
    ledger.source[name] += 1
    if entry.find("part") is not None:
        ledger.remark("have boxes of their parts too, which are not taken", name, where)
    edges, is_turned = _voc_edges(entry)
    if edges is None:
        ledger.leave_out(NO_BOX, name, where)
        return
    if is_turned:
        ledger.remark(TURNED, name, where)
    picture.boxes.append(Box(name, *edges))


def _voc_edges(entry: ET.Element) -> tuple[Edges | None, bool]:
    """The box as it is written, without taking off 1 as the kit of 2007 asks; and whether it was turned."""
    box = _values(entry.find("bndbox"), ("xmin", "ymin", "xmax", "ymax"))
    if box is not None:
        return (box[0], box[1], box[2], box[3]), False
    turned = _values(entry.find("robndbox"), ("cx", "cy", "w", "h", "angle"))
    if turned is not None:  # roLabelImg's, in radians
        return around_turned_box((turned[0], turned[1]), (turned[2], turned[3]), math.degrees(turned[4])), True
    outline = entry.find("polygon")
    points = None if outline is None else numbers(corner.text for corner in outline)
    return (extent(points) if points else None), False


def _values(element: ET.Element | None, keys: Sequence[str]) -> list[float] | None:
    return None if element is None else numbers(element.findtext(key) for key in keys)


_Lists = dict[PurePosixPath, dict[str, str]]
"""Of each folder that holds ImageSets, the split of every picture that is listed."""


def _image_sets(files: FileList) -> _Lists:
    """From ImageSets/Main; the lists of single classes there (`car_train`) say nothing of a picture."""
    lists: _Lists = {}
    found = [name for name in files.files if name.parent.parts[-2:] == ("ImageSets", "Main") and name.suffix == ".txt"]
    for name in found:
        split = split_of(name.stem)
        if split is None or name.stem.lower() not in ("train", "val", "valid", "test"):
            continue
        listed = lists.setdefault(name.parent.parent.parent, {})
        for line in text_lines(files, name):
            if listed.setdefault(_listed_name(line), split) != split:
                raise InvalidDataset(f"{name} lists {line[:100]!r}, as another list of it does; take it out of one.")
    for name in found:
        if name.stem.lower() == "trainval":
            listed = lists.setdefault(name.parent.parent.parent, {})
            for line in text_lines(files, name):
                listed.setdefault(_listed_name(line), "train")
    return lists


_MARKS = ("", " 1", " 0", " -1")
"""What lists of a single class have behind a picture's name, and some others too."""


def _listed_name(line: str) -> str:
    """Of a picture, with its mark: it may have spaces in it, and CVAT puts quotes around such a one."""
    mark = re.search(r"\s+(-?[01])$", line)
    name = line[: mark.start()] if mark else line
    quoted = re.fullmatch(r'"(.*)"', name)
    bare = quoted[1].replace('\\"', '"') if quoted else name
    return f"{bare} {mark[1]}" if mark else bare


def _voc_split(name: PurePosixPath, lists: _Lists) -> tuple[str | None, str]:
    """The split, and why the picture is not taken."""
    parts = name.parts
    top = PurePosixPath(*parts[: parts.index("Annotations")]) if "Annotations" in parts else name.parent
    if top not in lists:
        return split_of_folders(name), ""
    inner = name.relative_to(top / "Annotations" if "Annotations" in parts else top).with_suffix("")
    split = next((lists[top][f"{inner}{mark}"] for mark in _MARKS if f"{inner}{mark}" in lists[top]), None)
    return split, "" if split else "is in no list of ImageSets/Main"


def _label_map(files: FileList) -> list[str]:
    """CVAT's list of classes with their colours, `name:colour:parts:actions`."""
    found = next((name for name in files.files if name.name == "labelmap.txt"), None)
    lines = text_lines(files, found) if found else []
    named = [line.split(":")[0].strip() for line in lines if not line.startswith("#")]
    return [class_name(name, "labelmap.txt") for name in named if name]


def text_lines(files: FileList, name: PurePosixPath, errors: str = "strict") -> list[str]:
    """Those that are not empty; raises InvalidDataset."""
    return [line for line in _all_lines(files, name, errors) if line]


def _all_lines(files: FileList, name: PurePosixPath, errors: str = "strict") -> list[str]:
    path = files.path(name)
    if path.stat().st_size > LARGEST_TEXT:
        raise InvalidDataset(f"{name} is larger than {LARGEST_TEXT >> 20} MiB, which no list or label file is.")
    try:
        text = path.read_text(encoding="utf-8-sig", errors=errors)
    except UnicodeDecodeError:
        # With replacements two names of classes, or of pictures, could become one.
        raise InvalidDataset(f"{name} is not text in UTF-8; save it as UTF-8.") from None
    return [line.strip() for line in text.splitlines()]


def _classes(files: FileList, name: PurePosixPath) -> list[str]:
    """Numbered by their lines, so that an empty one between others is no name but a mistake; at the end it is usual."""
    lines = _all_lines(files, name)
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise InvalidDataset(
            f"{name} has no class in line {lines.index('') + 1} of {len(lines)}, and classes are numbered by lines; "
            "name it, or remove the line if the labels do not count it."
        )
    return lines


_BOXES_ARE_DRAWN_WITH = (None, "", "any", "bbox", "rectangle", "polygon", "ellipse")
"""Types of CVAT's labels."""
_OTHER_SHAPES = {
    "polyline": "lines",
    "points": "points",
    "mask": "masks",
    "cuboid": "cuboids",
    "skeleton": "skeletons",
}


def read_cvat(files: FileList, names: Sequence[PurePosixPath], pictures: Pictures) -> Export:
    """`CVAT for images 1.1` and `CVAT for video 1.1`; raises InvalidDataset."""
    export = Export()
    for name in names:
        root = load_xml(files, name)
        labels = [label for label in root.iterfind("meta//label") if label.find("parent") is None]
        export.add_names(
            class_name(label.findtext("name") or "", str(name))
            for label in labels
            if label.findtext("type") in _BOXES_ARE_DRAWN_WITH
        )
        for image in root.iterfind("image"):
            _cvat_image(image, name, export, pictures)
        if root.find("track") is not None:
            _cvat_video(root, name, export, pictures)
    export.add_names(sorted(export.ledger.source))
    return export


def _cvat_image(image: ET.Element, name: PurePosixPath, export: Export, pictures: Pictures) -> None:
    said, subset = image.get("name") or "", image.get("subset") or ""
    split = split_of(subset)
    # A project's pictures are in folders called like its subsets.
    path, problem = pictures.find(f"{subset}/{said}", near=name, split=split)
    picture = AnnotatedPicture(said, path, problem, split, _size(image.get("width"), image.get("height")))
    for shape in image:
        _cvat_shape(shape, shape.get("label"), picture, export, str(name))
    export.pictures.append(picture)


def _cvat_video(root: ET.Element, name: PurePosixPath, export: Export, pictures: Pictures) -> None:
    """Frames are called `frame_000012`; one without a box is a background."""
    size = _size(root.findtext("meta//original_size/width"), root.findtext("meta//original_size/height"))
    step = re.search(r"step\s*=\s*(\d{1,6})", root.findtext("meta//frame_filter") or "")
    frames: dict[int, AnnotatedPicture] = {}
    for track in root.iterfind("track"):
        _refuse_key_frames_only(track, name, int(step[1]) if step else 1)
        for shape in track:
            frame = number(shape.get("frame"))
            # Outside: the object has left the picture, and its last place is written once more.
            if frame is None or not 0 <= frame < LAST_FRAME or shape.get("outside") == "1":
                continue
            if int(frame) not in frames:
                said = f"frame_{int(frame):06d}"
                path, problem = pictures.find(said, near=name, without_ending=True)
                frames[int(frame)] = AnnotatedPicture(said, path, problem, None, size)
            _cvat_shape(shape, track.get("label"), frames[int(frame)], export, str(name))
    export.pictures += frames.values()
    drawn = {picture.path for picture in frames.values()}
    beside = [path for path in pictures.names if path.stem.startswith("frame_") and name.parent in path.parents]
    export.pictures += [AnnotatedPicture(path.name, path) for path in beside if path not in drawn]


def _refuse_key_frames_only(track: ET.Element, name: PurePosixPath, step: int) -> None:
    """Boxes between two key frames are in the export, or else unknown."""
    called = (track.get("id") or "")[:50]
    shapes = [(number(shape.get("frame")) or 0, shape) for shape in track if shape.get("frame")]
    for (first, shape), (second, following) in pairwise(shapes):
        if second > first + step and shape.get("outside") != "1" and following.get("keyframe") == "1":
            raise InvalidDataset(
                f"{name} has no boxes between the frames {first:.0f} and {second:.0f} of track {called}; "
                "export it as 'CVAT for images 1.1', which has those of every frame."
            )


def _cvat_shape(shape: ET.Element, label: str | None, picture: AnnotatedPicture, export: Export, shown: str) -> None:
    ledger, where = export.ledger, picture.shown
    if shape.tag in _OTHER_SHAPES:
        ledger.other_shape(_OTHER_SHAPES[shape.tag], where)
    if shape.tag not in ("box", "polygon", "ellipse"):  # a tag of the whole picture, or an attribute
        return
    name = class_name(label or "", shown)
    ledger.source[name] += 1
    edges = _cvat_edges(shape)
    if edges is None:
        ledger.leave_out(NO_BOX, name, where)
        return
    if number(shape.get("rotation")):
        ledger.remark(TURNED, name, where)
    picture.boxes.append(Box(name, *edges))


def _cvat_edges(shape: ET.Element) -> Edges | None:
    """A box and an ellipse turn about their centre, clockwise."""
    angle = number(shape.get("rotation")) or 0
    if shape.tag == "polygon":
        points = numbers(part for point in (shape.get("points") or "").split(";") for part in point.split(","))
        return extent(points) if points else None
    keys = ("cx", "cy", "rx", "ry") if shape.tag == "ellipse" else ("xtl", "ytl", "xbr", "ybr")
    found = numbers(shape.get(key) for key in keys)
    if found is None:
        return None
    if shape.tag == "ellipse":
        return around_ellipse((found[0], found[1]), (found[2], found[3]), angle)
    if not angle:
        return found[0], found[1], found[2], found[3]
    centre = (found[0] + found[2]) / 2, (found[1] + found[3]) / 2
    return around_turned_box(centre, (found[2] - found[0], found[3] - found[1]), angle)


def read_darknet(files: FileList, names: Sequence[PurePosixPath], pictures: Pictures) -> Export:
    """A list of classes, `obj.names`, `_darknet.labels` or `classes.txt`, and one label file for each picture."""
    export = Export()
    lists = {name.parent: _classes(files, name) for name in names}
    for listed in lists.values():
        export.add_names(class_name(line, str(names[0])) for line in listed)
    for path in pictures.names:
        label, nearest = files.label_of(path), _nearest(path, lists)
        picture = AnnotatedPicture(str(path), path, "", split_of_folders(path), (1.0, 1.0))
        # What is no text in a label file costs its rows, which are counted.
        for row in text_lines(files, label, "replace") if label else ():
            _darknet_row(row.split(), nearest, picture, export)
        export.pictures.append(picture)
    return export


def _nearest(path: PurePosixPath, lists: dict[PurePosixPath, list[str]]) -> list[str]:
    """The classes of the list in the folder next above; any, if none is above."""
    return next((lists[folder] for folder in path.parents if folder in lists), next(iter(lists.values())))


def _darknet_row(words: list[str], classes: list[str], picture: AnnotatedPicture, export: Export) -> None:
    ledger, where = export.ledger, picture.shown
    index, values = number(words[0]), numbers(words[1:]) or []
    known = index is not None and index == int(index) and 0 <= index < len(classes)
    name = printable(classes[int(index)]) if known and index is not None else f"class {words[0]}"[:50]
    ledger.source[name] += 1
    edges: Edges | None = extent(values)
    if len(values) == 4:
        x, y, width, height = values
        edges = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if not known:
        ledger.leave_out("have a class that the list of classes does not name", name, where)
    elif edges is None:
        ledger.leave_out(NO_BOX, name, where)
    else:
        picture.boxes.append(Box(name, *edges))
