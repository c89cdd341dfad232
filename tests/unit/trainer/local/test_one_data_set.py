"""A folder, zips of it by whatever tool, and what comes out of an upload are one data set in counts, labels and pixels.

Data sets are drawn by hypothesis: names, Unicode forms, endings, links, hidden files, forms of labels.
"""

import hashlib
import io
import os
import tempfile
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from masktrain_trainer.data.prepared import CachedImages
from masktrain_trainer.local.datasets import check_dataset, open_dataset, push_dataset, zip_folder

DATA_YAML = "train: [train/images, linked/images, flat]\nval: valid/images\nnames: [cat, dog]\n"
FORMATS = {".jpg": "JPEG", ".JPG": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".Png": "PNG", ".bmp": "BMP", ".tif": "TIFF"}
LABELS = {
    "none": None,
    "empty": "",
    "box": "1 0.5 0.5 0.4 0.3\n",
    "polygon": "0 0.25 0.5 0.5 0.25 0.75 1\n",
    "both": "0 0.25 0.5 0.5 0.25 0.75 1\r\n1 0.5 0.5 0.25 0.5",
}


@dataclass(frozen=True)
class Drawn:
    """A picture of a folder, by its name without ending, and its label."""

    folder: str
    stem: str
    ending: str
    label: str
    label_ending: str
    decomposed: tuple[bool, bool]
    """Whether the name of the picture, and that of its label, are in the Unicode form NFD."""


@dataclass(frozen=True)
class Extras:
    """What else lies there: copies with hidden names, a picture and a folder by link, labels without picture."""

    hidden: bool
    linked_picture: bool
    linked_folder: bool
    label_behind_link: bool
    orphan: bool


STEMS = st.text("abXY09 _-.,#%&+()[]éÜß口😷", min_size=1, max_size=6).map(
    lambda text: f"{text.strip(' .') or 'x'}.rf" if "." in text else text.strip() or "y"
)
PICTURES = st.builds(
    Drawn,
    st.sampled_from(["train/images", "train/images/deep er", "flat", "valid/images"]),
    STEMS,
    st.sampled_from(sorted(FORMATS)),
    st.sampled_from(sorted(LABELS)),
    st.sampled_from([".txt", ".TXT", "double"]),
    st.tuples(st.booleans(), st.booleans()),
)


def picture(seed: int, kind: str) -> bytes:
    body = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(body, kind)
    return body.getvalue()


def write(root: Path, name: str, content: bytes | str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def in_form(text: str, *, decomposed: bool) -> str:
    return unicodedata.normalize("NFD" if decomposed else "NFC", text)


def build(root: Path, pictures: list[Drawn], extras: Extras) -> None:
    write(root, "data.yaml", DATA_YAML)
    for number, drawn in enumerate([*fixed(), *pictures]):
        name = in_form(f"{drawn.folder}/{drawn.stem}", decomposed=drawn.decomposed[0])
        write(root, name + drawn.ending, picture(number, FORMATS[drawn.ending]))
        rows, place = LABELS[drawn.label], drawn.folder.replace("images", "labels")
        ending = f"{drawn.ending}.txt" if drawn.label_ending == "double" else drawn.label_ending
        if rows is not None:
            write(root, in_form(f"{place}/{drawn.stem}", decomposed=drawn.decomposed[1]) + ending, rows)
    add(root, extras)


def fixed() -> list[Drawn]:
    """Each folder that data.yaml names needs a picture, and training a box."""
    places = ("train/images", "valid/images", "flat")
    return [Drawn(place, "base", ".png", "box", ".txt", (False, False)) for place in places]


def add(root: Path, extras: Extras) -> None:
    base = (root / "train/images/base.png").read_bytes()
    write(root, "store/images/linked.png", picture(999, "PNG"))
    write(root, "store/labels/linked.txt", LABELS["both"] or "")
    if extras.linked_folder:
        (root / "linked").mkdir()
        (root / "linked/images").symlink_to("../store/images")
        if not extras.label_behind_link:
            write(root, "linked/labels/linked.txt", LABELS["box"] or "")
    else:
        write(root, "linked/images/own.png", base)
    if extras.linked_picture:
        (root / "train/images/again.png").symlink_to("../../store/images/linked.png")
    if extras.hidden:
        write(root, "train/images/.ipynb_checkpoints/base-checkpoint.png", base)
        write(root, "train/images/._base.png", b"\0\5\x16\7Mac OS X")
        write(root, "__MACOSX/train/images/._base.png", b"\0\5\x16\7Mac OS X")
        write(root, "._data.yaml", b"\0\5\x16\7Mac OS X")
    if extras.orphan:
        write(root, "train/labels/orphan.txt", LABELS["box"] or "")


def foreign_zip(root: Path, archive: Path, *, backslashes: bool, links: bool) -> None:
    """As other tools make one: in another order, with hidden names and folders, and links followed or as links."""
    entries = sorted(_walk(root, links=links), key=lambda entry: entry[0][::-1])
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as sink:
        for name, path in entries:
            info = zipfile.ZipInfo("x")
            info.filename = name.replace("/", "\\") if backslashes else name
            if path.is_symlink() and links:
                info.external_attr = 0o120777 << 16
                sink.writestr(info, str(path.readlink()))
            else:
                sink.writestr(info, path.read_bytes() if path.is_file() else b"")


def _walk(root: Path, *, links: bool) -> Iterator[tuple[str, Path]]:
    for folder, folders, names in os.walk(root, followlinks=not links):
        for name in (*folders, *names):
            path = Path(folder, name)
            place = path.relative_to(root).as_posix()
            is_folder = path.is_dir() and not (links and path.is_symlink())
            yield f"{place}/" if is_folder else place, path


def seen(root: Path, scratch: Path) -> dict[str, Any]:
    """What is trained on: of each split every picture's name, SHA-256 of its pixels, and boxes; and what is skipped."""
    scratch.mkdir(exist_ok=True)
    checked = check_dataset(root, scratch, lambda _: None, image_size=32)
    found: dict[str, Any] = {"names": checked.names, "skipped": sorted(checked.skipped)}
    for name, split in checked.splits.items():
        images = CachedImages(split.split.labels, split.split.cache)
        found[name] = [
            (
                split.split.images[index].name,
                hashlib.sha256(images.image(index).tobytes()).hexdigest(),
                images.targets(index).tolist(),
            )
            for index in range(len(images))
        ]
        found[f"{name} counts"] = Counter(len(targets) for targets in split.targets)
    return found


def opened(source: str, scratch: Path) -> Path:
    scratch.mkdir()
    return open_dataset(source, None, scratch, lambda _: None)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masktrain_trainer.local.datasets.cpu_limit", lambda: 1)


@settings(max_examples=25, phases=[Phase.generate])  # to shrink a data set takes minutes
@given(st.lists(PICTURES, max_size=6), st.builds(Extras, *[st.booleans()] * 5))
def test_folder_zips_and_upload_are_one_data_set(pictures: list[Drawn], extras: Extras) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        root = place / "set"
        build(root, pictures, extras)
        zip_folder(root, place / "own.zip")
        foreign_zip(root, place / "backslashes.zip", backslashes=True, links=False)
        foreign_zip(root, place / "links.zip", backslashes=False, links=True)
        uploaded = f"file://{place}/store/set.zip"
        push_dataset(root, uploaded, None, replace=False, say=lambda _: None)
        expected = seen(root, place / "of folder")
        for number, source in enumerate([f"{place}/own.zip", f"{place}/links.zip", uploaded]):
            assert seen(opened(source, place / str(number)), place / f"of {number}") == expected, source
        # No link is left to say where the label lies.
        if not (extras.linked_folder or extras.linked_picture):
            assert seen(opened(f"{place}/backslashes.zip", place / "b"), place / "of b") == expected
        assert_as_built(expected, pictures, extras)


def assert_as_built(found: dict[str, Any], pictures: list[Drawn], extras: Extras) -> None:
    names = [name for split in ("train", "val") for name, _, _ in found[split]]
    assert not any("/." in name or name.startswith(("store", "__MACOSX")) for name in names)
    assert ("train/images/again.png" in names) == extras.linked_picture
    assert ("linked/images/linked.png" in names) == extras.linked_folder
    boxes = {name: targets for name, _, targets in found["train"]}
    if extras.linked_folder:
        assert len(boxes["linked/images/linked.png"]) == (2 if extras.label_behind_link else 1)
    if extras.linked_picture:
        assert len(boxes["train/images/again.png"]) == 2
    if not pictures:
        assert len(found["val"]) == 1


NAMES = ["caf\udce9", "a\\b", "\udcff\udcfe"]


@pytest.mark.parametrize("stem", NAMES, ids=ascii)
def test_names_that_no_zip_can_hold_are_one_data_set_too(tmp_path: Path, stem: str) -> None:
    root = tmp_path / "set"
    build(root, [], Extras(*[False] * 5))
    write(root, f"train/images/{stem}.png", picture(7, "PNG"))
    write(root, f"train/labels/{stem}.txt", LABELS["both"] or "")
    push_dataset(root, f"file://{tmp_path}/set.zip", None, replace=False, say=lambda _: None)
    folder, upload = seen(root, tmp_path / "of folder"), seen(opened(f"{tmp_path}/set.zip", tmp_path / "out"), tmp_path)
    assert len(folder["train"]) == 4
    assert sorted(entry[1:] for entry in folder["train"]) == sorted(entry[1:] for entry in upload["train"])
    assert sorted(len(entry[2]) for entry in upload["train"]) == [0, 1, 1, 2]


def test_what_is_left_out_is_counted_alike(tmp_path: Path) -> None:
    root = tmp_path / "set"
    build(root, [], Extras(True, *[False] * 4))
    for name in ("flat/runs", "flat/runs/inner", ".git/runs"):
        write(root, f"{name}/.masktrain-results", "")
        write(root, f"{name}/val_batch0_pred.png", picture(5, "PNG"))
    foreign_zip(root, tmp_path / "set.zip", backslashes=False, links=False)
    said: list[list[str]] = []
    for number, source in enumerate([root, tmp_path / "set.zip"]):
        said.append([])
        open_dataset(str(source), None, tmp_path / str(number), said[-1].append)
    assert said[0] == said[1]
    assert "5 (._data.yaml, .git, __MACOSX and 2 more)" in said[0][0]
    assert said[0][1] == "left out, folders of results: 1 (flat/runs)"


def test_results_are_no_data_in_a_folder_and_in_zips(tmp_path: Path) -> None:
    root = tmp_path / "set"
    build(root, [], Extras(*[False] * 5))
    expected = seen(root, tmp_path / "before")
    write(root, "flat/runs/.masktrain-results", "")
    write(root, "flat/runs/masks/val_batch0_pred.png", picture(5, "PNG"))
    zip_folder(root, tmp_path / "own.zip")
    foreign_zip(root, tmp_path / "set.zip", backslashes=True, links=False)
    for number, source in enumerate([root, tmp_path / "own.zip", tmp_path / "set.zip"]):
        assert seen(opened(str(source), tmp_path / str(number)), tmp_path / f"of {number}") == expected
