"""Files of strangers: data sets, pictures, names and links that want more than to be read."""

import csv
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, WebPImagePlugin

from masktrain_trainer.data.source import data_yaml
from masktrain_trainer.data.source.archive import extract
from masktrain_trainer.data.source.data_yaml import LARGEST_LIST, read_data_yaml
from masktrain_trainer.data.source.file_list import list_files
from masktrain_trainer.data.source.labels import LARGEST_LABELS, LabelViolation, parse_labels, read_labels
from masktrain_trainer.data.source.pictures import (
    LARGEST_PICTURE,
    MOST_PIXELS,
    UnreadablePicture,
    decode_picture,
)
from masktrain_trainer.data.source.verify import verify_split
from masktrain_trainer.detect.sources.opening import open_source
from masktrain_trainer.errors import InvalidConfiguration, InvalidDataset, MaskTrainError, printable
from masktrain_trainer.local.datasets import zip_folder
from masktrain_trainer.report.tables import write_per_class
from tests.unit.trainer.report.synthetic import evaluation

CLEAR_SCREEN, WINDOW_TITLE, FORGED_LINE = (
    "\x1b[2J",
    "\x1b]0;root@host\x07",
    "mask\n12:00:00 stored checkpoint e9 in 0.1 s",
)
REVERSED = "exe.\u202egpj"


def data_set(folder: Path, data_yaml: str) -> Path:
    """One picture for each split, without labels."""
    for split in ("train", "valid"):
        (folder / split / "images").mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(folder / split / "images" / "a.png")
    (folder / "data.yaml").write_text(f"train: train/images\nval: valid/images\n{data_yaml}", encoding="utf-8")
    return folder


def why_unreadable(content: bytes) -> str:
    """What a picture is skipped for."""
    found = decode_picture(content)
    assert isinstance(found, UnreadablePicture)
    return found.reason


def detect(picture: Path) -> None:
    """Take it for a source of detection, which no model must ever see."""
    for _ in open_source(str(picture)):
        pytest.fail("it was taken for a picture")


def merge_bomb(levels: int = 9, width: int = 9) -> str:
    """Each mapping merges the one before several times: `width ** levels` entries in some hundred bytes."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels):
        merged = ",".join([f"*a{level - 1}"] * width)
        lines.append(f"a{level}: &a{level} {{<<: [{merged}]}}")
    return "\n".join(lines)


def test_merge_keys_that_multiply_are_refused(tmp_path: Path) -> None:
    assert len(merge_bomb()) < 600
    with pytest.raises(InvalidDataset, match=r"merge keys \(<<\) unfold to more than 100,000 entries"):
        read_data_yaml(data_set(tmp_path, merge_bomb()))


def test_a_merge_key_as_people_write_it_is_read(tmp_path: Path) -> None:
    names = "base: &base {0: with mask, 1: without}\nnames:\n  <<: *base\n  2: worn wrongly\n"
    assert read_data_yaml(data_set(tmp_path, names)).names == ["with mask", "without", "worn wrongly"]


@pytest.mark.parametrize("value", ["!!int " + "9" * 5000, "!!timestamp 2020-13-45"], ids=["5000 digits", "no date"])
def test_a_value_that_yaml_cannot_make_is_one_sentence(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidDataset, match=r"data\.yaml has a value that cannot be read"):
        read_data_yaml(data_set(tmp_path, f"names: [{value}]\n"))


@pytest.mark.parametrize("value", ["9" * 5000, "2020-13-45"], ids=["a number of 5000 digits", "a date that is none"])
def test_a_value_that_yaml_cannot_make_is_text_where_nothing_asks_for_it(tmp_path: Path, value: str) -> None:
    assert read_data_yaml(data_set(tmp_path, f"created: {value}\nnames: [mask]\n")).names == ["mask"]


@pytest.mark.parametrize("value", ["!!bool abc", "!!int ''", "!!float ''", "!!timestamp abc", "!!int [1]"])
def test_a_value_that_is_not_what_its_tag_says_is_one_sentence(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidDataset, match=r"data\.yaml (has a value that cannot be read|is not valid YAML)"):
        read_data_yaml(data_set(tmp_path, f"names: [{value}]\n"))


@pytest.mark.parametrize("name", ["0x" + "f" * 5000, "9" * 5000, "a" * 257], ids=["hexadecimal", "a number", "a text"])
def test_a_class_name_without_end_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidDataset, match=r"the name of class 1 is longer than 256 characters"):
        read_data_yaml(data_set(tmp_path, f"names: [mask, {name}]\n"))


@pytest.mark.parametrize("form", ["[{}]", "{{{}}}"], ids=["a list", "a dictionary"])
def test_classes_without_number_are_refused(tmp_path: Path, form: str) -> None:
    separator = ": " if form[0] == "{" else " "
    names = ",".join(f"{number}{separator}a" for number in range(10_001))
    with pytest.raises(InvalidDataset, match=r"names 10,001 classes; more than 10,000 are not taken"):
        read_data_yaml(data_set(tmp_path, f"names: {form.format(names)}\n"))


def test_keys_whose_hashes_are_equal_are_refused(tmp_path: Path) -> None:
    keys = ",".join(f"{number * (2**61 - 1)}: a" for number in range(1, 10))
    with pytest.raises(InvalidDataset, match="a number of more than 18 digits as a key"):
        read_data_yaml(data_set(tmp_path, f"names: {{{keys}}}\n"))


def test_a_number_that_two_keys_write_is_no_class_of_two_names(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="must number its classes 0 to 1 without a gap"):
        read_data_yaml(data_set(tmp_path, "names: {'0': mask, 00: none}\n"))


def test_aliases_that_multiply_are_never_written_out(tmp_path: Path) -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40))
    with pytest.raises(InvalidDataset) as caught:
        read_data_yaml(data_set(tmp_path, f"a0: &a0 [x]\n{levels}\nnames: *a39\n"))
    assert len(str(caught.value)) < 500


def test_a_list_that_holds_itself_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="'names' has a list"):
        read_data_yaml(data_set(tmp_path, "names: &a [*a]\n"))


@pytest.mark.parametrize("path", ["a/" * 65 + "a.png", "a" * 5000], ids=["folders", "characters"])
@pytest.mark.parametrize("entry", ["test: {}", "path: {}", "test: test.txt"])
def test_a_path_whose_every_ending_would_be_looked_for_is_refused(tmp_path: Path, entry: str, path: str) -> None:
    (tmp_path / "test.txt").write_text(path, encoding="utf-8")
    with pytest.raises(InvalidDataset, match=r"has a path of more than 4,096 characters or 64 folders"):
        read_data_yaml(data_set(tmp_path, f"names: [mask]\n{entry.format(path)}\n"))


def test_a_label_file_that_would_fill_the_memory_costs_its_picture_the_place(tmp_path: Path) -> None:
    labels = tmp_path / "a.txt"
    labels.write_bytes(b"0 .5 .5 .1 .1\n" * (LARGEST_LABELS // 14 + 1))
    with pytest.raises(LabelViolation, match="its label file is larger than 4 MiB"):
        read_labels(labels, 1)


def png(width: int, height: int) -> bytes:
    """One colour, so that the rows pack a thousandfold."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + width // 8)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bitmap(width: int, height: int) -> bytes:
    header = b"BM" + struct.pack("<IHHI", 1 << 20, 0, 0, 54)
    return header + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def tiff(width: int, height: int) -> bytes:
    """Of one bit a pixel, its size written over."""
    small = BytesIO()
    Image.new("1", (64, 48)).save(small, "TIFF", compression="group4")
    content = small.getvalue()
    for tag, before, after in ((256, 64, width), (257, 48, height)):
        for kind, number in ((3, "H2x"), (4, "I")):
            entry = struct.pack(f"<HHI{number}", tag, kind, 1, before)
            content = content.replace(entry, struct.pack("<HHII", tag, 4, 1, after))
    return content


@pytest.mark.parametrize("make", [png, bitmap, tiff])
def test_a_small_file_that_is_a_huge_picture_is_refused_before_it_is_decoded(
    make: Callable[[int, int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make(16_000, 16_000)
    assert len(content) < 40_000
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    assert "pixels" in why_unreadable(content)


def test_the_largest_picture_is_said_with_its_size() -> None:
    assert why_unreadable(png(16_000, 8_001)) == "it measures 16000 x 8001 pixels, more than 128,000,000"
    assert MOST_PIXELS >= 16_000 * 8_000


def test_a_format_of_opencv_whose_header_is_not_checked_is_no_picture() -> None:
    """Nor is it one to YOLOv5."""
    float_map = b"PF\n16 16\n-1.0\n" + bytes(16 * 16 * 12)
    assert cv2.imdecode(np.frombuffer(float_map, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    assert "cannot be decoded" in why_unreadable(float_map)


@pytest.mark.parametrize("name", [CLEAR_SCREEN, WINDOW_TITLE, FORGED_LINE, REVERSED])
def test_a_class_is_called_what_a_terminal_may_show(tmp_path: Path, name: str) -> None:
    (shown,) = read_data_yaml(data_set(tmp_path, f"names: {json.dumps([name])}\n")).names
    assert shown == printable(name) != name
    assert shown.isprintable()


@pytest.mark.parametrize("name", ["à bientôt", "口罩", "with mask", "👩\u200d🔬", "\\x1b"])
def test_names_of_all_languages_stay_as_they_are(name: str) -> None:
    assert printable(name) == name


def test_a_file_is_called_what_a_log_may_show(tmp_path: Path) -> None:
    root = data_set(tmp_path / "data", "names: [mask]\n")
    evil = root / "train" / "images" / f"{FORGED_LINE.replace('/', '')}{CLEAR_SCREEN}.png"
    evil.write_bytes(b"no picture")
    output = tmp_path / "output"
    output.mkdir()
    lines: list[str] = []
    images = sorted((root / "train" / "images").iterdir())
    checked = verify_split(
        "train", images, root=root, output=output, classes=1, image_size=32, processes=1, say=lines.append
    )
    (sentence,) = checked.skipped
    assert sentence.isprintable()
    assert all(map(str.isprintable, lines))


def test_an_error_is_one_line_whatever_it_names() -> None:
    assert str(MaskTrainError(f"The file {FORGED_LINE} is missing.")).isprintable()
    assert str(InvalidDataset(f"The zip has {WINDOW_TITLE}.")).isprintable()


WIDE_SIGNS = "\uff1d1+1", "\uff0b1+1", "\uff0d2+3", "\uff20SUM(A1)"


@pytest.mark.parametrize("name", ['=HYPERLINK("http://x")', "+1+1", "-2+3", "@SUM(A1)", " =1+1", *WIDE_SIGNS])
def test_a_table_holds_no_formula(name: str, tmp_path: Path) -> None:
    found = evaluation(["mask"])
    named = found.model_copy(update={"overall": found.overall.model_copy(update={"name": name})})
    write_per_class(named, tmp_path / "per_class.csv")
    rows = list(csv.DictReader(StringIO((tmp_path / "per_class.csv").read_text(encoding="utf-8"))))
    assert rows[0]["name"] == f"'{name}"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    secret = tmp_path / "credentials.txt"
    secret.write_text("aws_secret_access_key = AKIA")
    return secret


def test_a_link_out_of_the_folder_is_refused_by_name(tmp_path: Path, secret: Path) -> None:
    root = data_set(tmp_path / "data", "names: [mask]\n")
    (root / "train" / "labels.txt").symlink_to(secret)
    with pytest.raises(InvalidDataset, match=r"train/labels\.txt is a link to .*credentials\.txt") as caught:
        zip_folder(root, tmp_path / "data.zip")
    assert not (tmp_path / "data.zip").exists()
    assert "AKIA" not in str(caught.value)


def test_a_link_to_what_is_not_packed_itself_is_refused(tmp_path: Path) -> None:
    root = data_set(tmp_path / "data", "names: [mask]\n")
    (root / ".env").write_text("TOKEN=1")
    (root / "train" / "notes.txt").symlink_to(root / ".env")
    with pytest.raises(InvalidDataset, match=r"notes\.txt is a link to"):
        zip_folder(root, tmp_path / "data.zip")


def test_a_link_within_the_folder_is_packed(tmp_path: Path) -> None:
    root = data_set(tmp_path / "data", "names: [mask]\n")
    (root / "train" / "images" / "b.png").symlink_to("a.png")
    zip_folder(root, tmp_path / "data.zip")
    with zipfile.ZipFile(tmp_path / "data.zip") as packed:
        assert packed.read("train/images/b.png") == packed.read("train/images/a.png")


def member(name: bytes, content: bytes, method: int = 0, *, flags: int = 0, version: int = 20) -> bytes:
    """A zip of one member, whatever its headers say."""
    fields = (flags, method, 0, 33, zlib.crc32(content), len(content), len(content), len(name))
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, *fields, 0) + name + content
    central = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, version, *fields, 0, 0, 0, 0, 0, 0) + name
    return local + central + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(central), len(local), 0)


@pytest.mark.parametrize(
    "content",
    [
        member(b"\xff\xfe.jpg", b"", flags=0x800),
        member(b"", b"x"),
        member(b"a.jpg", b"x", version=99),
        member(b"a.jpg", b"\x09\x14\x05\x00\x5d\x00\x00\x00\x01" + b"garbage" * 10, 14),
        member(b"a.jpg", b"\x09\x14\x05\x00\xff\xff\xff\xff\xff" + b"garbage" * 10, 14),
    ],
    ids=["a name that is no text", "no name", "a version that does not exist", "no LZMA", "no filter of LZMA"],
)
def test_a_zip_that_its_reader_stumbles_over_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InvalidDataset):
        extract(tmp_path / "a.zip", tmp_path / "out", name="a.zip")


@pytest.mark.parametrize(
    "row", ["0 .5 .5 .5 " + "9" * 100_000, "9" * 300 + " .5 .5 .5 .5", "0." + "1" * 9_999 + " 1 1 1 1"]
)
def test_a_number_as_long_as_its_file_floods_no_log(row: str) -> None:
    (dropped,) = parse_labels(row, 1).examples
    assert len(dropped.reason) < 200


def test_a_number_in_parts_of_sixty_takes_no_minutes(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="longer than 256 characters"):
        read_data_yaml(data_set(tmp_path, f"names: [1{':59' * 1_000}]\n"))
    with pytest.raises(InvalidDataset, match="of more than 1,000 characters"):
        read_data_yaml(data_set(tmp_path / "tagged", f"names: [!!int 1{':59' * 1_000}]\n"))


def test_one_folder_a_hundred_thousand_times_is_looked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = data_set(tmp_path, "names: [mask]\n")
    (root / "data.yaml").write_text(f"names: [mask]\ntrain: [&x train/images{',*x' * 100_000}]\nval: valid/images\n")
    looked_for: list[str] = []
    find = data_yaml._Search.find

    def counted(search: data_yaml._Search, value: str) -> data_yaml._Place | None:
        looked_for.append(value)
        return find(search, value)

    monkeypatch.setattr(data_yaml._Search, "find", counted)
    assert len(read_data_yaml(root).images["train"]) == 1
    assert looked_for == ["train/images", "valid/images"]


def test_a_list_of_pictures_without_end_is_not_read(tmp_path: Path) -> None:
    root = data_set(tmp_path, "names: [mask]\ntest: test.txt\n")
    with (root / "test.txt").open("wb") as file:
        file.truncate(LARGEST_LIST + 1)
    with pytest.raises(InvalidDataset, match=r"test\.txt is larger than 256 MiB"):
        read_data_yaml(root)


def test_a_file_of_gigabytes_is_no_picture(tmp_path: Path) -> None:
    root = data_set(tmp_path / "data", "names: [mask]\n")
    with (root / "train" / "images" / "b.png").open("wb") as file:
        file.truncate(LARGEST_PICTURE + 1)
    (tmp_path / "out").mkdir()
    images = sorted((root / "train" / "images").iterdir())
    checked = verify_split(
        "train", images, root=root, output=tmp_path / "out", classes=1, image_size=32, processes=1, say=lambda _: None
    )
    assert checked.skipped == ["train/images/b.png is skipped: its file is larger than 1 GiB."]


def test_a_jpeg_of_scans_without_end_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = BytesIO()
    Image.new("L", (64, 64)).save(made, "JPEG", progressive=True)
    content = made.getvalue()
    assert isinstance(decode_picture(content), np.ndarray)
    scan = content[content.rindex(b"\xff\xda") : -2]
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    assert "more than 100 scans" in why_unreadable(content[:-2] + scan * 200 + b"\xff\xd9")


def animation() -> bytes:
    """Two frames of 16 x 16 pixels, the first one red."""
    made = BytesIO()
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(made, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    return made.getvalue()


def test_an_animation_whose_canvas_is_huge_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    monkeypatch.setattr(WebPImagePlugin.WebPImageFile, "load", lambda *_: pytest.fail("it was decoded"))
    made = animation()
    side = (9_999).to_bytes(3, "little")
    huge = made[:24] + side + side + made[30:]
    assert why_unreadable(huge) == "it measures 10000 x 10000 pixels, more than 64,000,000 for an animated WebP"


def test_a_small_animation_is_its_first_frame() -> None:
    first = decode_picture(animation())
    assert isinstance(first, np.ndarray)
    assert first.shape == (16, 16, 3)
    assert (first == [255, 0, 0]).all()


@pytest.mark.parametrize("name", ["mask;=1+1", "\uff1d1+1", " =1+1", "a;\t@SUM(A1)"])
def test_a_table_holds_no_formula_in_other_languages(name: str, tmp_path: Path) -> None:
    found = evaluation(["mask"])
    named = found.model_copy(update={"overall": found.overall.model_copy(update={"name": name})})
    write_per_class(named, tmp_path / "per_class.csv")
    text = (tmp_path / "per_class.csv").read_text(encoding="utf-8")
    assert not any(
        cell.strip().strip('"').startswith(("=", "+", "-", "@", "\uff1d")) for cell in text.replace(";", ",").split(",")
    )


def test_a_picture_to_detect_on_starts_no_other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was asked"))
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")
    with pytest.raises(InvalidConfiguration, match="not a readable image"):
        detect(tmp_path / "a.jpg")


def test_a_huge_picture_to_detect_on_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    (tmp_path / "a.png").write_bytes(png(12_000, 12_000))
    with pytest.raises(InvalidConfiguration, match="pixels"):
        detect(tmp_path / "a.png")


LINK = 0o120777 << 16


def with_links(path: Path, links: dict[str, str], files: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, target in links.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = LINK
            archive.writestr(info, target)
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("links", "files"),
    [
        ({"a": "../outside"}, {"a/evil.txt": "x"}),
        ({"a": "../outside", "a/b": "c"}, {}),
        ({"a": "..", "a/evil.txt": "a"}, {}),
        ({"a": "b", "b": "../outside", "c/d": "../a"}, {"b/evil.txt": "x"}),
        ({"a": "b", "b": "../outside"}, {}),
        ({"train/images": "../../outside/secret.txt"}, {}),
        ({"a/b/c": "../../../outside"}, {"a/b/c/evil.txt": "x"}),
    ],
)
def test_nothing_is_written_or_read_through_a_link_of_a_zip(
    tmp_path: Path, links: dict[str, str], files: dict[str, str]
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("AKIA")
    with_links(tmp_path / "a.zip", links, files)
    with pytest.raises(InvalidDataset) as caught:
        extract(tmp_path / "a.zip", tmp_path / "out", name="a.zip")
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret.txt"]
    assert not list(tmp_path.glob("evil*"))
    assert "AKIA" not in str(caught.value)


def test_links_of_a_zip_that_multiply_end(tmp_path: Path) -> None:
    links = {f"f{number}/{name}": f"../f{number + 1}" for number in range(30) for name in "ab"}
    with_links(tmp_path / "a.zip", links, {"f30/x.jpg": "x"})
    assert extract(tmp_path / "a.zip", tmp_path / "out", name="a.zip") == 61
    assert len(list_files(tmp_path / "out").files) < 1000


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    root = data_set(tmp_path / "data", "names: [mask]\n")
    os.mkfifo(root / "train" / "images" / "b.png")
    (root / "train" / "images" / "c.png").symlink_to("b.png")
    zip_folder(root, tmp_path / "data.zip")
    with zipfile.ZipFile(tmp_path / "data.zip") as packed:
        assert packed.namelist() == ["data.yaml", "train/images/a.png", "valid/images/a.png"]


def test_a_link_to_a_folder_outside_is_refused_by_name(tmp_path: Path, secret: Path) -> None:
    root = data_set(tmp_path / "data", "names: [mask]\n")
    (tmp_path / "others").mkdir()
    secret.rename(tmp_path / "others" / "credentials.txt")
    (root / "more").symlink_to(tmp_path / "others")
    with pytest.raises(InvalidDataset, match=r"data/more is a link to .*/others, which is no file of the data set"):
        zip_folder(root, tmp_path / "data.zip")
    assert not (tmp_path / "data.zip").exists()
