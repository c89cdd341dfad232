"""Exports that are JSON: COCO, as COCO itself, Roboflow, CVAT and Label Studio write it, and Label Studio's own two.

Formats: cocodataset.org/#format-data; labelstud.io/guide/task_format and its JSON-MIN, in which each value of a task
that is a list of regions is what one tag of the labelling interface holds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

from masktrain_trainer.errors import InvalidDataset, printable

from ..source.file_list import FileList
from ..source.pictures import LIKELY_PICTURES, READ_SUFFIXES
from .annotations import (
    NO_BOX,
    TURNED,
    AnnotatedPicture,
    Box,
    Edges,
    Export,
    Ledger,
    around_ellipse,
    around_turned_box,
    class_name,
    extent,
    number,
    numbers,
)
from .picture_search import Pictures, split_of, split_of_folders

LARGEST_JSON = 1 << 30
"""Bytes: COCO's own largest has 450 million, and takes about 3 GB of memory while it is read."""
INSTANCES = "instances"
"""Of COCO's files for one set of pictures the one with boxes; the others have captions and key points."""
CROWD = "are crowds, one region for many objects (iscrowd)"
Object = dict[str, Any]


_COCO_KEYS = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[|"(category_id|image_id|coco_url)"\s*:')
_STUDIO_KEYS = re.compile(rb'"(\w*labels|from_name|annotation_id|completed_by|lead_time|completions)"\s*:')


def is_coco(name: PurePosixPath, text: bytes) -> bool:
    """By a file's name, and its first and last bytes."""
    # Two keys: a file of a hundred megabytes has the others in its middle.
    is_one = text.startswith(b"{") and len(set(_COCO_KEYS.findall(text))) >= 2 and b'"shapes"' not in text
    return is_one or name.name.lower().endswith(".coco.json")


def is_label_studio(_: PurePosixPath, text: bytes) -> bool:
    """By a file's first and last bytes."""
    return text.startswith(b"[") and _STUDIO_KEYS.search(text) is not None


def load_json(files: FileList, name: PurePosixPath) -> Any:
    """Raises InvalidDataset."""
    path = files.path(name)
    if path.stat().st_size > LARGEST_JSON:
        raise InvalidDataset(f"{name} is larger than {LARGEST_JSON >> 20} MiB; export the data set in parts.")
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise InvalidDataset(f"{name} is nested too deeply to be an export; export it again.") from None
    except json.JSONDecodeError as error:
        raise InvalidDataset(f"{name} is not valid JSON ({error}); it is cut or damaged, export it again.") from None
    except ValueError:
        raise InvalidDataset(
            f"{name} is not valid JSON (bytes that are no text, or a number of thousands of digits); export it again."
        ) from None


def read_coco(files: FileList, names: Sequence[PurePosixPath], pictures: Pictures) -> Export:
    """Boxes of all files `names`; raises InvalidDataset."""
    export = Export()
    headings = set[str]()
    for name in _with_boxes(names, export.ledger):
        document = _Coco(name, load_json(files, name), export, headings)
        document.read(pictures)
    # Roboflow begins its list with the project's name, the supercategory of all others, which no box has.
    export.names = [name for name in export.names if name not in headings or export.ledger.source[name]]
    return export


def _with_boxes(names: Sequence[PurePosixPath], ledger: Ledger) -> list[PurePosixPath]:
    chosen = [name for name in names if name.name.startswith(INSTANCES)] or list(names)
    ledger.sentences += [
        f"{name} is left out: the boxes are in {INSTANCES}_*.json." for name in names if name not in chosen
    ]
    return chosen


class _Coco:
    """One file: its categories, its pictures by id, and their annotations."""

    def __init__(self, name: PurePosixPath, document: Any, export: Export, headings: set[str]) -> None:
        self._name, self._export, self._ledger = name, export, export.ledger
        self._images = self._list_of(document, "images")
        self._annotations = self._list_of(document, "annotations")
        categories = self._list_of(document, "categories")
        self._categories = {self._id(entry): class_name(entry.get("name"), str(name)) for entry in categories}
        if len(self._categories) < len(categories):
            raise InvalidDataset(f"{name} has two categories of the same id; export it again.")
        export.add_names(self._categories[key] for key in _in_order(self._categories))
        above = {entry.get("supercategory") for entry in categories if isinstance(entry.get("supercategory"), str)}
        headings |= {
            self._categories[self._id(entry)]
            for entry in categories
            if entry.get("supercategory") == "none" and entry.get("name") in above
        }

    def read(self, pictures: Pictures) -> None:
        split = split_of(self._name.stem) or split_of_folders(self._name)
        found: dict[int | str, AnnotatedPicture] = {}
        for entry in self._images:
            key = self._id(entry)
            if key in found:
                raise InvalidDataset(f"{self._name} has two pictures of the id {str(key)[:50]}; export it again.")
            said = entry.get("file_name")
            if not isinstance(said, str):
                raise InvalidDataset(
                    f"{self._name} has a picture without a 'file_name' (id {str(key)[:50]}); export it again."
                )
            path, problem = pictures.find(said, near=self._name, split=split)
            size = numbers((entry.get("width"), entry.get("height")))
            known = (size[0], size[1]) if size and min(size) > 0 else None
            found[key] = AnnotatedPicture(said, path, problem, split, known)
        for entry in self._annotations:
            self._annotation(entry, found)
        self._export.pictures += found.values()

    def _annotation(self, entry: Object, pictures: dict[int | str, AnnotatedPicture]) -> None:
        category, image = entry.get("category_id"), entry.get("image_id")
        picture = pictures.get(image) if isinstance(image, int | str) else None
        known = self._categories.get(category) if isinstance(category, int | str) else None
        where = picture.shown if picture else printable(f"an annotation of {self._name}")
        edges, shape = _coco_edges(entry)
        if shape:
            self._ledger.other_shape(shape, where)
            return
        name = known or f"category {category}"[:50]
        self._ledger.source[name] += 1
        if known is None:
            self._ledger.leave_out("have a category that the export does not name", name, where)
        elif picture is None:
            self._ledger.leave_out("are of a picture that the export does not list", name, where)
        elif entry.get("iscrowd"):
            self._ledger.leave_out(CROWD, name, where)
        elif edges is None:
            self._ledger.leave_out(NO_BOX, name, where)
        else:
            attributes = entry.get("attributes")
            # CVAT exports a turned box as it lay before it was turned.
            angle = number(attributes.get("rotation")) if isinstance(attributes, dict) else None
            if angle:
                centre = (edges[0] + edges[2]) / 2, (edges[1] + edges[3]) / 2
                edges = around_turned_box(centre, (edges[2] - edges[0], edges[3] - edges[1]), angle)
                self._ledger.remark(TURNED, name, where)
            picture.boxes.append(Box(name, *edges))

    def _list_of(self, document: Any, key: str) -> list[Object]:
        entries = document.get(key) if isinstance(document, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InvalidDataset(f"{self._name} has no list {key!r} as a COCO export has; export it again as COCO.")
        return entries

    def _id(self, entry: Object) -> int | str:
        key = entry.get("id")
        if not isinstance(key, int | str):
            raise InvalidDataset(f"{self._name} has an entry without an 'id'; export it again.")
        return key


def _in_order(keys: dict[int | str, str]) -> list[int | str]:
    """Category ids ascending, as every reader of COCO numbers the classes; ids that are text as they stand."""
    return sorted(keys, key=lambda key: key if isinstance(key, int) else 0)


def _coco_edges(entry: Object) -> tuple[Edges | None, str]:
    """The box, or what other shape it is."""
    box, outline = entry.get("bbox"), entry.get("segmentation")
    found = numbers(box) if isinstance(box, list) else None
    if found is not None and len(found) == 4:
        return (found[0], found[1], found[0] + found[2], found[1] + found[3]), ""
    if box:
        return None, ""
    if isinstance(outline, list) and outline and all(isinstance(part, list) for part in outline):
        points = numbers(value for part in outline for value in part)
        return (extent(points) if points else None), ""
    if isinstance(outline, dict):
        return None, "masks"
    if isinstance(entry.get("keypoints"), list):
        return None, "key points"
    return None, "captions" if "caption" in entry else ""


UNLABELLED = "(no label)"
SEVERAL_PICTURES = "is one of several pictures of a task, and of which one a box is the export does not say"
_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels")
_OTHER_SHAPES = {
    "brushlabels": "brush masks",
    "bitmasklabels": "brush masks",
    "rle": "brush masks",
    "keypointlabels": "key points",
    "vectorlabels": "lines",
    "polylinelabels": "lines",
    "videorectangle": "boxes of a video",
    "sequence": "boxes of a video",
}
"""Keys of a region's value, and what it then is."""


def read_label_studio(files: FileList, names: Sequence[PurePosixPath], pictures: Pictures) -> Export:
    """Boxes of all tasks of the files `names`, JSON or JSON-MIN; raises InvalidDataset.

    Of several annotations of one task the newest counts, or the one that is marked as ground truth.
    """
    export = Export()
    for name in names:
        tasks = load_json(files, name)
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise InvalidDataset(f"{name} is no list of tasks as Label Studio exports it; export it again as JSON.")
        newest = list(_newest(tasks, export.ledger))
        if len(newest) < len(tasks):
            export.ledger.sentences.append(
                f"{len(tasks) - len(newest)} of {len(tasks)} entries of {name} are left out: not annotated, skipped or "
                "older than another annotation of the same task."
            )
        for said, regions in newest:
            path, problem = pictures.find(said, near=name, split=None)
            if len({region["to_name"] for region in regions if _shape(region) and "to_name" in region}) > 1:
                path, problem = None, SEVERAL_PICTURES
            size = _original_size(regions)
            split = split_of_folders(path) if path else None
            picture = AnnotatedPicture(said, path, problem, split, size or (100.0, 100.0))
            _add_regions(picture, regions, is_measured=size is not None, ledger=export.ledger)
            export.pictures.append(picture)
    # The labelling interface is not in the export, and the order of tasks is nobody's choice.
    export.add_names(sorted(export.ledger.source.keys() - {UNLABELLED}))
    return export


def _newest(tasks: list[Object], ledger: Ledger) -> Iterator[tuple[str, list[Object]]]:
    """What a task calls its picture, and the regions of its annotation; tasks without one are passed over."""
    minimal: dict[str, list[Object]] = {}
    for place, task in enumerate(tasks):
        # JSON-MIN, in which every annotation is an entry of its own, and `data` at most a column of the user's.
        if not isinstance(task.get("data"), dict):
            minimal.setdefault(str(task.get("id", f"entry {place}")), []).append(task)
        elif annotations := _annotations(task):
            chosen = max(annotations, key=lambda entry: (bool(entry.get("ground_truth")), _moment(entry)))
            _leave_out_others(annotations, chosen, ledger)
            yield _picture_of(task["data"], task), _objects(chosen.get("result"))
    for entries in minimal.values():
        newest = max(entries, key=_moment)
        _leave_out_others(entries, newest, ledger)
        yield _picture_of(newest, newest), _regions_of_minimal(newest)


def _leave_out_others(entries: list[Object], chosen: Object, ledger: Ledger) -> None:
    for entry in (entry for entry in entries if entry is not chosen):
        regions = _objects(entry["result"]) if "result" in entry else _regions_of_minimal(entry)
        for name in (name for region in regions for name in _names_of(region)):
            ledger.source[name] += 1
            where = f"task {entry.get('task', entry.get('id'))}"[:50]
            ledger.leave_out("are of an older annotation of the same task", name, where)


def _annotations(task: Object) -> list[Object]:
    entries = _objects(task.get("annotations", task.get("completions")))
    return [entry for entry in entries if not (entry.get("was_cancelled") or entry.get("skipped"))]


def _moment(entry: Object) -> str:
    """Times in ISO 8601, which sort as text."""
    return str(entry.get("updated_at") or entry.get("created_at") or "")


def _regions_of_minimal(task: Object) -> list[Object]:
    """As in the other format, in which a region's geometry is its `value`."""
    lists = [value for value in task.values() if isinstance(value, list)]
    return [{**region, "value": region} for regions in lists for region in _objects(regions)]


def _picture_of(data: Any, task: Object) -> str:
    """The value that ends like a picture, else like a file, `image` first: keys are the interface's choice."""
    values = [value for value in data.values() if isinstance(value, str)] if isinstance(data, dict) else []
    first = data.get("image") if isinstance(data, dict) else None
    upload = task.get("file_upload")
    candidates = [value for value in (first, *values, upload) if isinstance(value, str)]
    likely = [value for value in candidates if "." in value.rsplit("/", 1)[-1] and ("/" in value or " " not in value)]
    drawn = [value for value in likely if _ends_like_a_picture(value) or _ends_like_a_picture(value.partition("?")[0])]
    return next(iter([*drawn, *likely, *candidates]), f"task {task.get('id')}"[:50])


def _ends_like_a_picture(address: str) -> bool:
    return PurePosixPath(address).suffix.lower() in READ_SUFFIXES | LIKELY_PICTURES


def _original_size(regions: list[Object]) -> tuple[float, float] | None:
    for region in regions:
        size = numbers((region.get("original_width"), region.get("original_height")))
        if size and min(size) > 0:
            return size[0], size[1]
    return None


def _objects(value: Any) -> list[Object]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _value(region: Object) -> Object:
    value = region.get("value")
    return value if isinstance(value, dict) else {}


def _shape(region: Object) -> str:
    """`box`, `polygon`, `ellipse`, another shape's name, or nothing for what is no shape, such as a choice."""
    value = _value(region)
    other = next((kind for key, kind in _OTHER_SHAPES.items() if key in value), None)
    if other is not None:
        return other
    if "points" in value:
        return "polygon"
    if "radiusX" in value:
        return "ellipse"
    return "box" if {"x", "y", "width", "height"} <= value.keys() else ""


def _names_of(region: Object) -> list[str]:
    """A region may have several labels: it is then a box of each."""
    if _shape(region) not in ("box", "polygon", "ellipse"):
        return []
    value = _value(region)
    labels: list[object] = next((value[key] for key in _LABELS if isinstance(value.get(key), list)), [])
    return [class_name(label, "Label Studio's export") for label in labels] or [UNLABELLED]


def _add_regions(picture: AnnotatedPicture, regions: list[Object], *, is_measured: bool, ledger: Ledger) -> None:
    where = picture.shown
    # With the tags Rectangle and Labels a box is two results of one id, the second with geometry and label.
    labelled = {str(region.get("id")) for region in regions if any(_value(region).get(key) for key in _LABELS)}
    for region in regions:
        shape = _shape(region)
        if shape not in ("", "box", "polygon", "ellipse"):
            ledger.other_shape(shape, where)
        for name in _names_of(region):
            if name == UNLABELLED and "id" in region and str(region["id"]) in labelled:
                continue
            ledger.source[name] += 1
            _add_region(picture, region, name, is_measured=is_measured, ledger=ledger)


def _add_region(picture: AnnotatedPicture, region: Object, name: str, *, is_measured: bool, ledger: Ledger) -> None:
    value, where = _value(region), picture.shown
    size = picture.size or (100.0, 100.0)
    turned = number(value.get("rotation")) or 0
    edges = _studio_edges(value, (size[0] / 100, size[1] / 100))
    if name == UNLABELLED:
        ledger.leave_out("have no label", name, where)
    elif number(region.get("image_rotation")):
        ledger.leave_out("are of a picture that was turned in Label Studio", name, where)
    elif turned and not is_measured:
        ledger.leave_out("are turned in a picture whose size the export does not say", name, where)
    elif edges is None:
        ledger.leave_out(NO_BOX, name, where)
    else:
        if turned:
            ledger.remark(TURNED, name, where)
        picture.boxes.append(Box(name, *edges))


def _studio_edges(value: Object, unit: tuple[float, float]) -> Edges | None:
    """From percent to the unit of the picture's size. A box turns about its first corner, clockwise."""
    angle = number(value.get("rotation")) or 0
    if "points" in value:
        points = value["points"] if isinstance(value["points"], list) else []
        flat = numbers(part for point in points if isinstance(point, list) and len(point) == 2 for part in point)
        return extent([part * unit[index % 2] for index, part in enumerate(flat)]) if flat else None
    keys = ("x", "y", "radiusX", "radiusY") if "radiusX" in value else ("x", "y", "width", "height")
    found = numbers(value.get(key) for key in keys)
    if found is None:
        return None
    x, y, width, height = found[0] * unit[0], found[1] * unit[1], found[2] * unit[0], found[3] * unit[1]
    if "radiusX" in value:
        return around_ellipse((x, y), (width, height), angle)
    return _turned_about_corner(x, y, (width, height), angle)


def _turned_about_corner(x: float, y: float, size: tuple[float, float], degrees: float) -> Edges:
    if not degrees:
        return x, y, x + size[0], y + size[1]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    centre = x + (size[0] * cosine - size[1] * sine) / 2, y + (size[0] * sine + size[1] * cosine) / 2
    return around_turned_box(centre, size, degrees)
