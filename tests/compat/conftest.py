"""What an earlier version has written, as the tests read it."""

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EARLIER = Path(__file__).with_name("written_by_6049fcc")

OpenStore = Callable[[str], Path]


def recorded(name: str) -> dict[str, Any]:
    """The documents of one file, by the name of what was recorded."""
    documents: dict[str, Any] = json.loads((EARLIER / f"{name}.json").read_text(encoding="utf-8"))
    return documents


@pytest.fixture(scope="session")
def unpacked_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier-stores")
    with tarfile.open(EARLIER / "stores.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def open_store(unpacked_stores: Path, tmp_path: Path) -> OpenStore:
    """A store of the test's own: hard links, since a folder store replaces files and never writes into one."""

    def copy(name: str) -> Path:
        return shutil.copytree(unpacked_stores / name, tmp_path / name, copy_function=os.link)

    return copy
