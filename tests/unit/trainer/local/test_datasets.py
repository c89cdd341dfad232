"""A folder's zip: the same for the same files, with nothing lost on the way but what is said."""

import os
import tempfile
import zipfile
from pathlib import Path

import pytest

from masktrain_trainer.errors import InvalidConfiguration, InvalidDataset
from masktrain_trainer.files import sha256_of
from masktrain_trainer.local import datasets
from masktrain_trainer.local.datasets import as_archive, open_dataset, push_dataset, scratch_folder, zip_folder
from masktrain_trainer.local.evaluate import EvaluationOptions, dataset_of
from tests.unit.trainer.data.exports import export, unpacked, zipped

FILES = {"data.yaml": b"names: [a]", "train/images/x.JPG": b"pixels", "train/labels/x.txt": b"0 .5 .5 .1 .1"}
CLUTTER = {".git/config": b"", "__MACOSX/x.jpg": b"", "train/labels.cache": b"pickle", "best.pt": b""}


def write(folder: Path, files: dict[str, bytes], when: int) -> Path:
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        os.utime(path, (when, when))
    return folder


def members(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def nothing(_: str) -> None:
    pass


def test_the_zip_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    one = write(tmp_path / "one", FILES, when=10**9)
    other = write(tmp_path / "other", dict(reversed(FILES.items())) | CLUTTER, when=1)
    (other / "data.yaml").chmod(0o600)
    zip_folder(one, tmp_path / "one.zip")
    zip_folder(other, tmp_path / "other.zip")
    assert sha256_of(tmp_path / "one.zip") == sha256_of(tmp_path / "other.zip")
    assert members(tmp_path / "one.zip") == FILES


def test_the_zip_of_a_folder_is_the_one_that_it_always_was(tmp_path: Path) -> None:
    """Its SHA-256 names a data set in a store, and a training that goes on."""
    odd = {"train-a/images/x.jpg": b"1", "train/images/x.jpg": b"2", "train.txt": b"3", "a b/\u00fc.txt": b"4"}
    zip_folder(write(tmp_path / "set", FILES | odd, when=1), tmp_path / "set.zip")
    assert list(members(tmp_path / "set.zip")) == [
        *("a b/\u00fc.txt", "data.yaml", "train/images/x.JPG", "train/images/x.jpg", "train/labels/x.txt"),
        *("train-a/images/x.jpg", "train.txt"),
    ]
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        assert {(info.date_time, info.external_attr, info.create_system) for info in archive.infolist()} == {
            ((1980, 1, 1, 0, 0, 0), 0o100644 << 16, 3)
        }
        assert [info.compress_type for info in archive.infolist()] == [8, 8, 0, 0, 8, 0, 8]


def test_an_empty_folder_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="neither images nor labels"):
        as_archive(tmp_path, tmp_path, nothing)


@pytest.mark.parametrize("name", ["none", "none.zip", "none.yaml"])
def test_a_missing_place_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidDataset, match=f"{name} does not exist"):
        as_archive(tmp_path / name, tmp_path, nothing)
    with pytest.raises(InvalidDataset, match=f"{name} does not exist"):
        open_dataset(str(tmp_path / name), None, tmp_path, nothing)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "set.zip")
    with pytest.raises(InvalidDataset, match=r"set\.zip is no file; give"):
        as_archive(tmp_path / "set.zip", tmp_path, nothing)


def test_what_a_zip_is_made_without_is_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", FILES | CLUTTER, when=1)
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    lines: list[str] = []
    as_archive(folder, tmp_path, lines.append)
    assert lines == [
        "left out, hidden, or put there by the system: 2 (.git, __MACOSX)",
        "left out, links to nothing: 1 (gone.jpg -> nowhere.jpg)",
        "left out, neither pictures that are read nor texts: 2 (best.pt, train/labels.cache)",
    ]


def test_here_a_link_out_of_the_folder_is_left_out_and_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", FILES, when=1)
    write(tmp_path / "other", {"a.jpg": b""}, when=1)
    (folder / "train" / "more").symlink_to(tmp_path / "other")
    lines: list[str] = []
    archive = as_archive(folder, tmp_path, lines.append)
    assert members(archive) == FILES
    assert lines == [f"left out, links to what is outside the data set: 1 (train/more -> {tmp_path}/other)"]


@pytest.mark.parametrize("target", ["other", "set/.hidden"])
def test_for_others_a_link_to_a_folder_out_of_the_data_set_is_refused(tmp_path: Path, target: str) -> None:
    folder = write(tmp_path / "set", FILES | {".hidden/a.jpg": b""}, when=1)
    write(tmp_path / "other", {"a.jpg": b""}, when=1)
    (folder / "train" / "more").symlink_to(tmp_path / target)
    with pytest.raises(InvalidDataset, match=rf"set/train/more is a link to {tmp_path}/{target}, which is no file of"):
        as_archive(folder, tmp_path, nothing, to_publish=True)


def test_links_are_packed_as_what_they_lead_to(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", {"data.yaml": b"", "all/images/x.jpg": b"1", "all/labels/x.txt": b"2"}, when=1)
    (folder / "train").mkdir()
    (folder / "train" / "images").symlink_to("../all/images")
    zip_folder(folder, tmp_path / "set.zip")
    packed = members(tmp_path / "set.zip")
    assert packed["train/images/x.jpg"] == b"1"
    assert packed["train/labels/x.txt"] == b"2", "in the zip nothing else leads to the label"


def test_names_that_a_zip_cannot_hold_are_written_as_it_can(tmp_path: Path) -> None:
    for name in (
        b"images/caf\xe9.jpg",
        b"labels/caf\xe9.txt",
        b"images/a\\b.jpg",
        b"data.yaml",
        "labels/é.txt".encode(),
    ):
        write(tmp_path / "set", {os.fsdecode(name): name}, when=1)
    zip_folder(tmp_path / "set", tmp_path / "set.zip")
    assert list(members(tmp_path / "set.zip")) == [
        *("data.yaml", "images/a%5Cb.jpg", "images/caf%E9.jpg", "labels/caf%E9.txt", "labels/é.txt")
    ]


def test_names_that_would_become_one_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "set", {os.fsdecode(name): b"" for name in (b"caf\xe9.jpg", b"caf%E9.jpg", b"data.yaml")}, when=1)
    with pytest.raises(InvalidDataset, match=r"would be called caf%E9\.jpg in a zip, as .*caf%E9\.jpg is; rename"):
        zip_folder(tmp_path / "set", tmp_path / "set.zip")


@pytest.mark.parametrize("name", ["data.yaml", "data.YML", "masks.yaml"])
def test_a_yaml_stands_for_its_folder(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = unpacked(tmp_path / "set", {name: "names: [a]", "a.txt": ""})
    assert open_dataset(f"{folder}/{name}", None, tmp_path, nothing) == folder
    assert set(members(as_archive(folder / name, tmp_path, nothing))) == {name, "a.txt"}
    monkeypatch.chdir(folder)
    assert open_dataset(name, None, tmp_path, nothing) == Path()


def test_a_yaml_beside_the_data_sets_own_does_not_stand_for_it(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "set", {"data.yaml": "names: [a]", "hyp.yaml": "lr0: 1"})
    with pytest.raises(InvalidDataset, match=r"hyp\.yaml"):
        open_dataset(f"{folder}/hyp.yaml", None, tmp_path, nothing)
    assert open_dataset(f"{folder}/data.yaml", None, tmp_path, nothing) == folder


@pytest.mark.parametrize("named", ["cache", "./cache", "~/cache", ""])
def test_a_cache_that_is_not_named_from_the_root_counts_as_unset(
    tmp_path: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    with scratch_folder() as folder:
        assert folder.parent == tmp_path / "home" / ".cache" / "masktrain"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InvalidConfiguration, match=r"cannot be used .*; set XDG_CACHE_HOME"), scratch_folder():
        pass


def test_a_user_without_a_home_has_a_scratch_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(Path, "home", homeless)
    with scratch_folder() as folder:
        assert folder.parent == tmp_path / "masktrain"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.usefixtures("cache")
def test_push_checks_the_zip_that_it_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = unpacked(tmp_path / "set", export())
    monkeypatch.setattr(datasets, "_belongs", lambda name: "labels" not in name.parts)
    with pytest.raises(InvalidDataset, match="No training image has a box"):
        push_dataset(folder, f"file://{tmp_path}/store/", None, replace=False, say=nothing)
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["set", "set.zip", "set/data.yaml"])
@pytest.mark.parametrize("store", ["my data #1", "100% masks", "a?b", "Übung[yolo](v8n)", "a%20b"])
def test_a_place_is_said_as_it_is(tmp_path: Path, name: str, store: str) -> None:
    unpacked(tmp_path / "set", export())
    (tmp_path / "set.zip").write_bytes(zipped(export()))
    lines: list[str] = []
    push_dataset(tmp_path / name, f"{(tmp_path / store).as_uri()}/", None, replace=False, say=lines.append)
    assert (tmp_path / store / "set.zip").is_file()
    assert lines[-1].endswith(f" MiB to file://{tmp_path}/{store}/set.zip")


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
