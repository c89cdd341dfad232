"""Which yaml describes a data set."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from masktrain_trainer.data.source.file_list import list_files
from masktrain_trainer.data.source.yaml_file import find_yaml, folder_meant
from masktrain_trainer.errors import InvalidDataset
from masktrain_trainer.local.datasets import as_archive, open_dataset
from tests.unit.trainer.data.exports import unpacked

A_SET = "train: train/images\nval: valid/images\nnames: [a]"
HYPERPARAMETERS = "lr0: 0.01\nmosaic: 1.0"
A_MODEL = "nc: 80\nbackbone: [[-1, 1, Conv, [64, 6, 2, 2]]]"

CHOSEN: dict[str, tuple[dict[str, str], str, list[str]]] = {
    "at the top": ({"data.yaml": A_SET}, "data.yaml", []),
    "in a folder": ({"Masks-3/data.yaml": A_SET}, "Masks-3/data.yaml", []),
    "another ending": ({"data.yml": A_SET}, "data.yml", []),
    "capitals": ({"Data.YAML": A_SET, "hyp.yaml": HYPERPARAMETERS}, "Data.YAML", []),
    "another name": ({"masks.yaml": A_SET}, "masks.yaml", []),
    "another name among others": (
        {"masks.yaml": A_SET, "hyp.yaml": HYPERPARAMETERS, "yolov5s.yaml": A_MODEL, "broken.yaml": "a: ["},
        "masks.yaml",
        [],
    ),
    "beside others": ({"data.yaml": A_SET, "coco.yaml": A_SET, "hyp.yaml": HYPERPARAMETERS}, "data.yaml", []),
    "an older one below": ({"data.yaml": A_SET, "old/data.yaml": A_SET}, "data.yaml", ["old/data.yaml"]),
    "both endings": ({"data.yml": A_SET, "data.yaml": A_SET}, "data.yaml", ["data.yml"]),
    "AppleDouble": ({"masks.yaml": A_SET, "._masks.yaml": "\x00", "__MACOSX/._masks.yaml": "\x00"}, "masks.yaml", []),
    "hidden": ({"data.yaml": A_SET, ".ipynb_checkpoints/data.yaml": A_SET}, "data.yaml", []),
    "hidden deeper": ({"a/data.yaml": A_SET, ".trash/b/data.yaml": A_SET}, "a/data.yaml", []),
}


@pytest.mark.parametrize(("files", "chosen", "others"), CHOSEN.values(), ids=CHOSEN)
def test_the_yaml_that_is_meant(tmp_path: Path, files: dict[str, str], chosen: str, others: list[str]) -> None:
    found = find_yaml(list_files(unpacked(tmp_path, files)))
    assert found == (PurePosixPath(chosen), [PurePosixPath(other) for other in others])


SEVERAL = {
    "two projects": (["Boots-4/data.yaml", "Helmets-1/data.yaml"], "2 data sets"),
    "at different depths": (["Helmets-1/data.yaml", "more/Boots-4/data.yaml"], "2 data sets"),
    "two names in one folder": (["boots.yaml", "helmets.yaml"], "2 data sets"),
    "four": (["a/data.yaml", "b/data.yaml", "c/data.yaml", "d/data.yaml"], "4 data sets"),
}


@pytest.mark.parametrize(("names", "count"), SEVERAL.values(), ids=SEVERAL)
def test_several_data_sets_in_one_place_are_refused_by_name(tmp_path: Path, names: list[str], count: str) -> None:
    with pytest.raises(InvalidDataset) as caught:
        find_yaml(list_files(unpacked(tmp_path, dict.fromkeys(names, A_SET))))
    assert count in str(caught.value)
    assert all(name in str(caught.value) for name in names[:3])
    assert str(caught.value).endswith("give the folder of one of them, or a zip of it alone.")


@pytest.mark.parametrize("files", [{}, {"hyp.yaml": HYPERPARAMETERS, "model.yaml": A_MODEL}, {"._data.yaml": A_SET}])
def test_none(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(InvalidDataset, match=r"^The data set has no data\.yaml; export it as 'YOLOv5 PyTorch'"):
        find_yaml(list_files(unpacked(tmp_path, files)))


def test_a_yaml_that_is_left_out_is_named(tmp_path: Path) -> None:
    unpacked(tmp_path, {"set/train/images/a.jpg": b"x", "other.yaml": A_SET})
    (tmp_path / "set" / "data.yaml").symlink_to("../other.yaml")
    with pytest.raises(
        InvalidDataset, match=r"no data\.yaml: data\.yaml is a link to .*/other\.yaml, outside the data set"
    ):
        find_yaml(list_files(tmp_path / "set"))


@pytest.mark.parametrize("name", ["data.yaml", "masks.yaml", "data.YML"])
def test_the_folder_of_a_yaml_is_meant(tmp_path: Path, name: str) -> None:
    root = unpacked(tmp_path / "set", {name: A_SET, "train/images/a.jpg": b"x"})
    assert folder_meant(root / name) == root
    assert open_dataset(str(root / name), None, tmp_path, print) == root
    (tmp_path / "scratch").mkdir()
    assert as_archive(root / name, tmp_path / "scratch").name == "dataset.zip"


@pytest.mark.parametrize("name", ["set", "set.zip", "none.yaml"])
def test_what_is_no_yaml_is_meant_itself(tmp_path: Path, name: str) -> None:
    unpacked(tmp_path, {"set/data.yaml": A_SET, "set.zip": b""})
    assert folder_meant(tmp_path / name) == tmp_path / name


@pytest.mark.parametrize("name", ["coco.yaml", "hyp.yaml"])
def test_a_yaml_that_its_folder_is_not_read_by_is_refused(tmp_path: Path, name: str) -> None:
    unpacked(tmp_path, {"data.yaml": A_SET, "coco.yaml": A_SET, "hyp.yaml": HYPERPARAMETERS})
    with pytest.raises(InvalidDataset, match=r"is not the yaml that its folder is read by, which is data\.yaml"):
        folder_meant(tmp_path / name)


def test_a_project_among_several_is_chosen_by_its_folder(tmp_path: Path) -> None:
    unpacked(tmp_path, {"Boots-4/data.yaml": A_SET, "Helmets-1/data.yaml": A_SET})
    assert folder_meant(tmp_path / "Boots-4" / "data.yaml") == tmp_path / "Boots-4"
