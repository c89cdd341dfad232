"""A folder whose files change or vanish between two system calls, as on a claim that several nodes have mounted."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from masktrain_trainer.errors import DiskFull, ObjectMissing, StoreUnavailable
from masktrain_trainer.stores import folder as module
from masktrain_trainer.stores.folder import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    found = FolderStore(tmp_path / "store")
    found.put("jobs/a", b"1")
    return found


def followed_by(work: Callable[..., Any], after: Callable[[], None]) -> Callable[..., Any]:
    def both(*arguments: Any, **options: Any) -> Any:
        result = work(*arguments, **options)
        after()
        return result

    return both


def test_an_object_that_is_deleted_while_it_is_downloaded_is_missing(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "copyfile", followed_by(shutil.copyfile, lambda: store.delete("jobs/a")))
    with pytest.raises(ObjectMissing):
        store.download("jobs/a", tmp_path / "copy")


def test_a_full_disk_under_a_download_is_told_as_every_store_tells_it(store: FolderStore, small_disk: Path) -> None:
    store.put("jobs/large", bytes(4 << 20))
    with pytest.raises(DiskFull, match=r"^The disk here has no room for file://.*/jobs/large\.$") as caught:
        store.download("jobs/large", small_disk / "copy")
    assert isinstance(caught.value.__cause__, OSError)


def test_an_object_that_is_deleted_as_soon_as_it_is_written_is_missing(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "store/jobs/b"
    monkeypatch.setattr(module, "_sync_folder", followed_by(module._sync_folder, written.unlink))
    with pytest.raises(ObjectMissing):
        store.put("jobs/b", b"2")


@pytest.fixture
def stale(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """As NFS answers for a file whose server has forgotten it."""
    stat = Path.stat

    def answer(path: Path, **options: Any) -> Any:
        if path.name in ("a", ".masktrain-tmp-b-x"):
            raise OSError(errno.ESTALE, "Stale file handle")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", answer)
    return store


def test_a_listing_that_fails_half_way_says_so_as_a_store_does(stale: FolderStore) -> None:
    with pytest.raises(StoreUnavailable, match="Stale file handle"):
        list(stale.list("jobs/"))


def test_looking_for_unfinished_uploads_fails_as_a_store_does(stale: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "store/jobs/.masktrain-tmp-b-x").write_bytes(b"half")
    with pytest.raises(StoreUnavailable, match="Stale file handle"):
        stale.discard_unfinished("jobs/")
