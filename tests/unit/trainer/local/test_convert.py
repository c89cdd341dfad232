"""Exports of other tools become data sets: the same boxes, class by class, or a sentence and nothing."""

import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masktrain_trainer.cli.main import main
from masktrain_trainer.data.source.data_yaml import read_data_yaml
from masktrain_trainer.errors import InvalidConfiguration, InvalidDataset, UserError
from masktrain_trainer.local.convert import ConvertOptions, convert_dataset
from masktrain_trainer.local.datasets import check_dataset
from tests.unit.trainer.data.convert.drawn import (
    EXPORTS,
    NAMES,
    Drawn,
    coco_document,
    cvat_image,
    cvat_meta,
    drawn_set,
    studio_region,
    studio_task,
    voc_document,
)
from tests.unit.trainer.data.exports import Members, export, unpacked, zipped

FOLDERS = {"train": "train", "val": "valid", "test": "test"}
Boxes = dict[tuple[str, str], list[tuple[str, float, float, float, float]]]
"""By split and picture, with the class's name."""


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def convert(tmp_path: Path, members: Members, **options: Any) -> tuple[Path, list[str]]:
    lines = list[str]()
    source = unpacked(tmp_path / "source", members)
    convert_dataset(str(source), tmp_path / "made", ConvertOptions(**options), lines.append)
    return tmp_path / "made", lines


def sentence(tmp_path: Path, members: Members, **options: Any) -> str:
    """What a conversion that fails says; it leaves nothing behind."""
    with pytest.raises(UserError) as caught:
        convert(tmp_path, members, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names_of(folder: Path) -> list[str]:
    return read_data_yaml(folder).names


def boxes_of(folder: Path) -> Boxes:
    found: Boxes = {}
    names = names_of(folder)
    for path in sorted(folder.glob("*/labels/*.txt")):
        rows = [row.split() for row in path.read_text(encoding="utf-8").splitlines()]
        boxes = [(names[int(label)], float(x), float(y), float(w), float(h)) for label, x, y, w, h in rows]
        found[path.parts[-3], path.stem] = sorted(boxes)
    return found


def drawn_boxes(pictures: list[Drawn]) -> Boxes:
    return {
        (drawn.split, drawn.stem): sorted((NAMES[label], x, y, w, h) for label, x, y, w, h in drawn.fractions)
        for drawn in pictures
    }


def same(found: Boxes, expected: Boxes) -> bool:
    """Equal within a millionth of a side."""
    assert found.keys() == expected.keys()
    for key, boxes in expected.items():
        assert [box[0] for box in found[key]] == [box[0] for box in boxes], key
        assert [box[1:] for box in found[key]] == [pytest.approx(box[1:], abs=1e-6) for box in boxes], key
    return True


def of_coco(pictures: list[Drawn], **changes: Any) -> Members:
    """One file at the top; `changes` replace its lists."""
    members: Members = {"result.json": json.dumps({**coco_document(pictures), **changes})}
    return members | {f"images/{drawn.name}": drawn.pixels() for drawn in pictures}


def of_cvat(images: str, pictures: list[Drawn], what: str = "task") -> Members:
    members: Members = {"annotations.xml": f"<annotations>{cvat_meta(what)}{images}</annotations>"}
    return members | {f"images/{drawn.name}": drawn.pixels() for drawn in pictures}


@pytest.mark.parametrize("tool", EXPORTS)
def test_every_export_is_converted_box_by_box(tool: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = drawn_set()
    expected = drawn_boxes(pictures)
    if tool == "Pascal VOC by the kit":  # whose names have no blanks
        expected = {(split, stem.replace(" ", "_")): boxes for (split, stem), boxes in expected.items()}
    folder, lines = convert(tmp_path, EXPORTS[tool](pictures))
    assert same(boxes_of(folder), expected)
    has_an_order = not tool.startswith(("Label Studio", "Pascal VOC by Roboflow"))
    assert names_of(folder) == (NAMES if has_an_order else sorted(NAMES))
    assert not [line for line in lines if "boxes that" in line]
    counts = Counter(box[0] for boxes in expected.values() for box in boxes)
    printed = capsys.readouterr().out
    for name, count in counts.items():
        assert re.search(rf"{re.escape(name)} +│ +{count} │ +{count} │ +0 ", printed), printed


@pytest.mark.parametrize("tool", EXPORTS)
def test_what_was_converted_can_be_trained_on(tool: str, tmp_path: Path) -> None:
    pictures = drawn_set()
    folder, _ = convert(tmp_path, EXPORTS[tool](pictures))
    (tmp_path / "pixels").mkdir()
    checked = check_dataset(folder, tmp_path / "pixels", lambda _: None, image_size=64)
    boxes = {split: sum(map(len, verified.targets)) for split, verified in checked.splits.items()}
    for split, name in FOLDERS.items():
        assert boxes[split] == sum(len(drawn.rows) for drawn in pictures if drawn.split == name)
    assert checked.skipped == []


@pytest.mark.parametrize("tool", EXPORTS)
def test_a_zip_is_converted_like_its_folder(tool: str, tmp_path: Path) -> None:
    members = EXPORTS[tool](drawn_set())
    folder, _ = convert(tmp_path, members)
    (tmp_path / "export.zip").write_bytes(zipped(members))
    convert_dataset(str(tmp_path / "export.zip"), tmp_path / "zipped", ConvertOptions(), lambda _: None)
    made = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert made == {
        path.relative_to(tmp_path / "zipped"): path.read_bytes()
        for path in (tmp_path / "zipped").rglob("*")
        if path.is_file()
    }


def one_set(count: int = 10) -> list[Drawn]:
    return drawn_set(splits=("train",) * count)


def split_members(folder: Path, split: str) -> set[str]:
    return {path.stem for path in (folder / FOLDERS[split] / "images").iterdir()}


def test_a_source_of_one_set_is_split_by_the_seed(tmp_path: Path) -> None:
    pictures = one_set()
    drawn = {}
    for name, options in (("a", {}), ("b", {}), ("c", {"seed": 1}), ("d", {"validation": 0.4})):
        folder, lines = convert(tmp_path / name, of_coco(pictures), **options)
        drawn[name] = split_members(folder, "val")
        assert split_members(folder, "train") | drawn[name] == {picture.stem for picture in pictures}
        assert [line for line in lines if "no validation set in the source" in line]
    assert drawn["a"] == drawn["b"] != drawn["c"]
    assert [len(drawn[name]) for name in "acd"] == [2, 2, 4]


def test_a_validation_set_of_the_source_is_not_drawn_anew(tmp_path: Path) -> None:
    members = EXPORTS["COCO by Roboflow"](drawn_set())
    assert "has a validation set of its own; leave --val out" in sentence(tmp_path, members, validation=0.1)


def test_one_picture_is_too_few_for_two_sets(tmp_path: Path) -> None:
    assert "too few to draw" in sentence(tmp_path, of_coco(drawn_set(splits=("train", "train"))[1:]))


def test_a_source_without_training_pictures_is_refused(tmp_path: Path) -> None:
    members = EXPORTS["COCO by Roboflow"](drawn_set(splits=("valid", "valid", "test")))
    assert "has no training pictures, only those of test, val" in sentence(tmp_path, members)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    unpacked(tmp_path / "made", {"precious.txt": "mine"})
    with pytest.raises(InvalidConfiguration, match="exists already; name a new folder"):
        convert(tmp_path, of_coco(one_set()))
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["precious.txt"]


def test_an_empty_folder_may_be_the_destination(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    folder, _ = convert(tmp_path, of_coco(one_set()))
    assert (folder / "data.yaml").is_file()


def test_the_destination_is_not_within_the_source(tmp_path: Path) -> None:
    source = unpacked(tmp_path / "source", of_coco(one_set()))
    with pytest.raises(InvalidConfiguration, match=r"is within .*; name a folder outside of it"):
        convert_dataset(str(source), source / "made", ConvertOptions(), lambda _: None)


def test_pictures_are_linked_and_not_copied_where_that_is_possible(tmp_path: Path) -> None:
    folder, _ = convert(tmp_path, of_coco(one_set()))
    assert {path.stat().st_nlink for path in folder.rglob("*.jpg")} == {2}


def test_a_link_within_the_source_becomes_a_picture(tmp_path: Path) -> None:
    source = unpacked(tmp_path / "source", of_coco(one_set()))
    (source / "images").rename(source / "elsewhere")
    (source / "images").symlink_to(source / "elsewhere")
    for path in (source / "elsewhere").iterdir():
        path.rename(source / f"real-{path.name}")
        path.symlink_to(source / f"real-{path.name}")
    with pytest.raises(InvalidDataset, match="may be "):  # by two ways, of which neither is meant more
        convert_dataset(str(source), tmp_path / "made", ConvertOptions(), lambda _: None)
    (source / "images").unlink()
    convert_dataset(str(source), tmp_path / "made", ConvertOptions(), lambda _: None)
    assert all(path.is_file() and not path.is_symlink() for path in (tmp_path / "made").rglob("*.jpg"))


def test_pictures_that_are_missing_are_counted_and_named(tmp_path: Path) -> None:
    pictures = one_set()
    members = of_coco(pictures)
    del members["images/pic 3.jpg"]
    folder, lines = convert(tmp_path, members)
    assert "left out, pictures: 1 of 10 (pic 3.jpg is not there)" in lines
    assert "left out, boxes that are of a picture that is left out: 3 (pic 3.jpg, …)" in lines
    assert not list(folder.rglob("pic 3.*"))


def test_an_export_without_its_pictures_says_so(tmp_path: Path) -> None:
    members = {"annotations.xml": of_cvat("".join(map(cvat_image, one_set())), [])["annotations.xml"]}
    assert "the first: pic 0.jpg is not there); export it with its pictures" in sentence(tmp_path, members)


def test_pictures_that_the_export_does_not_know_are_counted_and_named(tmp_path: Path) -> None:
    pictures = one_set()
    extra: Members = {"images/more.png": pictures[0].pixels(), "other/pic 1.txt": ""}
    _, lines = convert(tmp_path, of_coco(pictures) | extra)
    assert "left out, pictures that the export does not name: 1 (images/more.png)" in lines


@pytest.mark.parametrize(
    "said", ["../../outside.jpg", "/etc/outside.jpg", "C:\\x\\outside.jpg", "images/../../outside.jpg"]
)
def test_no_path_of_an_export_leads_out_of_it(tmp_path: Path, said: str) -> None:
    pictures = one_set()
    unpacked(tmp_path, {"outside.jpg": pictures[1].pixels()})
    document = coco_document(pictures)
    document["images"][1]["file_name"] = said  # type: ignore[index]
    folder, lines = convert(tmp_path, of_coco(pictures, images=document["images"]))
    assert [line for line in lines if "left out, pictures: 1 of 10" in line and "is not there" in line]
    assert not list(folder.rglob("outside*"))


@pytest.mark.parametrize(
    "said", ["images/pic 1.jpg", "/home/me/images/pic 1.jpg", "images\\pic 1.jpg", "https://x.y/a/pic%201.jpg?key=1"]
)
def test_paths_of_other_machines_are_found_by_their_end(tmp_path: Path, said: str) -> None:
    pictures = one_set()
    document = coco_document(pictures)
    document["images"][1]["file_name"] = said  # type: ignore[index]
    folder, lines = convert(tmp_path, of_coco(pictures, images=document["images"]))
    assert not [line for line in lines if "left out" in line]
    assert list(folder.rglob("pic 1.txt"))


def test_boxes_that_are_none_are_counted_class_by_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """COCO itself has boxes without area and crowds."""
    pictures = one_set(5)
    good = coco_document(pictures)["annotations"]
    assert isinstance(good, list)
    width, height = pictures[0].width, pictures[0].height

    def odd(**changes: Any) -> dict[str, Any]:
        return {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 20], "iscrowd": 0, **changes}

    annotations = [
        *good,
        odd(bbox=[1, 2, 0, 20]),
        odd(bbox=[1, 2, -5, 20]),
        odd(bbox=[width + 1, 2, 5, 5]),
        odd(bbox=[1, 2, 30]),
        odd(bbox=[1, 2, "wide", 5]),
        odd(bbox=[1, 2, float("nan"), 5]),
        odd(bbox=[1, 2, 10**400, 5]),
        odd(iscrowd=1),
        odd(category_id=99),
        odd(image_id=99),
        odd(bbox=[-4, -3, width + 9, height + 9]),
        odd(bbox=[], segmentation=[[1, 2, 31, 2, 31, 22], [1, 30, 2, 30, 2, 31]]),
    ]
    folder, lines = convert(tmp_path, of_coco(pictures, annotations=annotations))
    assert "left out, boxes that have no area: 2 (pic 0.jpg, …)" in lines
    assert "left out, boxes that lie outside their picture: 1 (pic 0.jpg)" in lines
    assert "left out, boxes that have no four numbers for their edges: 4 (pic 0.jpg, …)" in lines
    assert "left out, boxes that are crowds, one region for many objects (iscrowd): 1 (pic 0.jpg)" in lines
    assert "left out, boxes that have a category that the export does not name: 1 (pic 0.jpg)" in lines
    assert [line for line in lines if "are of a picture that the export does not list: 1" in line]
    assert "kept, boxes that reached beyond their picture and were cut at its edge: 1 (pic 0.jpg)" in lines
    whole = ("zebra", 0.5, 0.5, 1, 1)
    outline = ("zebra", 16 / width, 16.5 / height, 30 / width, 29 / height)
    found = next(boxes for (_, stem), boxes in boxes_of(folder).items() if stem == "pic 0")
    assert found[0][1:] == pytest.approx(outline[1:], abs=1e-6)
    assert found[1][1:] == pytest.approx(whole[1:], abs=1e-6)
    written = sum(map(len, boxes_of(folder).values()))
    assert re.search(
        rf"all +│ +{len(annotations)} │ +{written} │ +{len(annotations) - written} ", capsys.readouterr().out
    )
    assert written == len(good) + 2


def test_a_turned_box_becomes_the_upright_box_around_it(tmp_path: Path) -> None:
    """A square of 20 about (32, 24), turned by 45 degrees: in CVAT about its centre, in Label Studio about a corner."""
    pictures = one_set(3)
    first = pictures[0]
    half = 20 / 2**0.5
    around = pytest.approx((32 / 64, 24 / 48, 2 * half / 64, 2 * half / 48), abs=1e-6)
    shape = '<box label="apple" xtl="22" ytl="14" xbr="42" ybr="34" rotation="45" occluded="0"></box>'
    images = cvat_image(first, shape) + "".join(map(cvat_image, pictures[1:]))
    region = studio_region(first, (1, 32, 24 - half, 20, 20), "t")
    region["value"]["rotation"] = 45  # type: ignore[index]
    task = studio_task(0, first)
    task["annotations"][0]["result"] = [region]  # type: ignore[index]
    studio: Members = {"export.json": json.dumps([task, *(studio_task(i, pictures[i]) for i in (1, 2))])}
    turned = [{"id": 1, "image_id": 0, "category_id": 8, "bbox": [22, 14, 20, 20], "attributes": {"rotation": 45.0}}]
    for name, members in (
        ("cvat", of_cvat(images, pictures)),
        ("studio", studio | {f"images/{drawn.name}": drawn.pixels() for drawn in pictures}),
        ("coco", of_coco(pictures, annotations=turned)),
    ):
        folder, lines = convert(tmp_path / name, members)
        found = next(boxes for (_, stem), boxes in boxes_of(folder).items() if stem == "pic 0")
        assert [box[0] for box in found] == ["apple"], name
        assert found[0][1:] == around, name
        assert "kept, boxes that are turned and became the upright box around them: 1 (" in " ".join(lines)


def test_other_shapes_are_refused_unless_boxes_are_enough(tmp_path: Path) -> None:
    pictures = one_set(4)
    shapes = (
        '<polyline label="apple" points="1,2;3,4"></polyline><points label="apple" points="1,2"></points>'
        '<mask label="apple" rle="1, 2" left="1" top="1" width="3" height="1"></mask>'
        '<skeleton label="apple"><points label="eye" points="1,2"></points></skeleton>'
    )
    members = of_cvat(cvat_image(pictures[0], shapes) + "".join(map(cvat_image, pictures[1:])), pictures)
    said = sentence(tmp_path, members)
    assert "lines: 1 (pic 0.jpg), points: 1 (pic 0.jpg), masks: 1 (pic 0.jpg), skeletons: 1 (pic 0.jpg)" in said
    assert said.endswith("; convert it without them by --boxes-only.")
    folder, lines = convert(tmp_path, members, boxes_only=True)
    assert [line for line in lines if line.startswith("left out, shapes that are no boxes, lines: 1")]
    assert sum(map(len, boxes_of(folder).values())) == sum(len(drawn.rows) for drawn in pictures)


def test_outlines_become_the_boxes_around_them(tmp_path: Path) -> None:
    pictures = one_set(2)
    shapes = (
        '<polygon label="apple" points="10.0,12.0;20.0,12.0;15.0,30.0"></polygon>'
        '<ellipse label="zebra" cx="32" cy="24" rx="8" ry="4" rotation="90.0"></ellipse>'
    )
    folder, _ = convert(tmp_path, of_cvat(cvat_image(pictures[0], shapes) + cvat_image(pictures[1]), pictures))
    found = next(boxes for (_, stem), boxes in boxes_of(folder).items() if stem == "pic 0")
    assert [box[1:] for box in found] == [
        pytest.approx((15 / 64, 21 / 48, 10 / 64, 18 / 48), abs=1e-6),
        pytest.approx((32 / 64, 24 / 48, 8 / 64, 16 / 48), abs=1e-6),
    ]


def test_pictures_of_one_name_in_several_folders_stay_apart(tmp_path: Path) -> None:
    one, other = Drawn("a/x.jpg", "train", 64, 48, [(0, 1, 2, 30, 20)]), Drawn("b/x.jpg", "train", 64, 48, [])
    third = Drawn("b/x.png", "train", 64, 48, [(1, 5, 6, 30, 20)])
    pictures = [one, other, third]
    folder, _ = convert(tmp_path, of_cvat("".join(map(cvat_image, pictures)), pictures), validation=0.01)
    found = {stem: [box[0] for box in boxes] for (_, stem), boxes in boxes_of(folder).items()}
    assert sorted(map(str, found.values())) == ["['apple']", "['zebra']", "[]"]
    assert len(list(folder.rglob("*.jpg"))) == 2
    for path in folder.glob("*/images/*"):
        drawn = next(drawn for drawn in pictures if drawn.pixels() == path.read_bytes())
        assert found[path.stem] == [NAMES[row[0]] for row in drawn.rows]


def test_a_picture_of_another_shape_than_its_export_says_is_left_out(tmp_path: Path) -> None:
    """Boxes would lie elsewhere; a scaled copy is as good as the original."""
    pictures = one_set(6)
    members = of_coco(pictures)
    members["images/pic 2.jpg"] = Drawn("x", "train", pictures[2].height, pictures[2].width, []).pixels()
    members["images/pic 3.jpg"] = Drawn("x", "train", pictures[3].width * 2, pictures[3].height * 2, []).pixels()
    folder, lines = convert(tmp_path, members)
    assert "left out, pictures: 1 of 6 (pic 2.jpg measures 56 x 80 pixels, and its export says 80 x 56)" in lines
    expected = {stem: boxes for (_, stem), boxes in drawn_boxes(pictures).items() if stem == "pic 3"}
    found = {stem: boxes for (_, stem), boxes in boxes_of(folder).items() if stem == "pic 3"}
    assert [box[1:] for box in found["pic 3"]] == [pytest.approx(box[1:], abs=1e-6) for box in expected["pic 3"]]


def test_a_damaged_picture_is_left_out_and_named(tmp_path: Path) -> None:
    members = of_coco(one_set(6))
    members["images/pic 2.jpg"] = b"no picture"
    _, lines = convert(tmp_path, members)
    assert "left out, pictures: 1 of 6 (pic 2.jpg cannot be read: it cannot be decoded as an image)" in lines


def test_a_picture_that_is_annotated_twice_is_refused(tmp_path: Path) -> None:
    pictures = one_set(3)
    members = of_coco(pictures) | {"again.json": json.dumps(coco_document(pictures))}
    assert "is annotated twice, as 'pic 0.jpg' and as 'pic 0.jpg'" in sentence(tmp_path, members)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (export(), "has a data.yaml and is read as it is; train on it without converting it"),
        (export() | {"data.yaml": "names: []"}, "has a data.yaml, so it is not converted but mended: "),
        ({"x.txt": ""}, "holds no export that is known: COCO, Label Studio, CVAT, Pascal VOC, Darknet YOLO."),
        ({"a/x.tfrecord": b"1"}, "is a TFRecord export (a/x.tfrecord), which cannot be converted"),
        (
            of_coco(one_set(2)) | {"x.xml": voc_document(one_set(1)[0])},
            "holds a COCO export (result.json) and a Pascal VOC export (x.xml); leave only one of them in it",
        ),
        (of_coco(one_set(2), annotations=[]), "The export has no box that can be taken"),
        (of_coco(one_set(2), images=None), "result.json has no list 'images' as a COCO export has"),
        (of_coco(one_set(2), categories=[{"id": 1, "name": ""}]), "result.json has a class without a name"),
        (of_coco(one_set(2), categories=[]), "names 0 classes"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_gets_a_sentence(tmp_path: Path, members: Members, said: str) -> None:
    assert said in sentence(tmp_path, members)


def test_boxes_in_fractions_where_pixels_are_due_are_refused(tmp_path: Path) -> None:
    entry = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [0.1, 0.2, 0.5, 0.5]}
    assert "All 1 boxes of the export end within one pixel" in sentence(
        tmp_path, of_coco(one_set(3), annotations=[entry])
    )


def test_one_file_of_an_export_is_not_enough(tmp_path: Path) -> None:
    source = unpacked(tmp_path / "source", of_coco(one_set(3)))
    with pytest.raises(InvalidDataset, match=r"result.json is one file of an export; give the folder that holds it"):
        convert_dataset(str(source / "result.json"), tmp_path / "made", ConvertOptions(), lambda _: None)


def test_class_names_survive_yaml(tmp_path: Path) -> None:
    names = ["yes", "12:30", "007", "null", "a: b", "猫", "[x]", "- y", "1e3", "é"]
    pictures = [Drawn(f"{i}.jpg", "train", 64, 48, [(0, 1, 2, 30, 20)]) for i in range(3)]
    document = coco_document(pictures)
    document["categories"] = [{"id": key, "name": name} for key, name in enumerate(names, 1)]
    folder, _ = convert(tmp_path, of_coco(pictures, categories=document["categories"]))
    assert names_of(folder) == names
    assert yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))["nc"] == len(names)


def test_a_box_that_is_lost_without_a_reason_fails_the_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from masktrain_trainer.local import convert as module  # noqa: PLC0415

    monkeypatch.setattr(module, "_fractions", lambda box, *_: None if box.name == "apple" else (0.5, 0.5, 0.1, 0.1))
    assert "What was written is not what the export holds (apple differ)" in sentence(tmp_path, of_coco(one_set(8)))


def test_the_command_converts_and_says_where_to(tmp_path: Path) -> None:
    source = unpacked(tmp_path / "source", EXPORTS["COCO by Roboflow"](drawn_set()))
    result = CliRunner().invoke(main, ["data", "convert", str(source), str(tmp_path / "made")])
    assert result.exit_code == 0, result.output
    assert f"wrote 3 train, 2 val, 1 test pictures to {tmp_path / 'made'}" in result.output


@pytest.mark.parametrize("option", [["--val", "0"], ["--val", "1"], ["--seed", "x"]])
def test_wrong_options_are_wrong_usage(tmp_path: Path, option: list[str]) -> None:
    assert CliRunner().invoke(main, ["data", "convert", str(tmp_path), str(tmp_path / "made"), *option]).exit_code == 2


@pytest.mark.parametrize("source", ["nothing-there", "{tmp}/plain.txt", "ftp://x/y.zip"])
def test_the_command_refuses_in_one_sentence(tmp_path: Path, source: str) -> None:
    (tmp_path / "plain.txt").write_text("x")
    result = CliRunner().invoke(main, ["data", "convert", source.format(tmp=tmp_path), str(tmp_path / "made")])
    assert result.exit_code == 64
    assert result.stderr.startswith("masktrain data convert: ")
    assert len(result.stderr.splitlines()) == 1


@st.composite
def sets(draw: st.DrawFn) -> list[Drawn]:
    """Pictures of several shapes with boxes at hundredths of pixels, some at an edge."""
    pictures = []
    for index in range(draw(st.integers(3, 5))):
        width, height = draw(st.integers(16, 90)), draw(st.integers(16, 90))
        rows = []
        for _ in range(draw(st.integers(0, 4))):
            x, y = draw(st.integers(0, 100 * width - 100)), draw(st.integers(0, 100 * height - 100))
            w, h = draw(st.integers(50, 100 * width - x)), draw(st.integers(50, 100 * height - y))
            rows.append((draw(st.integers(0, 2)), x / 100, y / 100, w / 100, h / 100))
        split = ("train", "valid")[index] if index < 2 else draw(st.sampled_from(("train", "valid", "test")))
        pictures.append(Drawn(f"{index}.jpg", split, width, height, rows))
    if not any(drawn.rows for drawn in pictures):
        pictures[0].rows.append((0, 1.0, 2.0, 3.0, 4.0))
    return pictures


@pytest.mark.parametrize("tool", EXPORTS)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pictures=sets())
def test_any_set_comes_back_as_it_was_drawn(tool: str, pictures: list[Drawn]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made, _ = convert(Path(folder), EXPORTS[tool](pictures))
        assert same(boxes_of(made), drawn_boxes(pictures))
