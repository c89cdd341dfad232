"""Data sets in the layouts that earlier versions took: each is taken, as a zip and as a folder, with the same boxes."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from masktrain_trainer.local.datasets import check_dataset, open_dataset
from tests.unit.trainer.data.exports import Members, picture, unpacked, zipped

BOX, TWO = "0 .5 .5 .4 .3\n", "0 .5 .5 .4 .3\n1 .1 .1 .6 .1 .6 .7\n"
NAMES = "nc: 2\nnames: ['cat', 'dog']\n"
ROBOFLOW = f"train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\n{NAMES}"
RECORD = "\nroboflow:\n  workspace: w\n  project: p\n  version: 1\n  license: CC BY 4.0\n  url: https://example.org/1\n"


def pictures(places: Mapping[str, str], *, ending: str = ".jpg") -> Members:
    """From folders of pictures, each with two of them, to those of their labels: one box, and two."""
    members: Members = {}
    for number, (images, labels) in enumerate(places.items()):
        for index, rows in enumerate([BOX, TWO]):
            members[f"{images}/face_{index}_jpg.rf.{number}0{index}{ending}"] = picture(10 * number + index)
            members[f"{labels}/face_{index}_jpg.rf.{number}0{index}.txt"] = rows
    return members


def in_splits(form: str, *splits: str) -> Members:
    places = {form.format("images", split): form.format("labels", split) for split in splits or ("train", "valid")}
    return pictures(places)


ROBOFLOWS = in_splits("{1}/{0}", "train", "valid", "test")
TWO_SPLITS = in_splits("{1}/{0}")
PATHS = "".join(f"./{name}\n" for name in TWO_SPLITS if name.startswith("train/images"))
YAML = {
    "two": f"train: train/images\nval: valid/images\n{NAMES}",
    "ultralytics": "path: ../datasets/faces\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n",
}
LAYOUTS: dict[str, Members] = {
    "Roboflow's": {"data.yaml": ROBOFLOW, **ROBOFLOWS},
    "Roboflow's with its record": {"data.yaml": ROBOFLOW + RECORD, "README.roboflow.txt": "Faces", **ROBOFLOWS},
    "Roboflow's without a test split": {"data.yaml": ROBOFLOW, **TWO_SPLITS},
    "in a folder of the project": {
        f"Faces-3/{name}": body for name, body in ({"data.yaml": ROBOFLOW} | ROBOFLOWS).items()
    },
    "beside data.yaml": {"data.yaml": YAML["two"], **TWO_SPLITS},
    "absolute, on the machine that exported": {
        "data.yaml": f"train: /content/Faces-3/train/images\nval: /content/Faces-3/valid/images\n{NAMES}",
        **TWO_SPLITS,
    },
    "of Windows": {
        "data.yaml": "train: ..\\train\\images\r\nval: C:\\sets\\valid\\images\r\nnames: [cat, dog]\r\n",
        **{name: body.replace("\n", "\r\n") if isinstance(body, str) else body for name, body in TWO_SPLITS.items()},
    },
    "with a byte order mark": {
        "data.yaml": b"\xef\xbb\xbf" + YAML["two"].encode(),
        **{
            name: b"\xef\xbb\xbf" + body.encode() if isinstance(body, str) else body
            for name, body in TWO_SPLITS.items()
        },
    },
    "folders without images": {"data.yaml": f"train: train\nval: valid\n{NAMES}", **TWO_SPLITS},
    "images and labels at the top": {"data.yaml": YAML["ultralytics"], **in_splits("{0}/{1}", "train", "val")},
    "val called valid": {"data.yaml": ROBOFLOW.replace("valid", "val"), **TWO_SPLITS},
    "labels beside pictures": {
        "data.yaml": f"train: train\nval: val\n{NAMES}",
        **pictures({"train": "train", "val": "val"}),
    },
    "deeper folders": {
        "data.yaml": YAML["two"],
        **pictures({"train/images/a/b": "train/labels/a/b", "valid/images/a b": "valid/labels/a b"}),
    },
    "several folders": {
        "data.yaml": f"train: [a/images, b/images]\nval: [valid/images]\n{NAMES}",
        **pictures({"a/images": "a/labels", "valid/images": "valid/labels"}),
        "b/images/background.jpg": picture(77),
    },
    "a list of pictures": {
        "data.yaml": f"train: train.txt\nval: valid/images\n{NAMES}",
        "train.txt": PATHS,
        **TWO_SPLITS,
    },
    "the yaml is called otherwise": {"faces.yaml": YAML["two"], **TWO_SPLITS},
    "a yml": {"data.yml": YAML["two"], **TWO_SPLITS},
    "a model's yaml beside": {
        "data.yaml": YAML["two"],
        "models/yolov5s.yaml": "nc: 80\ndepth_multiple: 0.33\n",
        **TWO_SPLITS,
    },
    "capital endings": {
        "data.yaml": YAML["two"],
        **pictures({"train/images": "train/labels", "valid/images": "valid/labels"}, ending=".JPG"),
    },
    "what macOS adds": {
        "data.yaml": YAML["two"],
        **TWO_SPLITS,
        ".DS_Store": b"\0",
        "__MACOSX/train/images/._face_0.jpg": b"\0\5\x16\7",
    },
    "caches and notes": {
        "data.yaml": YAML["two"],
        **TWO_SPLITS,
        "train/labels.cache": b"\x80pickle",
        "classes.txt": "cat\ndog\n",
        "notes.json": "{}",
    },
}
BACKGROUNDS = {"several folders": 1}


@pytest.mark.parametrize("kind", ["zip", "folder"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_taken_is_taken(tmp_path: Path, layout: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masktrain_trainer.local.datasets.cpu_limit", lambda: 1)
    members = LAYOUTS[layout]
    place = tmp_path / kind
    if kind == "folder":
        unpacked(place, members)
    else:
        place.write_bytes(zipped(members))
    checked = check_dataset(open_dataset(str(place), None, tmp_path, _nothing), tmp_path, _nothing, image_size=32)
    assert checked.names == ["cat", "dog"]
    assert not checked.skipped
    splits = {"train": [1, 2], "val": [1, 2]} | ({"test": [1, 2]} if any("test/" in name for name in members) else {})
    splits["train"] = [0] * BACKGROUNDS.get(layout, 0) + splits["train"]
    assert {split: sorted(map(len, found.targets)) for split, found in checked.splits.items()} == splits


def _nothing(_: str) -> None:
    pass
