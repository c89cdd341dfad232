"""A small drawn set, and the same set as other tools export it: with the fields and folders that they write.

`EXPORTS` has a writer for each tool; all of them say the same boxes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

import numpy as np

from tests.unit.trainer.data.exports import Members, picture

NAMES = ["zebra", "apple", "kite & co"]
"""Not sorted, so that an order of the source's own shows."""
Row = tuple[int, float, float, float, float]


@dataclass(frozen=True)
class Drawn:
    """A picture; rows are class and left, top, width, height in pixels."""

    name: str
    split: str
    width: int
    height: int
    rows: list[Row]

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def fractions(self) -> list[Row]:
        """As a label file has them."""
        return [
            (label, (x + w / 2) / self.width, (y + h / 2) / self.height, w / self.width, h / self.height)
            for label, x, y, w, h in self.rows
        ]

    def pixels(self) -> bytes:
        return picture(sum(map(ord, self.name)), width=self.width, height=self.height)


def drawn_set(*, splits: tuple[str, ...] = ("train", "train", "train", "valid", "valid", "test")) -> list[Drawn]:
    """One picture for each of `splits`, with 0 to 4 boxes at hundredths of pixels."""
    rng = np.random.default_rng(7)
    found = []
    for index, split in enumerate(splits):
        width, height = 64 + 8 * index, 48 + 4 * index
        rows = list[Row]()
        for _ in range(index % 5):
            x, y = rng.uniform(0, width / 2), rng.uniform(0, height / 2)
            w, h = rng.uniform(5, width / 2), rng.uniform(5, height / 2)
            rows.append((int(rng.integers(3)), round(x, 2), round(y, 2), round(w, 2), round(h, 2)))
        found.append(Drawn(f"pic {index}.jpg", split, width, height, rows))
    return found


def coco_document(pictures: list[Drawn], first_category: int = 1) -> dict[str, object]:
    """With ids that have gaps, as COCO's own."""
    ids = [first_category + 7 * index for index in range(len(NAMES))]
    annotations = [
        {
            "id": 1000 + 10 * number + place,
            "image_id": number,
            "category_id": ids[label],
            "bbox": [x, y, w, h],
            "area": w * h,
            "segmentation": [],
            "iscrowd": 0,
        }
        for number, drawn in enumerate(pictures)
        for place, (label, x, y, w, h) in enumerate(drawn.rows)
    ]
    return {
        "info": {"year": "2024", "version": "1", "contributor": ""},
        "licenses": [{"id": 1, "url": "", "name": "Unknown"}],
        "categories": [
            {"id": key, "name": name, "supercategory": "things"} for key, name in zip(ids, NAMES, strict=True)
        ],
        "images": [
            {"id": number, "license": 1, "file_name": drawn.name, "height": drawn.height, "width": drawn.width}
            for number, drawn in enumerate(pictures)
        ],
        "annotations": annotations,
    }


def coco_of_roboflow(pictures: list[Drawn]) -> Members:
    """A file in each split's folder, and a first category that no box has: the project."""
    members: Members = {"README.roboflow.txt": "", "README.dataset.txt": ""}
    for split in dict.fromkeys(drawn.split for drawn in pictures):
        own = [drawn for drawn in pictures if drawn.split == split]
        document = coco_document(own)
        categories = document["categories"]
        assert isinstance(categories, list)
        categories.insert(0, {"id": 0, "name": "things", "supercategory": "none"})
        members[f"{split}/_annotations.coco.json"] = json.dumps(document)
        members |= {f"{split}/{drawn.name}": drawn.pixels() for drawn in own}
    return members


def coco_of_coco(pictures: list[Drawn]) -> Members:
    """As cocodataset.org: captions beside instances, and a year behind each split."""
    members: Members = {}
    for split, name in (("train", "train2017"), ("valid", "val2017"), ("test", "test2017")):
        own = [drawn for drawn in pictures if drawn.split == split]
        if own:
            document = coco_document(own)
            members[f"annotations/instances_{name}.json"] = json.dumps(document)
            captions = [{"id": 1, "image_id": 0, "caption": "A zebra."}]
            members[f"annotations/captions_{name}.json"] = json.dumps({**document, "annotations": captions})
            members |= {f"{name}/{drawn.name}": drawn.pixels() for drawn in own}
    return members


def voc_document(drawn: Drawn) -> str:
    objects = "".join(
        f"<object><name>{NAMES[label].replace('&', '&amp;')}</name><pose>Unspecified</pose><truncated>0</truncated>"
        f"<difficult>0</difficult><occluded>0</occluded><bndbox><xmin>{x}</xmin><xmax>{x + w}</xmax><ymin>{y}</ymin>"
        f"<ymax>{y + h}</ymax></bndbox></object>"
        for label, x, y, w, h in drawn.rows
    )
    return (
        f"<annotation><folder></folder><filename>{drawn.name}</filename><path>{drawn.name}</path><source><database>"
        f"roboflow.com</database></source><size><width>{drawn.width}</width><height>{drawn.height}</height><depth>3"
        f"</depth></size><segmented>0</segmented>{objects}</annotation>"
    )


def voc_of_roboflow(pictures: list[Drawn]) -> Members:
    members: Members = {}
    for drawn in pictures:
        members[f"{drawn.split}/{drawn.stem}.xml"] = voc_document(drawn)
        members[f"{drawn.split}/{drawn.name}"] = drawn.pixels()
    return members


def voc_of_the_kit(pictures: list[Drawn]) -> Members:
    """As the development kit, and as CVAT: lists of splits beside lists of single classes, a map of colours."""
    members: Members = {"VOC2012/labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\n"}
    members["VOC2012/labelmap.txt"] = str(members["VOC2012/labelmap.txt"]) + "".join(
        f"{name}:1,2,3::\n" for name in NAMES
    )
    for drawn in pictures:
        members[f"VOC2012/Annotations/{drawn.stem.replace(' ', '_')}.xml"] = voc_document(drawn)
        members[f"VOC2012/JPEGImages/{drawn.name.replace(' ', '_')}"] = drawn.pixels()
    for split, name in (("train", "train"), ("valid", "val"), ("test", "test")):
        own = [drawn.stem.replace(" ", "_") for drawn in pictures if drawn.split == split]
        if own:
            members[f"VOC2012/ImageSets/Main/{name}.txt"] = "".join(f"{stem}\n" for stem in own)
            members[f"VOC2012/ImageSets/Main/zebra_{name}.txt"] = "".join(f"{stem} -1\n" for stem in own)
    return members


def cvat_meta(what: str = "project") -> str:
    labels = "".join(
        f"<label><name>{name.replace('&', '&amp;')}</name><color>#fa3253</color><type>any</type><attributes>"
        "</attributes></label>"
        for name in NAMES
    )
    tag = "<label><name>blurred</name><color>#000000</color><type>tag</type><attributes></attributes></label>"
    return f"<version>1.1</version><meta><{what}><id>1</id><name>p</name><labels>{labels}{tag}</labels></{what}></meta>"


def cvat_image(drawn: Drawn, shapes: str = "", *, subset: str | None = None) -> str:
    boxes = "".join(
        f'<box label={quoteattr(NAMES[label])} source="manual" occluded="0" xtl="{x:.2f}" ytl="{y:.2f}" '
        f'xbr="{x + w:.2f}" ybr="{y + h:.2f}" z_order="0"><attribute name="a">b</attribute></box>'
        for label, x, y, w, h in drawn.rows
    )
    where = "" if subset is None else f' subset="{subset}" task_id="3"'
    return (
        f'<image id="0" name="{drawn.name}"{where} width="{drawn.width}" height="{drawn.height}">{boxes}{shapes}'
        '<tag label="blurred" source="manual"></tag></image>'
    )


def cvat_of_a_project(pictures: list[Drawn]) -> Members:
    """Subsets are the project's own words."""
    words = {"train": "Train", "valid": "Validation", "test": "Test"}
    images = "".join(cvat_image(drawn, subset=words[drawn.split]) for drawn in pictures)
    members: Members = {
        "annotations.xml": f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{cvat_meta()}{images}</annotations>'
    }
    return members | {f"images/{words[drawn.split]}/{drawn.name}": drawn.pixels() for drawn in pictures}


def studio_region(drawn: Drawn, row: Row, key: str) -> dict[str, object]:
    label, x, y, w, h = row
    return {
        "original_width": drawn.width,
        "original_height": drawn.height,
        "image_rotation": 0,
        "value": {
            "x": x / drawn.width * 100,
            "y": y / drawn.height * 100,
            "width": w / drawn.width * 100,
            "height": h / drawn.height * 100,
            "rotation": 0,
            "rectanglelabels": [NAMES[label]],
        },
        "id": key,
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "origin": "manual",
    }


def studio_task(number: int, drawn: Drawn) -> dict[str, object]:
    result = [studio_region(drawn, row, f"r{number}-{place}") for place, row in enumerate(drawn.rows)]
    return {
        "id": number,
        "annotations": [
            {
                "id": 100 + number,
                "completed_by": 1,
                "result": result,
                "was_cancelled": False,
                "ground_truth": False,
                "created_at": "2024-05-05T10:00:00.000000Z",
                "updated_at": "2024-05-05T10:00:00.000000Z",
                "lead_time": 4.2,
                "prediction": {},
            }
        ],
        "file_upload": f"0a1b2c3d-{drawn.name}",
        "drafts": [],
        "predictions": [],
        "data": {"image": f"/data/upload/1/0a1b2c3d-{drawn.name.replace(' ', '%20')}"},
        "meta": {},
        "total_annotations": 1,
        "project": 1,
    }


def label_studio(pictures: list[Drawn]) -> Members:
    """The export, beside the originals in folders of splits: Label Studio's export brings no pictures."""
    tasks = [studio_task(number, drawn) for number, drawn in enumerate(pictures)]
    members: Members = {"project-1-at-2024-05-05-10-00-00000000.json": json.dumps(tasks)}
    return members | {f"{drawn.split}/{drawn.name}": drawn.pixels() for drawn in pictures}


def label_studio_min(pictures: list[Drawn]) -> Members:
    entries = []
    for number, drawn in enumerate(pictures):
        regions = [studio_region(drawn, row, "r") for row in drawn.rows]
        entry: dict[str, object] = {
            "image": f"s3://bucket/some/{drawn.split}/{drawn.name}",
            "id": number,
            "annotator": 1,
            "annotation_id": 100 + number,
            "created_at": "2024-05-05T10:00:00.000000Z",
            "updated_at": "2024-05-05T10:00:00.000000Z",
            "lead_time": 4.2,
        }
        if regions:
            sizes = ("original_width", "original_height")
            entry["label"] = [
                {**value, **{key: region[key] for key in sizes}}
                for region in regions
                if isinstance(value := region["value"], dict)
            ]
        entries.append(entry)
    members: Members = {"export.json": json.dumps(entries)}
    return members | {f"{drawn.split}/{drawn.name}": drawn.pixels() for drawn in pictures}


def yolo_rows(drawn: Drawn) -> str:
    return "".join(f"{label} " + " ".join(f"{value:.9f}" for value in box) + "\n" for label, *box in drawn.fractions)


def darknet_of_roboflow(pictures: list[Drawn]) -> Members:
    members: Members = {}
    for drawn in pictures:
        members[f"{drawn.split}/_darknet.labels"] = "\n".join(NAMES)
        members[f"{drawn.split}/{drawn.name}"] = drawn.pixels()
        members[f"{drawn.split}/{drawn.stem}.txt"] = yolo_rows(drawn)
    return members


def yolo_of_cvat(pictures: list[Drawn]) -> Members:
    members: Members = {
        "obj.data": "classes = 3\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
        "obj.names": "".join(f"{name}\n" for name in NAMES),
        "train.txt": "data/obj_train_data/x.jpg\n",
    }
    for drawn in pictures:
        members[f"obj_{drawn.split.title()}_data/{drawn.name}"] = drawn.pixels()
        members[f"obj_{drawn.split.title()}_data/{drawn.stem}.txt"] = yolo_rows(drawn)
    return members


EXPORTS: dict[str, Callable[[list[Drawn]], Members]] = {
    "COCO by Roboflow": coco_of_roboflow,
    "COCO by COCO": coco_of_coco,
    "Pascal VOC by Roboflow": voc_of_roboflow,
    "Pascal VOC by the kit": voc_of_the_kit,
    "CVAT for images": cvat_of_a_project,
    "Label Studio JSON": label_studio,
    "Label Studio JSON-MIN": label_studio_min,
    "Darknet by Roboflow": darknet_of_roboflow,
    "YOLO 1.1 by CVAT": yolo_of_cvat,
}
