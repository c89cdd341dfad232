"""Every way in which exports name their folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from masktrain_trainer.data.source.data_yaml import read_data_yaml
from masktrain_trainer.errors import InvalidDataset

from .exports import export, unpacked


def read(root: Path, yaml: str, folder: str = ".") -> dict[str, list[str]]:
    members = {name: body for name, body in export().items() if name != "data.yaml"}
    unpacked(root / "set" / folder, {**members, "data.yaml": yaml})
    described = read_data_yaml(root / "set")
    return {
        split: sorted({image.parent.relative_to((root / "set" / folder).resolve()).as_posix() for image in images})
        for split, images in described.images.items()
    }


FORMS = {
    "as Roboflow writes it": "train: ../train/images\nval: ../valid/images\ntest: ../test/images",
    "beside the yaml": "train: train/images\nval: valid/images",
    "with a dot": "train: ./train/images\nval: ./valid/images",
    "inside a folder of the project": "train: Masks-3/train/images\nval: Masks-3/valid/images",
    "absolute, on the machine that exported": "train: /content/M/train/images\nval: /content/M/valid/images",
    "Windows": "train: ..\\train\\images\nval: C:\\sets\\valid\\images",
    "without images": "train: train\nval: valid",
    "val instead of valid": "train: ../train/images\nval: ../val/images",
    "key valid": "train: ../train/images\nvalid: ../valid/images",
    "with path": "path: ../datasets/masks\ntrain: train/images\nval: valid/images",
    "as lists": "train: [../train/images]\nval: [../valid/images]",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("folder", [".", "Masks-3"])
def test_folders_are_found(tmp_path: Path, form: str, folder: str) -> None:
    assert read(tmp_path, f"{form}\nnames: [a, b]", folder) == {"train": ["train/images"], "val": ["valid/images"]}


def test_lists_of_files(tmp_path: Path) -> None:
    unpacked(tmp_path / "set", {"train.txt": "./train/images/train0.jpg\n\ntrain/images/train2.jpg\n"})
    read(tmp_path, "train: train.txt\nval: valid/images\nnames: [a, b]")
    images = read_data_yaml(tmp_path / "set").images["train"]
    assert [image.name for image in images] == ["train0.jpg", "train2.jpg"]


def test_a_list_that_names_a_missing_file(tmp_path: Path) -> None:
    unpacked(tmp_path / "set", {"train.txt": "./train/images/gone.jpg\n"})
    with pytest.raises(InvalidDataset, match=r"train\.txt lists './train/images/gone\.jpg'"):
        read(tmp_path, "train: train.txt\nval: valid/images\nnames: [a, b]")


def test_an_images_folder_of_no_split_is_never_taken(tmp_path: Path) -> None:
    unpacked(tmp_path / "set", {"images/other.jpg": b"x"})
    with pytest.raises(InvalidDataset, match=r"'\.\./holdout/images'"):
        read(tmp_path, "train: train/images\nval: ../holdout/images\nnames: [a, b]")


@pytest.mark.parametrize("names", ["[a, b]", "{0: a, 1: b}", "\n- a\n- b"])
def test_names(tmp_path: Path, names: str) -> None:
    yaml = f"train: train/images\nval: valid/images\nnames: {names}"
    unpacked(tmp_path, {**export(), "data.yaml": yaml})
    assert read_data_yaml(tmp_path).names == ["a", "b"]


def test_numbers_as_names(tmp_path: Path) -> None:
    unpacked(tmp_path, {**export(), "data.yaml": "train: train/images\nval: valid/images\nnames: [0, 1.5]"})
    assert read_data_yaml(tmp_path).names == ["0", "1.5"]
