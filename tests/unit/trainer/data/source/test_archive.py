"""Zips as tools really write them: what is unpacked, and what is refused in which words."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from masktrain_trainer.data.source.archive import ArchiveLimits, extract
from masktrain_trainer.data.source.file_list import list_files
from masktrain_trainer.errors import InvalidDataset

LINK = 0o120777 << 16
SMALL = ArchiveLimits(ratio_from_bytes=100_000)


def member(name: str, *, attributes: int = 0, compress: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    """Called `name` to the last backslash."""
    info = zipfile.ZipInfo("x")
    info.filename, info.external_attr, info.compress_type = name, attributes, compress
    return info


def zipped(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in members:
            archive.writestr(info, content)
    return path


def unpacked(folder: Path, limits: ArchiveLimits | None = None, say: Callable[[str], None] | None = None) -> list[str]:
    extract(folder / "set.zip", folder / "out", name="set.zip", limits=limits, say=say)
    return list(map(str, list_files(folder / "out").files))


FILES = ["data.yaml", "train/images/a.jpg", "train/labels/a.txt"]
FOLDERS = ["train\\", "train\\images\\", "train\\labels\\", "valid\\images\\"]


@pytest.mark.parametrize("folders", [FOLDERS, [], ["test\\images\\"]], ids=["all", "none", "an empty one"])
def test_backslashes_separate_folders(tmp_path: Path, folders: list[str]) -> None:
    backward = [name.replace("/", "\\") for name in FILES]
    zipped(tmp_path / "set.zip", *((member(name), "") for name in folders), *((member(name), "x") for name in backward))
    assert unpacked(tmp_path) == FILES


@pytest.mark.parametrize("attributes", [0x10, 0o040755 << 16], ids=["by DOS", "by Unix"])
def test_a_folder_may_be_one_by_its_attributes_alone(tmp_path: Path, attributes: int) -> None:
    folders = [(member(name, attributes=attributes), "") for name in ("train", "train\\images")]
    zipped(tmp_path / "set.zip", *folders, *((name, "x") for name in FILES))
    assert unpacked(tmp_path) == FILES


def test_hidden_names_are_left_out_and_said(tmp_path: Path) -> None:
    hidden = ["._data.yaml", "__MACOSX/train/images/._a.jpg", "train/images/.ipynb_checkpoints/a-checkpoint.jpg"]
    link = (member(".venv/bin/python", attributes=LINK), "/usr/bin/python3")
    zipped(tmp_path / "set.zip", *((name, "x") for name in (*hidden, *FILES)), link)
    lines: list[str] = []
    assert unpacked(tmp_path, say=lines.append) == FILES
    assert {path.name for path in (tmp_path / "out").rglob(".*")} == set()
    (line,) = lines
    assert line == "left out, hidden, or put there by the system: 4 (._data.yaml, .venv, __MACOSX and 1 more)"


def renamed(path: Path, placeholder: bytes, name: bytes) -> None:
    """As a tool writes names that does not say that they are UTF-8, or whose are not."""
    assert len(placeholder) == len(name)
    path.write_bytes(path.read_bytes().replace(placeholder, name))


def test_utf_8_that_is_not_said_to_be_is_read_as_such(tmp_path: Path) -> None:
    renamed(zipped(tmp_path / "set.zip", ("??bung.jpg", "x")), b"??bung", "Übung".encode())
    assert unpacked(tmp_path) == ["Übung.jpg"]


def test_names_in_another_encoding_stay_pairs(tmp_path: Path) -> None:
    renamed(zipped(tmp_path / "set.zip", ("images/caf?.jpg", "x"), ("labels/caf?.txt", "x")), b"caf?.", b"caf\xe9.")
    label, image = sorted(unpacked(tmp_path), reverse=True)
    assert Path(label).stem == Path(image).stem != "caf?"


NO_COLLISIONS = {
    "case": ["train/images/train0.jpg", "train/images/TRAIN0.jpg", "Train/images/train0.jpg"],
    "Unicode forms": ["\u00dcbung.jpg", "U\u0308bung.jpg"],
    "a folder like a file": ["a.jpg", "a/b.jpg"],
    "a time of day": ["7:30/a.jpg"],
}


@pytest.mark.parametrize("names", NO_COLLISIONS.values(), ids=NO_COLLISIONS)
def test_names_that_only_look_alike_are_taken(tmp_path: Path, names: list[str]) -> None:
    zipped(tmp_path / "set.zip", *((name, "x") for name in names))
    assert unpacked(tmp_path) == sorted(names)


COLLISIONS = {
    "added to once more": (["a.jpg", "data.yaml", "data.yaml"], "has the member 'data.yaml' twice; make the zip again"),
    "slashes": (["a/b.jpg", "a//b.jpg"], "has the member 'a/b.jpg' twice, the second time as 'a//b.jpg'"),
    "dots": (["a/b.jpg", "./a/./b.jpg"], "has the member 'a/b.jpg' twice, the second time as './a/./b.jpg'"),
    "backslashes": (["a/b.jpg", "a\\b.jpg"], "has the member 'a/b.jpg' twice, the second time as 'a\\\\b.jpg'"),
    "file and folder": (["a/b.jpg", "a"], "has the member 'a' twice, the second time as 'a/'"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("names", "sentence"), COLLISIONS.values(), ids=COLLISIONS)
def test_two_members_that_would_be_one_file_are_refused(tmp_path: Path, names: list[str], sentence: str) -> None:
    zipped(tmp_path / "set.zip", *((member(name), "x") for name in names))
    with pytest.raises(InvalidDataset) as caught:
        unpacked(tmp_path)
    assert sentence in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_links_that_zip_y_stores_are_followed_as_in_a_folder(tmp_path: Path) -> None:
    links = {
        "train/images": "../real/images",
        "valid/one.jpg": "../real/images/a.jpg",
        "chain.jpg": "valid/one.jpg",
        "real/around": "..",
    }
    members = [(member(name, attributes=LINK), target) for name, target in links.items()]
    zipped(tmp_path / "set.zip", *members, ("real/images/a.jpg", "pixels"), ("real/images/b.jpg", "others"))
    assert unpacked(tmp_path) == [
        *("chain.jpg", "real/images/a.jpg", "real/images/b.jpg"),
        *("train/images/a.jpg", "train/images/b.jpg", "valid/one.jpg"),
    ]
    assert (tmp_path / "out" / "chain.jpg").read_text() == "pixels"


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside.txt", "gone.jpg", "x\0y", "link", "", "y" * 5000])
def test_links_to_what_is_not_in_the_zip_are_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside.txt").write_text("secret")
    zipped(tmp_path / "set.zip", ("a.jpg", "x"), (member("link", attributes=LINK), target))
    with pytest.raises(InvalidDataset, match=r"has the member 'link', a link to .*, which is not in the zip; store"):
        unpacked(tmp_path)


@pytest.mark.parametrize("kind", [0o010644, 0o020644, 0o060644, 0o140755], ids=["pipe", "tty", "disk", "socket"])
def test_devices_are_refused(tmp_path: Path, kind: int) -> None:
    zipped(tmp_path / "set.zip", (member("a.jpg", attributes=kind << 16), ""))
    with pytest.raises(InvalidDataset, match=r"has the member 'a\.jpg', a device or the like"):
        unpacked(tmp_path)


def bitmap(side: int) -> bytes:
    return cv2.imencode(".bmp", np.zeros((side, side, 3), np.uint8))[1].tobytes()


def saved(kind: str, **options: Any) -> bytes:
    body = io.BytesIO()
    Image.new("RGB", (300, 300), "grey").save(body, kind, **options)
    return body.getvalue()


FLAT = {"BMP": saved("BMP"), "TIFF": saved("TIFF"), "PPM": saved("PPM"), "PNG": saved("PNG", compress_level=0)}


@pytest.mark.parametrize("kind", FLAT)
def test_pictures_of_one_colour_are_no_bomb(tmp_path: Path, kind: str) -> None:
    zipped(tmp_path / "set.zip", *((f"{number}.{kind}", FLAT[kind]) for number in range(4)))
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        unpacked_bytes = sum(info.file_size for info in archive.infolist())
        assert unpacked_bytes > SMALL.ratio_from_bytes
        assert unpacked_bytes > SMALL.ratio * sum(info.compress_size for info in archive.infolist())
    assert len(unpacked(tmp_path, SMALL)) == 4


def test_two_dozen_flat_bitmaps_pass_the_limits_that_are_in_force(tmp_path: Path) -> None:
    zipped(tmp_path / "set.zip", *((f"{number}.bmp", bitmap(1024)) for number in range(24)))
    assert (tmp_path / "set.zip").stat().st_size * 100 < 24 * 3 * 1024 * 1024
    assert len(unpacked(tmp_path)) == 24


BOMBS = {
    "zeros": bytes(2_000_000),
    "a bitmap with a tail": bitmap(16) + bytes(2_000_000),
    "a bitmap by its first bytes": b"BM" + bytes(2_000_000),
    "a picture that is too large": b"P6 20000 20000 255\n" + bytes(2_000_000),
    "text": b"0 .5 .5 .1 .1\n" * 150_000,
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_what_is_no_picture_counts_also_beside_pictures(tmp_path: Path, content: bytes) -> None:
    flat = [(f"{number}.bmp", FLAT["BMP"]) for number in range(4)]
    zipped(tmp_path / "set.zip", *flat, ("bomb.bmp", content))
    with pytest.raises(InvalidDataset) as caught:
        unpacked(tmp_path, SMALL)
    assert "more than the limit of 100 times" in str(caught.value)
    assert "or store it uncompressed (zip -0)." in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_way_out_of_that_sentence_works(tmp_path: Path) -> None:
    zipped(tmp_path / "set.zip", (member("notes.txt", compress=zipfile.ZIP_STORED), bytes(2_000_000)))
    assert unpacked(tmp_path, SMALL) == ["notes.txt"]


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (ArchiveLimits(members=2), "has 3 members, more than the limit of 2; leave out"),
        (ArchiveLimits(unpacked_bytes=2), "would unpack to 0.0 GiB, more than the limit of 0.0 GiB; make it"),
    ],
)
def test_the_other_limits_say_what_to_do(tmp_path: Path, limits: ArchiveLimits, sentence: str) -> None:
    zipped(tmp_path / "set.zip", *((name, "x") for name in FILES))
    with pytest.raises(InvalidDataset, match=sentence):
        unpacked(tmp_path, limits)


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><html>Sign in</html>", b"\x1f\x8b\x08tar", b""])
def test_what_is_no_zip_is_said(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "set.zip").write_bytes(body)
    with pytest.raises(InvalidDataset, match=r"set\.zip is .*not a zip"):
        unpacked(tmp_path)


def test_a_member_without_a_name_is_said(tmp_path: Path) -> None:
    zipped(tmp_path / "set.zip", ("data.yaml", "x"), (member(""), "x"))
    with pytest.raises(InvalidDataset, match=r"set\.zip has a member without a name"):
        unpacked(tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_is_said_whatever_a_zip_is_packed_with(tmp_path: Path, method: int) -> None:
    """Errors of the bzip2 module look like those of a disk, which would be tried again."""
    zipped(tmp_path / "set.zip", (member("a.txt", compress=method), b"0 .5 .5 .1 .1\n" * 40))
    body = bytearray((tmp_path / "set.zip").read_bytes())
    body[45:50] = b"#####"
    (tmp_path / "set.zip").write_bytes(body)
    with pytest.raises(InvalidDataset, match=r"set\.zip is damaged: its member 'a\.txt' cannot be unpacked"):
        unpacked(tmp_path)


def test_places_before_the_file_s_beginning_are_damage(tmp_path: Path) -> None:
    zipped(tmp_path / "set.zip", ("a.txt", "x"))
    body = bytearray((tmp_path / "set.zip").read_bytes())
    directory = body.index(b"PK\1\2")
    body[directory + 42 : directory + 46] = b"\xff\xff\xff\x7f"
    (tmp_path / "set.zip").write_bytes(body)
    with pytest.raises(InvalidDataset, match=r"damaged"):
        unpacked(tmp_path)
