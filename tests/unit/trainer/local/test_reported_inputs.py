"""Data sets that people had, as they reported them publicly, through the commands that a person calls.

Each is a small one of the same kind, as a zip and as the folder that it unpacks to. The report stands in the id.
"""

import hashlib
import os
import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from masktrain_trainer.cli.main import main
from masktrain_trainer.config import ExitCode
from tests.unit.trainer.data.exports import GOOD_LABELS, Members, changed, export, picture, unpacked, zipped

TRAIN = "train: 3 images: 3 labelled, 0 without label, 0 with an empty label; 0 labels without image"
VAL = "val: 2 images: 2 labelled, 0 without label, 0 with an empty label; 0 labels without image"
SPLITS = "train: ../train/images\nval: ../valid/images\n"
JOB = """\
apiVersion: masktrain.dev/v1alpha1
kind: MaskTrainingJob
metadata: {name: t}
spec:
  model: {architecture: yolov5n, weights: scratch}
  dataset: {uri: "file:///set.zip"}
  training: {epochs: 1, batchSize: 4, imageSize: 64, workers: 0}
  checkpoint: {uri: "s3://checkpoints"}
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("masktrain_trainer.local.datasets.cpu_limit", lambda: 1)
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


def called(*arguments: str | Path) -> tuple[int, str]:
    """The exit code, and all that was said."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.output


def push(place: Path, source: str) -> tuple[int, str]:
    return called("data", "push", place / source, f"{(place / 'store').as_uri()}/", "--replace")


def boxes(said: str) -> dict[str, int]:
    """Of the table: training boxes by the name of the class."""
    rows = [line.split("│") for line in said.splitlines() if line.startswith("│")]
    return {row[2].strip(): int(row[3]) for row in rows}


@dataclass(frozen=True)
class Taken:
    """A data set that is right: what is said of it, and the training boxes of the table's last row."""

    members: Callable[[], Members]
    says: tuple[str, ...] = (TRAIN, VAL)
    boxes: int = 6
    names: tuple[str, ...] = ("cat", "dog")


@dataclass(frozen=True)
class Refused:
    """What cannot be meant: the sentence."""

    members: Callable[[], Members]
    sentence: str


def with_yaml(text: str, **changes: bytes | str | None) -> Callable[[], Members]:
    return lambda: export(**{"data.yaml": text, **changes})


def with_names(names: str) -> Callable[[], Members]:
    return with_yaml(f"{SPLITS}{names}\n")


def with_changes(**changes: bytes | str | None) -> Callable[[], Members]:
    return lambda: export(**changes)


def with_rows(rows: str, name: str = "train/labels/train0.txt") -> Callable[[], Members]:
    return lambda: export(**{name: rows})


def with_list(listed: bytes | str) -> Callable[[], Members]:
    return with_yaml("train: train.txt\nval: valid/images\nnames: [cat, dog]\n", **{"train.txt": listed})


def every_label(text: str, *, of: str = "") -> Callable[[], Members]:
    """`of`: the folder of the split, else all."""
    return lambda: {
        name: text if "/labels/" in name and name.startswith(of) else body for name, body in export().items()
    }


def labels_out_of_place() -> Members:
    mac, windows = (unicodedata.normalize(form, "Übung") for form in ("NFD", "NFC"))
    return export() | {
        "train/labels/train0.txt": "0 0.5 0.5 0.4 0.3\n",
        "train/images/capital.jpg": picture(11),
        "train/labels/capital.TXT": "0 0.5 0.5 0.4 0.3\n",
        f"train/images/{mac}.jpg": picture(12),
        f"train/labels/{windows}.txt": "0 0.5 0.5 0.4 0.3\n",
        "train/images/doubled.jpg": picture(13),
        "train/labels/doubled.jpg.txt": "0 0.5 0.5 0.4 0.3\n",
        "train/images/bare.jpg": picture(14),
        "train/images/empty.jpg": picture(15),
        "train/labels/empty.txt": "",
        "train/labels/orphan.txt": GOOD_LABELS,
    }


def with_jupyter_copies() -> Members:
    copies = {f"{split}/images/.ipynb_checkpoints/x-checkpoint.jpg": picture(0) for split in ("train", "valid")}
    return export() | copies


def with_apple_doubles(yaml: str) -> Members:
    members = export() | {yaml: export()["data.yaml"]}
    if yaml != "data.yaml":
        del members["data.yaml"]
    doubles = {f"{name.rpartition('/')[0]}/._{name.rpartition('/')[2]}".lstrip("/"): b"\0\5\x16\7" for name in members}
    return members | dict(doubles)


def two_projects() -> Members:
    return {f"{project}/{name}": body for project in ("Helmets-1", "Boots-4") for name, body in export().items()}


def key_points(dimensions: int) -> Members:
    points = " 0.45 0.45 2 0.55 0.55 2" if dimensions == 3 else " 0.45 0.45 0.55 0.55"
    members = every_label(f"0 0.5 0.5 0.4 0.3{points}\n1 0.25 0.3 0.2 0.2{points}\n")()
    return members | {"data.yaml": f"{SPLITS}kpt_shape: [2, {dimensions}]\nflip_idx: [1, 0]\nnames: [cat, dog]\n"}


def flat(text: str, *folders: str) -> Members:
    """Pictures in folders of any name, the first for training with three of them; labels where YOLOv5 has them."""
    members: Members = {"data.yaml": f"{text}names: [cat, dog]\n"}
    for number, folder in enumerate(folders):
        for index in range(3 - number):
            members[f"{folder}/{index}.jpg"] = picture(10 * number + index)
            members[f"{folder.replace('images', 'labels').replace('Images', 'Labels')}/{index}.txt"] = GOOD_LABELS
    return members


def coco(text: str) -> Callable[[], Members]:
    return lambda: flat(text, "images/train2017", "images/val2017")


def roboflow(text: str) -> Callable[[], Members]:
    return lambda: flat(text, "train/images", "valid/images")


def labels_beside_half() -> Members:
    members = flat("train: [some/folder, another/folder]\nval: valid/images\n", "some/folder", "valid/images")
    for index in range(3):
        members[f"another/folder/images/{index}.jpg"] = picture(50 + index)
        members[f"another/folder/images/{index}.txt"] = GOOD_LABELS
    return members


def labels_called_annotations() -> Members:
    return {name.replace("train/labels", "train/annotations"): body for name, body in export().items()}


def validation_labels_elsewhere() -> Members:
    return {name.replace("valid/labels", "val/labels"): body for name, body in export().items()}


def many_boxes() -> Members:
    rows = "".join(f"{number % 120} 0.{number % 80 + 10} 0.{number // 12 + 10} 0.05 0.05\n" for number in range(900))
    names = ", ".join(f"class {number}" for number in range(120))
    return every_label(rows, of="train")() | {"data.yaml": f"{SPLITS}nc: 120\nnames: [{names}]\n"}


TAKEN = {
    "SimpleTuner#94": Taken(
        with_jupyter_copies,
        (
            (
                "left out, hidden, or put there by the system: 2 (train/images/.ipynb_checkpoints, "
                "valid/images/.ipynb_checkpoints)"
            ),
            TRAIN,
            VAL,
        ),
    ),
    "yolov5#2268": Taken(
        labels_out_of_place,
        (
            (
                "train: 8 images: 6 labelled, 1 without label (train/images/bare.jpg), 1 with an empty label "
                "(train/images/empty.jpg); 1 label without image (train/labels/orphan.txt)"
            ),
            VAL,
        ),
        boxes=8,
    ),
    **{
        f"faucet#1461: {name}": Taken(with_names(f"names: [{name}, dog]"), names=(name, "dog"))
        for name in ("2024-02-01", "007", "12:30", "1.10", "1e3", "yes", "no")
    },
    "faucet#1461: a date that is none": Taken(with_names("created: 2024-31-12\nnames: [cat, dog]")),
    "yolov5_obb#398: numbers in quotes": Taken(with_names("names: {'0': cat, '1': dog}")),
    "yolov5#5264: test": Taken(with_names("test: ''\nnames: [cat, dog]")),
    **{
        f"yolov5#443: {row}": Taken(with_rows(f"{row}\n"), boxes=5)
        for row in (
            "0 0.5 0.5 1.0000000000000002 1.0",
            "0 0.5 0.5 1.00000001 0.9",
            "0 -0.0 0.5 0.2 0.2",
            "0 -1e-17 0.5 0.2 0.2",
            "0 0.1 0.1 1.0000000000000002 0.1 0.9 0.9 0.1 0.9",
        )
    },
    "yolov5#443: beyond rounding": Taken(
        with_rows("0 0.5 0.5 1.000001 0.9\n"),
        (TRAIN, VAL, "train: 1 box clipped at the edges of the picture"),
        boxes=5,
    ),
    **{
        f"yolov5#12330: {dimensions}": Taken(
            lambda dimensions=dimensions: key_points(dimensions),  # type: ignore[misc]
            (TRAIN, VAL, "train: 6 label rows with key points, of which the box is taken"),
        )
        for dimensions in (2, 3)
    },
    "ultralytics#732: a comment": Taken(
        with_list("# mine\n./train/images/train0.jpg\n"),
        ("train: 1 image: 1 labelled, 0 without label, 0 with an empty label; 0 labels without image",),
        boxes=2,
    ),
    "ultralytics#732: Windows": Taken(
        with_list("D:\\v5\\myData\\train\\images\\train0.jpg\r\nD:\\v5\\myData\\train\\images\\train1.jpg\r\n"),
        ("train: 2 images: 2 labelled, 0 without label",),
        boxes=4,
    ),
    "ultralytics#732: find": Taken(
        with_list("./train/images/train0.jpg\n./train/labels/train0.txt\n"),
        ("train: 1 image: 1 labelled, 0 without label",),
        boxes=2,
    ),
    "yolov5#3482, a thin box": Taken(every_label("0 0.5 0.49 0.95 0.02\n"), boxes=3),
    "yolov5#2766, many boxes and classes": Taken(
        many_boxes, boxes=2700, names=tuple(f"class {number}" for number in range(120))
    ),
    "yolov5#147, one validation picture": Taken(
        with_changes(**{"valid/images/valid1.jpg": None, "valid/labels/valid1.txt": None}),
        (TRAIN, "val: 1 image: 1 labelled, 0 without label"),
    ),
    "yolov5#8791": Taken(
        every_label("", of="valid"),
        (
            TRAIN,
            "val: 2 images: 0 labelled, 0 without label, 2 with an empty label (valid/images/valid0.jpg, ",
            "No val image has a box, so that no epoch can be measured: 2 of 2 images have an empty label file.",
        ),
    ),
    "yolov5#6359": Taken(
        validation_labels_elsewhere,
        (
            TRAIN,
            (
                "No val image has a box, so that no epoch can be measured: 2 of 2 images have no label file; 2 labels "
                "without image: val/labels/valid0.txt, val/labels/valid1.txt."
            ),
        ),
    ),
    "openneuro#2520": Taken(
        lambda: with_apple_doubles("data.yaml"),
        ("left out, hidden, or put there by the system: 11 (._data.yaml, ", TRAIN, VAL),
    ),
    "openneuro#2520: masks.yaml": Taken(
        lambda: with_apple_doubles("masks.yaml"),
        ("left out, hidden, or put there by the system: 11 (._masks.yaml, ", TRAIN, VAL),
    ),
    "yolov5#3141: tabs": Taken(with_rows("0\t0.5\t0.5\t0.2\t0.2 \t\r\n\r\n \u00a0\r\n"), boxes=5),
    "yolov5#3141: UTF-16": Taken(
        with_changes(**{"train/labels/train0.txt": GOOD_LABELS.encode("utf-16")}),
        (
            "train: 1 image skipped",
            "train/images/train0.jpg is skipped: its label file is not a text file in UTF-8; save it as UTF-8.",
        ),
        boxes=4,
    ),
    "yolov5#3141: commas": Taken(
        with_rows("0 0,5 0,5 0,2 0,2\n"),
        ("train/images/train0.jpg is skipped: line 1 of its labels has the text '0,5' instead of a number.",),
        boxes=4,
    ),
    "yolov5#3141: backslashes": Taken(
        with_yaml("train: C:\\sets\\train\\images\nval: 'C:\\sets\\valid\\images'\nnames: [cat, dog]\n")
    ),
    "roboflow-python#333: absolute": Taken(
        coco("train: /data/coco/images/train2017\nval: /data/coco/images/val2017\n"),
        ("train: /data/coco/images/train2017 -> images/train2017 (3 images)", TRAIN, VAL),
    ),
    "roboflow-python#333: path": Taken(coco("path: ../datasets/coco\ntrain: images/train2017\nval: images/val2017\n")),
    "roboflow-python#333: path behind": Taken(
        coco("train: ./images/train2017/\nval: ./images/val2017/\npath: /abs/export\n")
    ),
    "roboflow-python#333: relative": Taken(
        coco("train: ../datasets/coco/images/train2017\nval: ../datasets/coco/images/val2017\n")
    ),
    "roboflow-python#333: repeated": Taken(
        coco("path: /home/me/OIT/set\ntrain: OIT/set/images/train2017\nval: OIT/set/images/val2017\n")
    ),
    "roboflow-python#333: capitals": Taken(roboflow("train: ../Train/Images\nval: ../Valid/Images\n")),
    "roboflow-python#333: a test that is not there": Taken(
        roboflow("train: dataset_name/train/images\nval: dataset_name/valid/images\ntest: ../test/images\n"),
        ("test: ../test/images -> nothing (0 images); not in the data set: ../test/images", TRAIN, VAL),
    ),
    "ultralytics#21224": Taken(
        labels_beside_half,
        ("train: 6 images: 6 labelled, 0 without label, 0 with an empty label; 0 labels without image", VAL),
        boxes=12,
    ),
    "ultralytics#21224: capitals": Taken(
        lambda: flat("train: Images/train\nval: Images/val\n", "Images/train", "Images/val")
    ),
    "sparsify#260: CVAT": Taken(
        lambda: (
            flat("path: .\ntrain: train.txt\nval: train.txt\n", "images/train")
            | {"train.txt": "".join(f"data/images/train/{number}.jpg\n" for number in range(3))}
        ),
        (TRAIN, "3 of 3 val images are train images, too, byte for byte"),
    ),
    "modern-yolonas#56": Taken(
        with_rows(
            f"{GOOD_LABELS}0 0.5 0.5 0.0 0.0\n1 0.3 0.3 0.3 0.3 0.3 0.3 0.3 0.3\n1 0.2 0.2 0.4 0.2 0.3\n{GOOD_LABELS}"
        ),
        (
            TRAIN,
            VAL,
            "train: 3 label rows dropped",
            "Line 3 of train/labels/train0.txt is dropped: it is a box without width or height.",
            "Line 5 of train/labels/train0.txt is dropped: it has 6 columns instead of 5 (class x y w h).",
            "train: 2 label rows left out that was there already",
        ),
    ),
    # Forms of names (yolov5#13028 and the like).
    "nc of more": Taken(
        with_names("nc: 3\nnames: [cat, dog]"), ("nc is '3', but 'names' has 2: the names count", TRAIN)
    ),
    "nc of less": Taken(
        with_names("nc: 1\nnames: [cat, dog]"), ("nc is '1', but 'names' has 2: the names count", TRAIN)
    ),
    "a name twice": Taken(
        with_names("names: [cat, cat]"), ("more than one class is called 'cat'", TRAIN), names=("cat",)
    ),
    "names twice": Taken(
        with_names("names: [x, y, z]\nnames: [cat, dog]"), ("has the key 'names' twice; the last one counts", TRAIN)
    ),
    "markup": Taken(with_names("names: ['[red]a[/red]', '</script><b>']"), names=("[red]a[/red]", "</script><b>")),
    "emoji": Taken(with_names("names: ['😷', '🚫']"), names=("😷", "🚫")),
    "a block": Taken(with_names("names:\n  - cat\n  - dog\nroboflow:\n  license: CC BY 4.0")),
}

REFUSED = {
    "yolov5#7135": Refused(
        lambda: every_label("0 32 24 20 10\n", of="train")() | {"train/labels/train2.txt": ""},
        "No training image has a box: 2 of 2 labels are skipped, the first: train/images/train0.jpg is skipped: line 1 "
        "of its labels has the coordinate 32, outside 0 to 1 (in pixels?); 1 of 3 images have an empty label file.",
    ),
    "pylabel#99": Refused(
        every_label("1 0.5 0.5 0.4 0.3\n2 0.25 0.3 0.2 0.2\n"),
        "class 2 exceeds nc 2 (line 2 of train/labels/train0.txt), and class 0 never occurs: numbered from 1?",
    ),
    **{
        f"yolov5_obb#398: {form}": Refused(
            with_names(f"names: {form}"),
            "data.yaml: 'names' has nothing for class 0 (null, ~ or an empty entry); write its name, in quotes",
        )
        for form in ("[null, dog]", "[~, dog]", "{0: null, 1: dog}", "\n- \n- dog")
    },
    "yolov5_obb#398: a mapping": Refused(
        with_names("names:\n- red: car\n- dog"),
        "data.yaml: 'names' has a mapping {'red': 'car'} for class 0; write a name, in quotes.",
    ),
    "yolov5#5264: val": Refused(
        with_yaml("train: ../train/images\nval: ''\nnames: [cat, dog]\n"),
        "data.yaml has no 'val' entry; add one that names the folder of the val images.",
    ),
    "hub#89": Refused(
        two_projects,
        "There are 2 data sets in one place, described by Boots-4/data.yaml, Helmets-1/data.yaml: give the folder",
    ),
    "ultralytics#732: a folder": Refused(
        with_list("./train/images/train0.jpg\n./train/images\n"),
        "train.txt lists './train/images' (line 2), which is a folder; a list names pictures",
    ),
    "ultralytics#732: columns": Refused(
        with_list("./train/images/train0.jpg 0\n"), "(line 1), which is more than a path; write one path a line"
    ),
    "ultralytics#732: UTF-16": Refused(
        with_list("./train/images/train0.jpg\r\n".encode("utf-16")), "train.txt is not text in UTF-8; save it as UTF-8."
    ),
    "yolov5#3141: UTF-16": Refused(
        lambda: changed(export(), {"data.yaml": f"{SPLITS}names: [a, b]\n".encode("utf-16")}),
        "data.yaml is not text in UTF-8; save it as UTF-8.",
    ),
    "yolov5#3141: cp1252": Refused(
        lambda: changed(export(), {"data.yaml": f"{SPLITS}names: [casqué, b]\n".encode("cp1252")}),
        "data.yaml is not text in UTF-8; save it as UTF-8.",
    ),
    "yolov5#3141: a tab": Refused(
        with_yaml("train:\t../train/images\nval: ../valid/images\nnames: [cat, dog]\n"),
        "data.yaml is not valid YAML (line 1",
    ),
    "yolov5#3141: backslashes in quotes": Refused(
        with_yaml('train: "C:\\sets\\train\\images"\nval: valid\nnames: [cat, dog]\n'), "is not valid YAML (line 1"
    ),
    "sparsify#260: CVAT without val": Refused(
        lambda: flat("path: .\ntrain: train.txt\n", "images/train") | {"train.txt": "data/images/train/0.jpg\n"},
        "data.yaml has no 'val' entry",
    ),
    "sparsify#260: Label Studio": Refused(
        lambda: changed(flat("", "images"), {"data.yaml": None, "classes.txt": "cat\ndog\n", "notes.json": "{}"}),
        "masktrain data convert",
    ),
    "sparsify#260: CVAT 1.1": Refused(
        lambda: changed(flat("", "obj_train_data"), {"data.yaml": None, "obj.names": "cat\ndog\n"}),
        "The data set is a Darknet YOLO export (obj.names); run `masktrain data convert",
    ),
    "sparsify#260: COCO": Refused(
        with_changes(**{"data.yaml": None, "train/_annotations.coco.json": "{}"}),
        "The data set is a COCO export (train/_annotations.coco.json); run `masktrain data convert",
    ),
    "ultralytics#21224: annotations": Refused(
        labels_called_annotations,
        "3 of 3 images have no label file; 3 labels without image: train/annotations/train0.txt, ",
    ),
    "names without numbers": Refused(with_names("nc: 2"), "data.yaml has no class names; add 'names'"),
    "names by name": Refused(with_names("names: {cat: 0, dog: 1}"), "write the number first, as in 0: cat."),
    "names from 1": Refused(with_names("names: {1: cat, 2: dog}"), "without a gap, but has no class 0."),
    "names with a gap": Refused(with_names("names: {0: cat, 2: dog}"), "without a gap, but has no class 1."),
    "a long name": Refused(with_names(f"names: [{'x' * 5000}, dog]"), "is longer than 256 characters; shorten it."),
    "Names": Refused(with_names("Names: [cat, dog]"), "it has 'Names': write 'names'"),
}


def as_folder_and_zip(place: Path, members: Members) -> tuple[str, str]:
    unpacked(place / "set", members)
    (place / "zip").mkdir()
    (place / "zip" / "set.zip").write_bytes(zipped(members))
    return "set", "zip/set.zip"


@pytest.mark.parametrize("case", TAKEN.values(), ids=TAKEN)
def test_what_is_right_is_taken_and_counted(place: Path, case: Taken) -> None:
    for source in as_folder_and_zip(place, case.members()):
        code, said = push(place, source)
        assert code == 0, said
        for line in case.says:
            assert line in said
        assert boxes(said) == boxes(said) | {"all": case.boxes}
        assert tuple(boxes(said)) == (*case.names, "all")


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused_in_one_sentence(place: Path, case: Refused) -> None:
    for source in as_folder_and_zip(place, case.members()):
        code, said = push(place, source)
        assert code == ExitCode.USER_ERROR
        assert said.splitlines()[-1].startswith("masktrain data push: ")
        assert case.sentence in said.splitlines()[-1]


def test_links_below_the_root_are_files_everywhere(place: Path) -> None:
    """libreyolo#187: a folder of links to folders, one of links to files, and a list of those."""
    root = unpacked(place / "set", {f"real/{name}": body for name, body in export().items() if "/" in name})
    for split in ("train", "valid"):
        (root / split).mkdir()
        (root / split / "images").symlink_to(f"../real/{split}/images")
        (root / split / "labels").symlink_to(f"../real/{split}/labels")
    (root / "files").mkdir()
    for picture_file in (root / "real/train/images").iterdir():
        (root / "files" / picture_file.name).symlink_to(picture_file)
    (root / "list.txt").write_text("".join(f"./files/train{number}.jpg\n" for number in range(3)))
    for train in ("train/images", "files", "list.txt"):
        (root / "data.yaml").write_text(f"train: {train}\nval: valid/images\nnames: [cat, dog]\n")
        code, said = push(place, "set")
        assert code == 0, said
        pushed = called("preflight", place / "job.yaml", "--data", (place / "store" / "set.zip").as_uri())
        here = called("preflight", place / "job.yaml", "--data", root)
        assert (pushed[0], here[0]) == (0, 0), (pushed[1], here[1])
        for text in (said, pushed[1], here[1]):
            assert TRAIN in text
            assert VAL in text
            assert boxes(text)["all"] == 6


@pytest.mark.parametrize("folders", [(), ("train\\", "train\\images\\", "train\\labels\\"), ("test\\images\\",)])
def test_backslashes_with_and_without_entries_for_folders(place: Path, folders: tuple[str, ...]) -> None:
    """cpython#117084."""
    with zipfile.ZipFile(place / "set.zip", "w") as archive:
        for name, body in (dict.fromkeys(folders, "") | export()).items():
            member = zipfile.ZipInfo(name)
            member.filename = name.replace("/", "\\")
            archive.writestr(member, body)
    code, said = push(place, "set.zip")
    assert code == 0, said
    assert TRAIN in said
    assert boxes(said)["all"] == 6


def test_a_project_of_two_is_chosen_by_its_folder(place: Path) -> None:
    """hub#89."""
    unpacked(place / "set", two_projects())
    code, said = push(place, "set/Boots-4")
    assert code == 0, said
    assert TRAIN in said


def test_a_data_yaml_stands_for_its_folder(place: Path) -> None:
    """yolov5#3734."""
    unpacked(place / "set", export())
    assert push(place, "set/data.yaml")[0] == 0
    code, said = called("preflight", place / "job.yaml", "--data", place / "set" / "data.yaml")
    assert code == 0, said
    assert TRAIN in said


def test_a_name_that_is_no_utf_8_is_taken(place: Path) -> None:
    """osparc#2373."""
    root = unpacked(place / "set", export())
    for folder, ending in (("images", ".jpg"), ("labels", ".txt")):
        old = root / "train" / folder / f"train0{ending}"
        old.rename(old.with_name(os.fsdecode(b"caf\xe9") + ending))
    code, said = push(place, "set")
    assert code == 0, said
    assert TRAIN in said
    with zipfile.ZipFile(place / "store" / "set.zip") as archive:
        assert "train/images/caf%E9.jpg" in archive.namelist()
    code, said = called("preflight", place / "job.yaml", "--data", root)
    assert code == 0, said
    assert TRAIN in said


def test_classes_beyond_the_only_name_are_taken_for_a_single_class(place: Path) -> None:
    """ultralytics#1490."""
    unpacked(place / "set", with_names("names: [item]")())
    code, said = called("preflight", place / "job.yaml", "--data", place / "set", "--set", "training.singleClass=true")
    assert code == 0, said
    assert boxes(said) == {"item": 6, "all": 6}
    refused, said = push(place, "set")
    assert refused == ExitCode.USER_ERROR
    assert "class 1 exceeds nc 1" in said


@pytest.mark.parametrize(
    "members", [every_label("", of="valid"), validation_labels_elsewhere], ids=["yolov5#8791", "yolov5#6359"]
)
def test_validation_without_labels_is_refused_unless_asked_for(place: Path, members: Callable[[], Members]) -> None:
    command = ("preflight", place / "job.yaml", "--data", unpacked(place / "set", members()))
    code, said = called(*command)
    assert code == ExitCode.USER_ERROR
    assert "No val image has a box, so that no epoch can be measured" in said.splitlines()[-1]
    code, said = called(*command, "--set", "dataset.allowUnlabelledValidation=true")
    assert code == 0, said
    assert "No val image has a box, so that no epoch can be measured" in said


@pytest.mark.parametrize("form", ["{}", "sha256:{}", "upper"])
def test_a_checksum_is_taken_in_capitals_too(place: Path, form: str) -> None:
    (place / "set.zip").write_bytes(zipped(export()))
    digest = hashlib.sha256((place / "set.zip").read_bytes()).hexdigest()
    written = digest.upper() if form == "upper" else form.format(digest)
    spec = f'{{uri: "{(place / "set.zip").as_uri()}", sha256: "{written}"}}'
    (place / "job.yaml").write_text(JOB.replace('{uri: "file:///set.zip"}', spec))
    code, said = called("preflight", place / "job.yaml")
    assert code == 0, said
    assert TRAIN in said


def updated(path: Path) -> None:
    path.write_bytes(zipped(export()))
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("data.yaml", f"{SPLITS}names: [x, y]\n")


def halved(path: Path) -> None:
    path.write_bytes(zipped(export())[:3000])


def a_page(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html><html>Sign in</html>")


def packed_with_tar(path: Path) -> None:
    made = shutil.make_archive(str(path.with_suffix("")), "gztar", unpacked(path.parent / "tar", export()))
    Path(made).rename(path)


ODD_ZIPS = {
    "updated": (updated, "has the member 'data.yaml' twice; make the zip again with one of them."),
    "halved": (halved, "is a damaged zip"),
    "a login": (a_page, "is a web page, not a zip"),
    "gzip": (packed_with_tar, "is not a zip file but packed with gzip; pack the data set as a zip."),
}


@pytest.mark.parametrize(("make", "sentence"), ODD_ZIPS.values(), ids=ODD_ZIPS)
def test_an_odd_zip_is_refused_in_one_sentence(place: Path, make: Callable[[Path], None], sentence: str) -> None:
    """yolov5#13028 and the like."""
    make(place / "set.zip")
    code, said = push(place, "set.zip")
    assert code == ExitCode.USER_ERROR
    assert sentence in said.splitlines()[-1]
