"""Which files of a folder belong to a data set, and where the label of a picture lies."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from masktrain_trainer.data.source import file_list
from masktrain_trainer.data.source.file_list import MOST_LINKS, FileList, Why, list_files, usual_label
from masktrain_trainer.errors import InvalidDataset

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Übung") for form in ("NFC", "NFD"))


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def listed(names: Iterable[str]) -> FileList:
    return FileList(Path("/set"), [PurePosixPath(name) for name in names], [])


def names(files: FileList) -> list[str]:
    return list(map(str, files.files))


HIDDEN = [
    "._a.jpg",
    ".DS_Store",
    ".git/config",
    "@eaDir/a.jpg",
    "Thumbs.db",
    "__MACOSX/train/._a.jpg",
    "desktop.ini",
    "images/.ipynb_checkpoints/a-checkpoint.jpg",
    "images/THUMBS.DB",
    "lost+found/a.jpg",
]


def test_hidden_names_and_those_of_systems_are_left_out(tmp_path: Path) -> None:
    files = list_files(tree(tmp_path, "a.jpg", "images/b.jpg", *HIDDEN))
    assert names(files) == ["a.jpg", "images/b.jpg"]
    assert {entry.why for entry in files.left_out} == {Why.HIDDEN}
    assert files.remarks() == ["left out, hidden, or put there by the system: 10 (.DS_Store, ._a.jpg, .git and 7 more)"]


def test_a_root_may_be_called_as_it_likes(tmp_path: Path) -> None:
    assert names(list_files(tree(tmp_path / ".cache" / "__MACOSX", "a.jpg"))) == ["a.jpg"]


def test_links_below_the_root_are_followed(tmp_path: Path) -> None:
    tree(tmp_path, "real/images/a.jpg", "real/images/deep/b.jpg", "real/labels/a.txt")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "images").symlink_to("../real/images")
    (tmp_path / "train" / "one.jpg").symlink_to(tmp_path / "real" / "images" / "a.jpg")
    (tmp_path / "two.jpg").symlink_to("train/one.jpg")
    (tmp_path / "all").symlink_to("train")
    files = list_files(tmp_path)
    assert names(files) == [
        *("all/images/a.jpg", "all/images/deep/b.jpg", "all/one.jpg"),
        *("real/images/a.jpg", "real/images/deep/b.jpg", "real/labels/a.txt"),
        *("train/images/a.jpg", "train/images/deep/b.jpg", "train/one.jpg", "two.jpg"),
    ]
    assert not files.left_out
    assert files.path(PurePosixPath("all/images/deep/b.jpg")).read_text() == "real/images/deep/b.jpg"
    assert files.links[PurePosixPath("all/images/deep/b.jpg")] == PurePosixPath("real/images/deep/b.jpg")
    assert files.links[PurePosixPath("two.jpg")] == PurePosixPath("real/images/a.jpg")
    assert PurePosixPath("real/images/a.jpg") not in files.links


LINKS = {
    "out": ("outside.txt", "is a link to {}/outside.txt, outside the data set"),
    "away": ("outside", "is a link to {}/outside, outside the data set"),
    "nothing": ("gone.jpg", "is a link to nothing"),
    "hidden": ("set/.env", "is a link to {}/set/.env, which is hidden or was put there by the system"),
    "circle": ("set", "is a link to {}/set, a folder around it"),
    "itself": ("set/itself", "is a link to nothing"),
    "pipe link": ("set/pipe", "is neither a file nor a folder"),
}


@pytest.mark.parametrize("name", LINKS)
def test_other_links_are_left_out_with_the_reason(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "outside.txt", "outside/a.jpg", "set/a.jpg", "set/.env")
    if name.startswith("pipe"):
        os.mkfifo(tmp_path / "set" / "pipe")
    target, reason = LINKS[name]
    (tmp_path / "set" / name).symlink_to(tmp_path / target)
    files = list_files(tmp_path / "set")
    assert names(files) == ["a.jpg"]
    (entry,) = (entry for entry in files.left_out if entry.name == PurePosixPath(name))
    assert entry.reason == reason.format(tmp_path)
    assert entry.leads_out == (name in {"out", "away", "hidden"})


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    tree(tmp_path, "a/x.jpg", "b/y.jpg")
    (tmp_path / "a" / "to b").symlink_to("../b")
    (tmp_path / "b" / "to a").symlink_to("../a")
    files = list_files(tmp_path)
    assert names(files) == ["a/to b/y.jpg", "a/x.jpg", "b/to a/x.jpg", "b/y.jpg"]
    assert {entry.why for entry in files.left_out} == {Why.CIRCLE}


def test_a_link_into_the_middle_of_its_own_way_ends(tmp_path: Path) -> None:
    tree(tmp_path, "a/b/c/x.jpg", "d/y.jpg")
    (tmp_path / "a" / "b" / "c" / "to d").symlink_to("../../../d")
    (tmp_path / "d" / "to b").symlink_to("../a/b")
    files = list_files(tmp_path)
    assert names(files) == ["a/b/c/to d/y.jpg", "a/b/c/x.jpg", "d/to b/c/x.jpg", "d/y.jpg"]


def test_links_that_multiply_end(tmp_path: Path) -> None:
    """Each of thirty folders holds the next one twice: a billion names."""
    tree(tmp_path, "f30/x.jpg")
    for number in range(30):
        (tmp_path / f"f{number}").mkdir(exist_ok=True)
        for link in "ab":
            (tmp_path / f"f{number}" / link).symlink_to(f"../f{number + 1}")
    files = list_files(tmp_path)
    assert len(files.files) < 2 ** (MOST_LINKS + 1)
    assert {entry.why for entry in files.left_out} == {Why.TOO_FAR}


def test_names_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_list, "MOST_NAMES", 3)
    assert len(list_files(tree(tmp_path, "a/x", "b")).files) == 2
    with pytest.raises(InvalidDataset, match="holds more than 3 files; give the folder that holds the data set alone"):
        list_files(tree(tmp_path, "a/y"))


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    files = list_files(tmp_path)
    assert not files.files
    assert files.remarks() == ["left out, neither files nor folders: 1 (a.jpg)"]


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "a.jpg", "b/c.jpg")
    whole = os.scandir

    def closed(folder: Path) -> Any:
        if folder.name == "b":
            raise PermissionError(13, "Permission denied")
        return whole(folder)

    monkeypatch.setattr(os, "scandir", closed)
    files = list_files(tmp_path)
    assert names(files) == ["a.jpg"]
    assert files.remarks() == ["left out, cannot be read: 1 (b -> Permission denied)"]
    with pytest.raises(InvalidDataset, match=r"b cannot be read: Permission denied\."):
        list_files(tmp_path / "b")


def test_only_links_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand pictures lie on disks that answer in a millisecond."""
    tree(tmp_path, *(f"{folder}/{number}.jpg" for folder in "ab" for number in range(50)))
    (tmp_path / "c.jpg").symlink_to("a/1.jpg")
    asked: list[str] = []
    resolve = os.path.realpath

    def counted(path: Any, **options: Any) -> Any:
        asked.append(os.fspath(path))
        return resolve(path, **options)

    monkeypatch.setattr(os.path, "realpath", counted)
    assert len(list_files(tmp_path).files) == 101
    assert asked.count(str(tmp_path / "c.jpg")) == 1
    assert len(asked) <= 2  # with the root


def test_a_name_that_is_no_text_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in (b"images/caf\xe9.jpg", b"caf\xe9.txt"):
        (tmp_path / os.fsdecode(name)).touch()
    files = list_files(tmp_path)
    assert [os.fsencode(str(name)) for name in files.files] == [b"caf\xe9.txt", b"images/caf\xe9.jpg"]
    assert all(files.path(name).exists() for name in files.files)


def test_below_is_the_folder_and_no_other_that_begins_like_it() -> None:
    files = listed(["a!/x", "a-b/x", "a.jpg", "a/x", "a/y/z", "a0/x", "b/a/x"])
    assert list(map(str, files.below(PurePosixPath("a")))) == ["a/x", "a/y/z"]
    assert list(map(str, files.below(PurePosixPath("a/y")))) == ["a/y/z"]
    assert len(list(files.below(PurePosixPath()))) == 7
    assert not list(files.below(PurePosixPath("c")))


FOUND = {
    "as it is written": (["a.JPG", "a.jpg"], "a.jpg", "a.jpg"),
    "another case of the ending": (["b/a.JPG"], "b/a.jpg", "b/a.JPG"),
    "another Unicode form": ([f"{DECOMPOSED}/a.jpg"], f"{COMPOSED}/a.jpg", f"{DECOMPOSED}/a.jpg"),
    "another case of folder and name": (["Train/IMG_1.JPG"], "train/img_1.jpg", "Train/IMG_1.JPG"),
    "the nearer of two": (["A.jpg", "a.JPG"], "a.jpg", "a.JPG"),
    "one of two": (["a.JPG", "a.Jpg"], "a.jpg", None),
    "one of two cases": (["A.jpg", "a.JPG"], "A.JPG", "A.jpg"),
    "none": (["a.jpg"], "b.jpg", None),
    "no ending": (["a/b"], "a/b", "a/b"),
    "the dot of a folder": (["v1.0/B"], "v1.0/b", "v1.0/B"),
}


@pytest.mark.parametrize(("there", "asked", "found"), FOUND.values(), ids=FOUND)
def test_files_are_found(there: list[str], asked: str, found: str | None) -> None:
    name = listed(there).find(PurePosixPath(asked))
    assert (None if name is None else str(name)) == found


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("train/images", "train/images"),
        ("train", "train"),
        (".", "."),
        ("VALID/Images", "valid/images"),
        (f"{COMPOSED}", DECOMPOSED),
        ("train/a.jpg", None),
        ("test", None),
    ],
)
def test_folders_are_found(asked: str, found: str | None) -> None:
    files = listed(["train/images/a.jpg", "train/a.jpg", "valid/images/b.jpg", f"{DECOMPOSED}/c.jpg"])
    name = files.find_folder(PurePosixPath(asked))
    assert (None if name is None else str(name)) == found


LABELS = {
    "Roboflow": ("train/images/a.jpg", ["train/labels/a.txt"], "train/labels/a.txt"),
    "images and labels at the top": ("images/train/a.jpg", ["labels/train/a.txt"], "labels/train/a.txt"),
    "the last images": ("images/images/a.jpg", ["images/labels/a.txt", "labels/images/a.txt"], "images/labels/a.txt"),
    "beside the picture": ("some/folder/a.jpg", ["some/folder/a.txt"], "some/folder/a.txt"),
    "beside the picture in images": ("images/a.jpg", ["images/a.txt"], "images/a.txt"),
    "labels before beside": ("images/a.jpg", ["images/a.txt", "labels/a.txt"], "labels/a.txt"),
    "at the top": ("a.jpg", ["a.txt"], "a.txt"),
    "a capital ending": ("images/a.JPG", ["labels/a.TXT"], "labels/a.TXT"),
    "a doubled ending": ("images/a.jpg", ["labels/a.jpg.txt"], "labels/a.jpg.txt"),
    "a doubled capital ending": ("images/a.JPG", ["labels/a.jpg.txt"], "labels/a.jpg.txt"),
    "the plain one before the doubled": ("images/a.jpg", ["labels/a.jpg.txt", "labels/a.txt"], "labels/a.txt"),
    "dots in the name": ("images/a_jpg.rf.0f1e.jpg", ["labels/a_jpg.rf.0f1e.txt"], "labels/a_jpg.rf.0f1e.txt"),
    "a dot too many": ("images/a.b.jpg", ["labels/a.txt"], None),
    "capital folders": ("Images/val/a.jpg", ["Labels/val/a.txt"], "Labels/val/a.txt"),
    "one capital folder": ("images/a.jpg", ["LABELS/a.txt"], "LABELS/a.txt"),
    "another Unicode form": (f"images/{DECOMPOSED}.jpg", [f"labels/{COMPOSED}.txt"], f"labels/{COMPOSED}.txt"),
    "another case": ("images/IMG_1.JPG", ["labels/img_1.txt"], "labels/img_1.txt"),
    "the label of a neighbour's other case": ("images/IMG.jpg", ["images/img.jpg", "labels/img.txt"], None),
    "its own beside a neighbour's": ("images/img.jpg", ["images/IMG.jpg", "labels/img.txt"], "labels/img.txt"),
    "a neighbour's other Unicode form": (
        f"images/{DECOMPOSED}.jpg",
        [f"images/{COMPOSED}.jpg", f"labels/{COMPOSED}.txt"],
        None,
    ),
    "one of two": ("images/a.jpg", ["labels/a.TXT", "labels/a.Txt"], None),
    "shared by two endings": ("images/a.png", ["images/a.jpg", "labels/a.txt"], "labels/a.txt"),
    "a folder with another name": ("train/images/a.jpg", ["train/annotations/a.txt"], None),
    "images in a name": ("my images/a.jpg", ["my images/a.txt"], "my images/a.txt"),
}


@pytest.mark.parametrize(("image", "others", "label"), LABELS.values(), ids=LABELS)
def test_labels_are_found_where_that_is_unambiguous(image: str, others: list[str], label: str | None) -> None:
    found = listed([image, *others]).label_of(PurePosixPath(image))
    assert (None if found is None else str(found)) == label


def test_a_link_has_the_label_of_its_name_else_that_of_what_it_leads_to(tmp_path: Path) -> None:
    tree(tmp_path, "all/images/a.jpg", "all/labels/a.txt", "train/labels/b.txt")
    (tmp_path / "train" / "images").mkdir()
    for name in "ab":
        (tmp_path / "train" / "images" / f"{name}.jpg").symlink_to("../../all/images/a.jpg")
    files = list_files(tmp_path)
    labels = {str(name): str(files.label_of(name)) for name in files.below(PurePosixPath("train/images"))}
    assert labels == {"train/images/a.jpg": "all/labels/a.txt", "train/images/b.jpg": "train/labels/b.txt"}


@pytest.mark.parametrize(
    ("image", "label"),
    [("train/images/a.b.jpg", "train/labels/a.b.txt"), ("flat/a.jpg", "flat/a.txt"), ("a.jpg", "a.txt")],
)
def test_the_usual_place_of_a_label_is_yolov5s(image: str, label: str) -> None:
    assert str(usual_label(PurePosixPath(image))) == label
