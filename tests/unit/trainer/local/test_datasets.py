"""The same files give the same zip, whenever and in whatever order they were written."""

import os
import zipfile
from pathlib import Path

import pytest

from masktrain_trainer.errors import InvalidConfiguration, InvalidDataset
from masktrain_trainer.files import sha256_of
from masktrain_trainer.local.datasets import as_archive, open_dataset, zip_folder
from masktrain_trainer.local.evaluate import EvaluationOptions, dataset_of

FILES = {"data.yaml": b"names: [a]", "train/images/x.JPG": b"pixels", "train/labels/x.txt": b"0 .5 .5 .1 .1"}
CLUTTER = {".git/config": b"", "__MACOSX/x.jpg": b"", "train/labels.cache": b"pickle", "best.pt": b""}


def write(folder: Path, files: dict[str, bytes], when: int) -> Path:
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        os.utime(path, (when, when))
    return folder


def test_the_zip_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    one = write(tmp_path / "one", FILES, when=10**9)
    other = write(tmp_path / "other", dict(reversed(FILES.items())) | CLUTTER, when=1)
    (other / "data.yaml").chmod(0o600)
    zip_folder(one, tmp_path / "one.zip")
    zip_folder(other, tmp_path / "other.zip")
    assert sha256_of(tmp_path / "one.zip") == sha256_of(tmp_path / "other.zip")
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == FILES


def test_an_empty_folder_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="neither images nor labels"):
        as_archive(tmp_path, tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="does not exist"):
        as_archive(tmp_path / "none", tmp_path)


LINK = "https://app.roboflow.com/ds/abc?key=hunter2"


def test_val_takes_the_environments_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKTRAIN_DATASET_URL", LINK)
    assert dataset_of(EvaluationOptions("best.pt", None)) == "https://app.roboflow.com/ds/abc"
    assert dataset_of(EvaluationOptions("best.pt", "set.zip")) == "set.zip"
    monkeypatch.delenv("MASKTRAIN_DATASET_URL")
    with pytest.raises(InvalidConfiguration, match="with --data, or put a download link into MASKTRAIN_DATASET_URL"):
        dataset_of(EvaluationOptions("best.pt", None))


@pytest.mark.parametrize("link", [LINK, "https://o.example/p/hunter2/n/ns/b/data/o/set.zip"])
def test_a_link_with_a_key_is_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str) -> None:
    monkeypatch.delenv("MASKTRAIN_DATASET_URL", raising=False)
    with pytest.raises(InvalidConfiguration, match="into the environment variable MASKTRAIN_DATASET_URL") as caught:
        open_dataset(link, None, tmp_path, print)
    assert "hunter2" not in str(caught.value)
