"""A folder without a data.yaml is said to be what it is."""

import json
from pathlib import Path, PurePosixPath

import pytest

from masktrain_trainer.data.convert import recognise as module
from masktrain_trainer.data.convert.recognise import find_exports, recognise
from masktrain_trainer.data.source.data_yaml import read_data_yaml
from masktrain_trainer.data.source.file_list import FileList, list_files
from masktrain_trainer.errors import InvalidDataset
from tests.unit.trainer.data.convert.drawn import EXPORTS, coco_document, drawn_set, studio_task
from tests.unit.trainer.data.exports import Members, unpacked

CREATE_ML = [
    {"image": "x.jpg", "annotations": [{"label": "a", "coordinates": {"x": 1, "y": 2, "width": 3, "height": 4}}]}
]
LABEL_ME: dict[str, object] = {"version": "5.4.1", "flags": {}, "shapes": [], "imagePath": "x.jpg", "imageData": None}
VIA = {"_via_img_metadata": {"x.jpg1": {"regions": [{"shape_attributes": {"name": "rect"}, "region_attributes": {}}]}}}
TASK = studio_task(0, drawn_set()[1])


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"train/_annotations.coco.json": "{}"}, "a COCO export (train/_annotations.coco.json); run `masktrain"),
        (
            {"annotations/instances_train.json": json.dumps(coco_document([]))},
            "a COCO export (annotations/instances_tr",
        ),
        ({"x.json": "\ufeff" + json.dumps(coco_document([]), indent=1)}, "a COCO export (x.json)"),
        ({"x.json": json.dumps([TASK])}, "a Label Studio export (x.json); run `masktrain data convert SOURCE DEST"),
        ({"x.json": json.dumps([TASK], indent=2)}, "a Label Studio export (x.json)"),
        ({"a.xml": "<?xml version='1.0'?>\n<!-- x -->\n<annotations><version>1.1</version>"}, "a CVAT export (a.xml)"),
        ({"a/b.xml": '<annotation verified="no">'}, "a Pascal VOC export (a/b.xml)"),
        ({"obj.names": "a"}, "a Darknet YOLO export (obj.names)"),
        ({"train/_darknet.labels": "a"}, "a Darknet YOLO export (train/_darknet.labels)"),
        ({"classes.txt": "a", "notes.json": '{"categories": [{"id": 0, "name": "a"}], "info": {}}'}, "a Darknet YOLO"),
        (
            {"train/_annotations.createml.json": json.dumps(CREATE_ML)},
            "a CreateML export (train/_annotations.createml.",
        ),
        ({"x.json": json.dumps(CREATE_ML)}, "a CreateML export (x.json), which cannot be converted; export the data"),
        ({"x.json": json.dumps(LABEL_ME)}, "a LabelMe export (x.json), which cannot be converted"),
        ({"via.json": json.dumps(VIA)}, "a VGG Image Annotator export (via.json), which cannot be converted"),
        ({"train/cars.tfrecord": b"\0"}, "a TFRecord export (train/cars.tfrecord), which cannot be converted"),
        ({"train/_annotations.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n"}, "a TensorFlow CSV export"),
        ({"labels.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n"}, "a TensorFlow CSV export (labels.csv)"),
    ],
)
def test_exports_are_known_by_names_and_first_bytes(members: Members, what: str, tmp_path: Path) -> None:
    said = recognise(list_files(unpacked(tmp_path, members)))
    assert said is not None
    assert said.startswith(what)


@pytest.mark.parametrize(
    "members",
    [
        {}, {"x.jpg": b"x"}, {"x.json": "{}"}, {"x.json": "["},
        {"package.json": '{"name": "images", "annotations": 1}'},
        {"x.xml": "<html/>"}, {"x.csv": "a,b"}, {".hidden/_annotations.coco.json": "{}"}, {"._x.xml": "<annotation>"},
        {"x.json": b"\xff\xfe\x00\xd8"}, {"x.xml": b"\0" * 10_000},
    ],
)  # fmt: skip
def test_other_files_are_nothing(members: Members, tmp_path: Path) -> None:
    assert recognise(list_files(unpacked(tmp_path, members))) is None


@pytest.mark.parametrize("tool", EXPORTS)
def test_training_on_an_export_says_what_it_is_and_what_to_do(tool: str, tmp_path: Path) -> None:
    unpacked(tmp_path, EXPORTS[tool](drawn_set()))
    kind = tool.split(" by ", maxsplit=1)[0].split(" for ", maxsplit=1)[0].split(" JSON", maxsplit=1)[0]
    kind = kind if not kind.startswith(("YOLO", "Darknet")) else "Darknet YOLO"
    with pytest.raises(InvalidDataset) as caught:
        read_data_yaml(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"The data set is a {kind} export (")
    assert said.endswith("run `masktrain data convert SOURCE DESTINATION`, or export the data set as 'YOLOv5 PyTorch'.")


def test_a_large_export_is_known_by_its_ends(tmp_path: Path) -> None:
    """Without reading it: the middle is not even JSON."""
    document = json.dumps(coco_document(drawn_set()))
    path = tmp_path / "instances.json"
    path.write_text(document[:2000])
    with path.open("r+b") as file:
        file.seek(1 << 33)
        file.write(document[-2000:].encode())
    assert (recognise(list_files(tmp_path)) or "").startswith("a COCO export (instances.json)")


def test_few_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked(tmp_path, {f"{index}.xml": "<annotation>" for index in range(100)})
    opened = list[object]()
    sniff = module._beginning_and_end

    def counted(files: FileList, name: PurePosixPath) -> bytes:
        opened.append(name)
        return sniff(files, name)

    monkeypatch.setattr(module, "_beginning_and_end", counted)
    files = list_files(tmp_path)
    assert (recognise(files) or "").startswith("a Pascal VOC export (0.xml)")
    assert len(opened) <= 20
    assert [len(found.names) for found in find_exports(files)] == [100]
