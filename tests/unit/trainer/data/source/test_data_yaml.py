"""Every way in which people and exports name their classes and folders."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from masktrain_trainer.data.source.data_yaml import DataYaml, read_data_yaml
from masktrain_trainer.errors import InvalidDataset, printable
from tests.unit.trainer.data.exports import export, unpacked

ROBOFLOW = ("train/images/a.jpg", "train/images/b.jpg", "valid/images/c.jpg")
COCO = ("images/train2017/a.jpg", "images/train2017/b.jpg", "images/val2017/c.jpg")
SPLITS = "train: ../train/images\nval: ../valid/images\n"


def read(root: Path, text: str | bytes, images: Iterable[str] = ROBOFLOW, name: str = "data.yaml") -> DataYaml:
    """Pictures that nobody decodes, and the yaml."""
    unpacked(root / "set", {**dict.fromkeys(images, b"x"), name: text})
    return read_data_yaml(root / "set")


def refusal(root: Path, text: str | bytes, images: Iterable[str] = ROBOFLOW) -> str:
    with pytest.raises(InvalidDataset) as caught:
        read(root, text, images)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def found(described: DataYaml) -> dict[str, list[str]]:
    """The pictures of each split, by their names in the data set."""
    root = described.files.root
    return {split: [path.relative_to(root).as_posix() for path in paths] for split, paths in described.images.items()}


def folders(described: DataYaml) -> dict[str, list[str]]:
    return {split: sorted({name.rpartition("/")[0] for name in names}) for split, names in found(described).items()}


FORMS = {
    "as Roboflow writes it": "train: ../train/images\nval: ../valid/images\ntest: ../test/images",
    "beside the yaml": "train: train/images\nval: valid/images",
    "with a dot": "train: ./train/images\nval: ./valid/images",
    "inside a folder of the project": "train: Masks-3/train/images\nval: Masks-3/valid/images",
    "absolute, on the machine that exported": "train: /content/M/train/images\nval: /content/M/valid/images",
    "Windows": "train: ..\\train\\images\nval: C:\\sets\\valid\\images",
    "a Windows share": "train: \\\\nas\\sets\\train\\images\nval: \\\\nas\\sets\\valid\\images",
    "without images": "train: train\nval: valid",
    "with a slash at the end": "train: train/images/\nval: valid/images//",
    "with spaces around": "train: '  train/images'\nval: ' valid/images '",
    "val instead of valid": "train: ../train/images\nval: ../val/images",
    "key valid": "train: ../train/images\nvalid: ../valid/images",
    "key valid beside an empty val": "train: ../train/images\nval: ''\nvalid: ../valid/images",
    "with path": "path: ../datasets/masks\ntrain: train/images\nval: valid/images",
    "with the path of another machine": "path: /home/me/masks\ntrain: ./train/images\nval: ./valid/images",
    "with a path of Windows": "path: D:\\sets\\masks\ntrain: train\\images\nval: valid\\images",
    "with a path that is empty": "path: ''\ntrain: train/images\nval: valid/images",
    "with a path that is a number": "path: 2024\ntrain: train/images\nval: valid/images",
    "with a path that is a date": "path: 2024-11-01\ntrain: train/images\nval: valid/images",
    "with a path in a list": "path: [.]\ntrain: train/images\nval: valid/images",
    "as lists": "train: [../train/images]\nval: [../valid/images]",
    "as lists with holes": "train: [../train/images, '', null]\nval:\n  - ../valid/images\n  -",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("folder", [".", "Masks-3"])
def test_folders_are_found(tmp_path: Path, form: str, folder: str) -> None:
    below = "" if folder == "." else f"{folder}/"
    described = read(tmp_path, f"{form}\nnames: [a, b]", [f"{below}{name}" for name in ROBOFLOW], f"{below}data.yaml")
    assert folders(described) == {"train": [f"{below}train/images"], "val": [f"{below}valid/images"]}


ENDS = {
    "COCO, absolute": "train: /data/coco/images/train2017\nval: /data/coco/images/val2017",
    "COCO, from where it was trained": "train: ../datasets/coco/images/train2017\nval: datasets/coco/images/val2017",
    "COCO, with path": "path: ../datasets/coco\ntrain: images/train2017\nval: images/val2017",
    "COCO, on Windows": "train: C:\\coco\\images\\train2017\nval: C:\\coco\\images\\val2017",
    "COCO, its folder in path": "path: /data/coco/images\ntrain: train2017\nval: val2017",
}


@pytest.mark.parametrize("form", ENDS.values(), ids=ENDS)
def test_the_longest_end_that_is_there_is_taken_and_said(tmp_path: Path, form: str) -> None:
    described = read(tmp_path, f"{form}\nnames: [a]", COCO)
    assert folders(described) == {"train": ["images/train2017"], "val": ["images/val2017"]}
    assert any(line.endswith("-> images/train2017 (2 images)") for line in described.choices)


def test_an_end_that_path_and_folder_have_both(tmp_path: Path) -> None:
    yaml = "path: /home/me/OIT/set\ntrain: OIT/set/images/a\nval: OIT/set/images/b\nnames: [a]"
    described = read(tmp_path, yaml, ["images/a/1.jpg", "images/b/2.jpg"])
    assert folders(described) == {"train": ["images/a"], "val": ["images/b"]}


def test_path_comes_first(tmp_path: Path) -> None:
    """As in v7.0; both readings are there."""
    images = [*ROBOFLOW, *(f"second/{name}" for name in ROBOFLOW)]
    described = read(tmp_path, "path: second\ntrain: train/images\nval: ../valid/images\nnames: [a]", images)
    assert folders(described) == {"train": ["second/train/images"], "val": ["valid/images"]}


def test_folders_beside_the_yamls_folder(tmp_path: Path) -> None:
    yaml = "train: train/images\nval: valid/images\nnames: [a]"
    described = read(tmp_path, yaml, name="configuration/data.yaml")
    assert folders(described) == {"train": ["train/images"], "val": ["valid/images"]}


def test_a_folder_in_another_unicode_form(tmp_path: Path) -> None:
    images = ["cafe\u0301/train/a.jpg", "cafe\u0301/valid/b.jpg"]
    described = read(tmp_path, "train: caf\u00e9/train\nval: caf\u00e9/valid\nnames: [a]", images)
    assert [len(paths) for paths in described.images.values()] == [1, 1]


@pytest.mark.parametrize("form", ["../Train/Images", "Masks-3\\TRAIN\\Images", "D:\\sets\\Train", "Train"])
def test_a_folder_in_another_case(tmp_path: Path, form: str) -> None:
    """As where the yaml was written, on Windows or macOS, both are one folder."""
    described = read(tmp_path, f"train: '{form}'\nval: Valid/images\nnames: [a]")
    assert folders(described) == {"train": ["train/images"], "val": ["valid/images"]}


def test_a_folder_in_its_own_case_comes_first_and_of_two_others_none(tmp_path: Path) -> None:
    yaml = "train: {}/images\nval: valid/images\nnames: [a]"
    two = ["Train/images/a.jpg", "train/images/b.jpg", "valid/images/c.jpg"]
    assert found(read(tmp_path / "1", yaml.format("train"), two))["train"] == ["train/images/b.jpg"]
    assert "'TRAIN/images' that data.yaml names for 'train' is not in" in refusal(
        tmp_path / "2", yaml.format("TRAIN"), two
    )


@pytest.mark.parametrize("link", ["train/images", "train/images/a.jpg"])
def test_a_link_out_of_the_data_set_is_named_where_it_is_missed(tmp_path: Path, link: str) -> None:
    unpacked(tmp_path, {"all/a.jpg": b"x", "set/valid/images/b.jpg": b"x", "set/train/images.txt": "", "set/more": ""})
    place = tmp_path / "set" / link
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(tmp_path / "all" / ("a.jpg" if link.endswith("jpg") else ""))
    (tmp_path / "set" / "valid" / "images" / "c.jpg").symlink_to("nowhere")
    (tmp_path / "set" / "data.yaml").write_text(f"{SPLITS}names: [a]")
    with pytest.raises(
        InvalidDataset, match=rf"'\.\./train/images' .*; {link} is a link to .*/all.*, outside the data"
    ):
        read_data_yaml(tmp_path / "set")


@pytest.mark.parametrize("form", ["/x/holdout/images", "../holdout/images", "C:\\holdout\\images", "holdout"])
def test_an_images_folder_of_no_split_is_never_taken(tmp_path: Path, form: str) -> None:
    message = refusal(tmp_path, f"train: train/images\nval: '{form}'\nnames: [a]", [*ROBOFLOW, "images/other.jpg"])
    assert f"The folder {form!r} that data.yaml names for 'val' is not in the data set" in message
    assert message.endswith("which has data.yaml, images/, train/, valid/.")


@pytest.mark.parametrize("train", ["/data/one/images/all", "images/all", "images"])
def test_an_end_never_makes_two_splits_of_one_folder(tmp_path: Path, train: str) -> None:
    yaml = f"train: {train}\nval: /data/two/images/all\nnames: [a]"
    message = refusal(tmp_path, yaml, ["images/all/a.jpg", "images/all/b.jpg"])
    assert "images/all, which ends like it, is taken for 'train'" in message


def test_one_folder_for_two_splits_is_taken_where_it_is_written(tmp_path: Path) -> None:
    """As in YOLOv5's coco128.yaml."""
    yaml = "path: ../datasets/coco128\ntrain: images/train2017\nval: images/train2017\ntest:\nnames: {0: a}"
    described = read(tmp_path, yaml, COCO)
    assert folders(described) == {"train": ["images/train2017"], "val": ["images/train2017"]}


ABSENT = {
    "empty text": "''",
    "spaces": "'  '",
    "null": "null",
    "tilde": "~",
    "nothing": "",
    "list": "[]",
    "mapping": "{}",
}


@pytest.mark.parametrize("value", ABSENT.values(), ids=ABSENT)
def test_what_is_empty_is_absent(tmp_path: Path, value: str) -> None:
    described = read(tmp_path, f"{SPLITS}test: {value}\nnames: [a]\npath: {value}\nkpt_shape: {value}\nnc: {value}")
    assert folders(described) == {"train": ["train/images"], "val": ["valid/images"]}
    assert "data.yaml has no 'val' entry" in refusal(tmp_path, f"train: train/images\nval: {value}\nnames: [a]")
    assert "has no class names" in refusal(tmp_path, f"{SPLITS}names: {value}")


def test_a_list_of_nothing_is_absent(tmp_path: Path) -> None:
    assert "data.yaml has no 'train' entry" in refusal(tmp_path, "train: ['', null]\nval: valid/images\nnames: [a]")


def test_a_test_split_that_is_not_there_is_said(tmp_path: Path) -> None:
    described = read(tmp_path, f"{SPLITS}test: ../test/images\nnames: [a]")
    assert described.choices[-1] == "test: ../test/images -> nothing (0 images); not in the data set: ../test/images"


NAMES = {
    "list": "[a, b]",
    "block": "\n- a\n- b",
    "mapping": "{0: a, 1: b}",
    "mapping out of order": "{1: b, 0: a}",
    "mapping as JSON writes it": '{"0": "a", "1": "b"}',
    "mapping with zeros": "{00: a, 01: b}",
    "a mapping an entry": "\n- 0: a\n- 1: b",
    "a mapping in a list": "[{0: a, 1: b}]",
    "lines": "|\n  a\n  b",
    "lines with dashes": "|\n  - a\n  - b\n",
    "list in a list": "[[a, b]]",
    "lists of one": "[[a], [b]]",
    "the last of two": "[x, y, z]\nnames: [a, b]",
    "merged": "\n  <<: {0: a}\n  1: b",
    "by tags": "[!!str a, !!str b]",
}


@pytest.mark.parametrize("form", NAMES.values(), ids=NAMES)
def test_names(tmp_path: Path, form: str) -> None:
    assert read(tmp_path, f"{SPLITS}names: {form}").names == ["a", "b"]


TRUTHS = ["yes", "no", "on", "off", "Yes", "NO", "y", "n", "true", "False", "TRUE"]
NUMBERS = [
    "12:30",
    "1:2:3",
    "190:20:30",
    "007",
    "010",
    "08",
    "0o17",
    "0x1F",
    "0b101",
    "1_000",
    "1e3",
    "1.10",
    "1.",
    ".5",
]
DATES = ["2024-02-01", "2024-31-12", "2020-13-45", "2001-12-14t21:59:43.10-05:00", "0000-00-00"]
OTHERS = ["+1", "-1", ".inf", "-.INF", ".nan", "3", "1.5", "=", "<<", "'null'", "'~'", '"on"', "''"]
WRITTEN = [*TRUTHS, *NUMBERS, *DATES, *OTHERS]


@pytest.mark.parametrize("name", WRITTEN)
def test_a_name_is_the_text_that_was_written(tmp_path: Path, name: str) -> None:
    expected = [name.strip("'\""), "b"]
    assert read(tmp_path, f"{SPLITS}names: [{name}, b]").names == expected
    assert read(tmp_path, f"{SPLITS}names: {{0: {name}, 1: b}}\ncreated: {name}").names == expected


WRONG_NAMES = {
    "null": ("[null, a]", "data.yaml: 'names' has nothing for class 0"),
    "tilde": ("[a, ~]", "data.yaml: 'names' has nothing for class 1"),
    "a dash": ("\n- a\n-", "data.yaml: 'names' has nothing for class 1"),
    "null in a mapping": ("{0: null, 1: b}", "data.yaml: 'names' has nothing for class 0"),
    "a mapping": ("[{a: b}, c]", "data.yaml: 'names' has a mapping {'a': 'b'} for class 0"),
    "an unquoted colon": ("\n- red: car\n- b", "data.yaml: 'names' has a mapping {'red': 'car'} for class 0"),
    "lists": ("[[a, b], [c]]", "data.yaml: 'names' has a list ['a', 'b'] for class 0"),
    "one text": ("a, b", "data.yaml: 'names' must be a list of class names, as in [cat, dog], but is 'a, b'."),
    "folded lines": (">\n  a\n  b", "'names' must be a list of class names, as in [cat, dog], but is 'a b'."),
    "a number": ("2", "data.yaml: 'names' must be a list of class names, as in [cat, dog], but is '2'."),
    "numbered from 1": ("{1: a, 2: b}", "must number its classes 0 to 1 without a gap, but has no class 0."),
    "a gap": ("{0: a, 2: b}", "must number its classes 0 to 1 without a gap, but has no class 1."),
    "turned round": ("{a: 0, b: 1}", "but has the name 'a' before the number; write the number first, as in 0: cat."),
    "a key that is no number": ("{0: a, x: b}", "must number its classes 0 to 1 without a gap, but has the key 'x'."),
    "a negative key": ("{-1: a, 0: b}", "must number its classes 0 to 1 without a gap, but has the key '-1'."),
    "a key that is nothing": ("{0: a, ~: b}", "must number its classes 0 to 1 without a gap, but has the key nothing."),
    "bytes": ("[!!binary aGk=, b]", "data.yaml: 'names' has a value b'hi' for class 0"),
    "a set": ("!!set {a, b}", "data.yaml: 'names' must be a list of class names, as in [cat, dog], but is a value {"),
}


@pytest.mark.parametrize(("form", "sentence"), WRONG_NAMES.values(), ids=WRONG_NAMES)
def test_names_that_are_none_are_one_sentence(tmp_path: Path, form: str, sentence: str) -> None:
    assert sentence in refusal(tmp_path, f"{SPLITS}names: {form}")


MISSPELT = {
    "Names": ("Names: [a]", "has no class names (it has 'Names': write 'names')"),
    "classes": ("classes: [a]", "has no class names (it has 'classes': write 'names')"),
    "Train": ("Train: train/images\nval: valid/images\nnames: [a]", "no 'train' entry (it has 'Train': write 'train')"),
    "a blank": ("'train ': train/images\nval: v\nnames: [a]", "no 'train' entry (it has 'train ': write 'train')"),
    "validation": ("train: train\nvalidation: valid\nnames: [a]", "no 'val' entry (it has 'validation': write 'val')"),
}


@pytest.mark.parametrize(("text", "sentence"), MISSPELT.values(), ids=MISSPELT)
def test_a_key_that_is_hardly_another_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in refusal(tmp_path, text)


WRONG_TYPES = {
    "train is a mapping": ("train: {a: b}\nval: v", "The entry 'train' of data.yaml must be a folder or a list of"),
    "valid is a list in a list": (
        "train: a\nvalid: [[v]]",
        "The entry 'valid' of data.yaml must be a folder or a list",
    ),
    "path is a mapping": (
        f"{SPLITS}path: {{a: b}}",
        "data.yaml: 'path' must be a folder, but is a mapping {'a': 'b'}.",
    ),
    "path is several": (f"{SPLITS}path: [a, b]", "data.yaml: 'path' must be a folder, but is a list ['a', 'b']."),
    "kpt_shape is a number": (f"{SPLITS}kpt_shape: 17", "as in [17, 3], but is '17'."),
    "kpt_shape has words": (f"{SPLITS}kpt_shape: [17, xy]", "as in [17, 3], but is a list ['17', 'xy']."),
    "kpt_shape has four columns": (f"{SPLITS}kpt_shape: [17, 4]", "as in [17, 3], but is a list ['17', '4']."),
}


@pytest.mark.parametrize(("text", "sentence"), WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_a_value_of_a_wrong_type_is_said_with_its_key(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in refusal(tmp_path, f"{text}\nnames: [a]")


@pytest.mark.parametrize(
    ("shape", "columns"), [("[4, 2]", 8), ("[17, 3]", 51), ("['17', '3']", 51), ("[0, 0]", None), ("null", None)]
)
def test_columns_of_keypoints(tmp_path: Path, shape: str, columns: int | None) -> None:
    assert read(tmp_path, f"{SPLITS}names: [a]\nkpt_shape: {shape}\nflip_idx: [1, 0]").keypoint_columns == columns


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252", "utf-32"])
def test_another_encoding_is_named_with_the_one_that_is_read(tmp_path: Path, encoding: str) -> None:
    text = f"{SPLITS}names: [casqu\u00e9, b]\n".encode(encoding)
    assert refusal(tmp_path, text) == "data.yaml is not text in UTF-8; save it as UTF-8."


DOUBTS = {
    "nc is larger": ("nc: 3\nnames: [a, b]", "nc is '3', but 'names' has 2: the names count"),
    "nc is smaller": ("nc: 1\nnames: [a, b]", "nc is '1', but 'names' has 2: the names count"),
    "nc is a word": ("nc: two\nnames: [a, b]", "nc is 'two', but 'names' has 2: the names count"),
    "a name twice": ("names: [a, b, a]", "more than one class is called 'a'"),
    "a key twice": ("names: [x]\nnames: [a, b]", "data.yaml has the key 'names' twice; the last one counts"),
    "a class twice": ("names: {0: x, 0: a}", "data.yaml has the key '0' twice; the last one counts"),
}


@pytest.mark.parametrize(("text", "line"), DOUBTS.values(), ids=DOUBTS)
def test_what_is_hardly_meant_is_taken_and_said(tmp_path: Path, text: str, line: str) -> None:
    assert line in read(tmp_path, SPLITS + text).choices


@pytest.mark.parametrize("nc", ["2", "'2'", "02"])
def test_nothing_is_said_of_what_is_right(tmp_path: Path, nc: str) -> None:
    described = read(tmp_path, f"{SPLITS}nc: {nc}\nnames: {{<<: {{0: x}}, 0: a, 1: b}}")
    assert described.choices == [
        "train: ../train/images -> train/images (2 images)",
        "val: ../valid/images -> valid/images (1 images)",
    ]


LISTS = {
    "from the list": "./train/images/a.jpg\ntrain/images/b.jpg\n",
    "blank lines and a remark": "# mine\n\n./train/images/a.jpg\n   \n./train/images/b.jpg",
    "a byte order mark and Windows' line ends": "\ufefftrain/images/a.jpg\r\ntrain/images/b.jpg\r\n",
    "paths of Windows": "D:\\yolo\\set\\train\\images\\a.jpg\nD:\\yolo\\set\\train\\images\\b.jpg",
    "paths of another machine": "/content/set/train/images/a.jpg\n../set/train/images/b.jpg",
    "in quotes": "\"train/images/a.jpg\"\n'train/images/b.jpg'",
    "each twice": "train/images/a.jpg\ntrain/images/b.jpg\n./train/images/a.jpg",
    "labels, too": "train/images/a.jpg\ntrain/labels/a.txt\ntrain/images/b.jpg",
    "another ending": "train/images/a.JPG\ntrain/images/b.jpg",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("place", ["train.txt", "lists/train.txt"])
def test_lists_of_pictures(tmp_path: Path, text: str, place: str) -> None:
    unpacked(tmp_path / "set", {place: text, "train/labels/a.txt": ""})
    described = read(tmp_path, f"train: {place}\nval: valid/images\nnames: [a]")
    assert found(described)["train"] == ["train/images/a.jpg", "train/images/b.jpg"]


WRONG_LISTS = {
    "a folder": ("./train/images/\n", "train.txt lists './train/images/' (line 1), which is a folder; a list names"),
    "a folder further down": ("train/images/a.jpg\ntrain/images", "lists 'train/images' (line 2), which is a folder"),
    "the data set": ("train/images/a.jpg\n.", "train.txt lists '.' (line 2), which is a folder"),
    "a missing file": ("./train/images/gone.jpg", "lists './train/images/gone.jpg' (line 1), which is not in the data"),
    "columns": ("train/images/a.jpg 0", "lists 'train/images/a.jpg 0' (line 1), which is more than a path"),
    "boxes": (
        "train/images/a.jpg 1,2,3,4,0 5,6,7,8,1",
        "which is more than a path; write one path a line, boxes belong",
    ),
    "UTF-16": ("train/images/a.jpg\r\n".encode("utf-16"), "train.txt is not text in UTF-8; save it as UTF-8."),
    "Latin-1": ("train/images/\xe9.jpg".encode("latin-1"), "train.txt is not text in UTF-8; save it as UTF-8."),
    "nothing": (
        "",
        "The list 'train.txt' that data.yaml names for 'train' names no images; write one path a line into it.",
    ),
    "labels only": (
        "data.yaml.txt",
        "The list 'train.txt' that data.yaml names for 'train' names no images; write one path a line into it.",
    ),
    "another format": ('{"images": []}', "train.txt lists '{\"images\": []}' (line 1), which is not in the data set."),
    "no end": ("a" * 5_000, "train.txt has a path of more than 4,096 characters or 64 folders"),
}


@pytest.mark.parametrize(("text", "sentence"), WRONG_LISTS.values(), ids=WRONG_LISTS)
def test_a_list_of_something_else_is_one_sentence(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    unpacked(tmp_path / "set", {"train.txt": text, "data.yaml.txt": ""})
    assert sentence in refusal(tmp_path, "train: train.txt\nval: valid/images\nnames: [a]")


def test_pictures_that_the_yaml_itself_names(tmp_path: Path) -> None:
    described = read(tmp_path, "train: [train/images/b.jpg]\nval: valid/images/c.jpg\nnames: [a]")
    assert found(described) == {"train": ["train/images/b.jpg"], "val": ["valid/images/c.jpg"]}


def test_each_picture_counts_once_in_the_order_of_names(tmp_path: Path) -> None:
    unpacked(tmp_path / "set", {"train.txt": "train/images/b.jpg"})
    described = read(tmp_path, "train: [train.txt, train, train/images]\nval: valid/images\nnames: [a]")
    assert found(described)["train"] == ["train/images/a.jpg", "train/images/b.jpg"]


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    hidden = ["train/images/._a.jpg", "train/images/.ipynb_checkpoints/a-checkpoint.jpg", "__MACOSX/train/images/a.jpg"]
    described = read(tmp_path, f"{SPLITS}names: [a]", [*ROBOFLOW, *hidden])
    assert found(described)["train"] == ["train/images/a.jpg", "train/images/b.jpg"]


@pytest.mark.parametrize(("number", "error"), [(errno.EACCES, InvalidDataset), (errno.EIO, OSError)])
def test_only_a_failing_volume_is_worth_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def failing(*_: object, **__: object) -> str:
        raise OSError(number, "no")

    read(tmp_path, f"{SPLITS}names: [a]")
    monkeypatch.setattr(Path, "read_text", failing)
    with pytest.raises(error):
        read_data_yaml(tmp_path / "set")


ACCEPTED = {
    "Roboflow": (
        f"{SPLITS}test: ../test/images\n\nnc: 2\nnames: ['mask', 'no-mask']\nroboflow:\n  workspace: w\n  version: 1",
        None,
    ),
    "Roboflow, older": ("names:\n- mask\n- no-mask\nnc: 2\ntrain: p-1/train/images\nval: p-1/valid/images\n", None),
    "Ultralytics": (
        "path: ../datasets/p\ntrain: train/images\nval: valid/images\ntest:\nnames:\n  0: mask\n  1: no-mask",
        None,
    ),
    "YOLOv5 before v6": (
        "# train\ntrain: ../p/train/images  # 2\nval: ../p/valid/images\nnc: 2\nnames: [mask, no-mask]",
        None,
    ),
    "with a script": (f"{SPLITS}names: [mask, no-mask]\ndownload: |\n  from utils import x\n  x('a: b')\n", None),
    "with an address": (f"{SPLITS}names: [mask, no-mask]\ndownload: https://example.com/p.zip", None),
    "numbers": (f"{SPLITS}names: [0, 1, 10, 1.5]", ["0", "1", "10", "1.5"]),
    "other languages": (f"{SPLITS}names: [口罩, à bientôt, '😷']", ["口罩", "à bientôt", "😷"]),
    "no name": (f"{SPLITS}names: ['', b]", ["", "b"]),
    "one name twice": (f"{SPLITS}names: [a, a]", ["a", "a"]),
    "spaces and lines": (f"{SPLITS}names: [' a ', \"b\\n\"]", [" a ", "b\\n"]),
    "markup": (f"{SPLITS}names: ['[red]a[/red]', '</script><b>']", ["[red]a[/red]", "</script><b>"]),
    "two equal keys": (f"{SPLITS}names: [x, y, z]\nnames: [mask, no-mask]", None),
    "another nc": (f"{SPLITS}nc: 80\nnames: [mask, no-mask]", None),
    "one class of many": (f"{SPLITS}nc: 1\nnames: ['item']", ["item"]),
    "a byte order mark": (f"\ufeff{SPLITS}names: [mask, no-mask]", None),
    "Windows' line ends": (f"{SPLITS}names: [mask, no-mask]".replace("\n", "\r\n"), None),
    "JSON": ('{"train": "train/images", "val": "valid/images", "names": ["mask", "no-mask"]}', None),
    "a document's marks": (f"---\n{SPLITS}names: [mask, no-mask]\n...\n", None),
    "an anchor": ("train: &t train/images\nval: valid/images\nalso: *t\nnames: [mask, no-mask]", None),
    "a path of another type": (f"path: 7\n{SPLITS}names: [mask, no-mask]", None),
    "keys of other tools": (f"{SPLITS}names: [mask, no-mask]\ncreated: 2024-02-01\nyolo_version: 1.10\n1: x\n", None),
}


@pytest.mark.parametrize(("text", "names"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_the_first_version_took_is_taken_alike(tmp_path: Path, text: str, names: list[str] | None) -> None:
    described = read(tmp_path, text)
    assert described.names == (names or ["mask", "no-mask"])
    assert found(described) == {"train": ["train/images/a.jpg", "train/images/b.jpg"], "val": ["valid/images/c.jpg"]}


def test_the_set_of_the_other_tests_is_read(tmp_path: Path) -> None:
    assert read_data_yaml(unpacked(tmp_path, export())).names == ["cat", "dog"]


SCALARS = st.sampled_from(
    [*WRITTEN, "null", "~", "a", "train/images", "../valid/images", "train.txt", ".", "/", "C:\\x", "0", "1"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.binary(max_size=4)
    | SCALARS
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(SCALARS | st.integers(-1, 3) | st.none(), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(["train", "val", "valid", "test", "names", "nc", "path", "kpt_shape", "Names", "<<"])
PIECES = st.lists(
    st.sampled_from([*"[]{}:,-#&*!|>'\"%@`? \n\t", "\n- ", ": ", "&a ", "*a", "!!int ", "<<: ", *WRITTEN]), max_size=24
)


def outcome(files: dict[str, str], *, root: Path) -> DataYaml | str:
    """A data set, or the sentence that says why not: never anything else."""
    contents = {name: text.encode("utf-8", "surrogatepass") for name, text in files.items()}
    unpacked(root, {**dict.fromkeys(ROBOFLOW, b"x"), "train.txt": b"train/images/a.jpg", **contents})
    try:
        return read_data_yaml(root)
    except InvalidDataset as error:
        return str(error)


def check(outcome: DataYaml | str) -> None:
    if isinstance(outcome, str):
        assert printable(outcome) == outcome, "one line"
        assert len(outcome) < 1_000
        return
    assert outcome.images["train"]
    assert outcome.images["val"]
    assert all(printable(name) == name for name in outcome.names)
    inside = [path.resolve().is_relative_to(outcome.files.root) for paths in outcome.images.values() for path in paths]
    assert all(inside)


@settings(max_examples=150)
@given(st.dictionaries(KEYS, VALUES, max_size=6), st.sampled_from(["'", None]))
def test_any_values_are_read_or_one_sentence(values: dict[str, Any], style: str | None) -> None:
    whole = {"train": "train/images", "val": "valid/images", "names": ["a"]} | values
    with tempfile.TemporaryDirectory() as folder:
        text = yaml.safe_dump(whole, default_style=style, allow_unicode=True)
        check(outcome({"data.yaml": text}, root=Path(folder)))


@settings(max_examples=150)
@given(PIECES.map("".join), st.text(max_size=20))
@example("[a\x80]", "")
@example("? [a]\n: b", "")
@example("!!python/object/apply:os.system [x]", "")
@example("[" * 2_000, "")
def test_any_text_is_read_or_one_sentence(pieces: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(outcome({"data.yaml": f"{SPLITS}names: {pieces}{text}"}, root=Path(folder)))
        check(outcome({"data.yaml": pieces + text}, root=Path(folder)))


@settings(max_examples=100)
@given(st.text(max_size=40) | PIECES.map("".join), st.sampled_from(["\n", "\r\n", " ", "/"]))
def test_any_list_is_read_or_one_sentence(listed: str, between: str) -> None:
    files = {
        "train.txt": f"train/images/a.jpg{between}{listed}",
        "data.yaml": "train: train.txt\nval: valid\nnames: [a]",
    }
    with tempfile.TemporaryDirectory() as folder:
        check(outcome(files, root=Path(folder)))


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(["..", ".", "train", "valid", "val", "images", "a.jpg", "x", "C:", "~", ""]), min_size=1)
)
def test_a_path_never_leads_outside(parts: list[str]) -> None:
    text = yaml.safe_dump({"train": "/".join(parts), "val": "valid", "names": ["a"], "path": "/".join(parts[1:])})
    with tempfile.TemporaryDirectory() as folder:
        unpacked(Path(folder), {"images/secret.jpg": b"x", "x/a.jpg": b"x", "a.jpg": b"x"})
        check(outcome({"data.yaml": text}, root=Path(folder) / "set"))
