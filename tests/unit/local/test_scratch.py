"""Folders of commands: theirs while they live, nobody's afterwards."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from masktrain_trainer.local.scratch import remove_abandoned, scratch_folder

HOLD = """
import sys
from masktrain_trainer.local.scratch import scratch_folder
with scratch_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "masktrain"


def make_old(folder: Path) -> None:
    long_ago = time.time() - 3600
    os.utime(folder, (long_ago, long_ago))


def test_a_folder_goes_with_its_command(cache: Path) -> None:
    with scratch_folder() as folder:
        (folder / "decoded").write_bytes(b"pixels")
        assert folder.parent == cache
    assert list(cache.iterdir()) == []


def test_what_a_killed_command_left_goes_with_the_next_one(cache: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=-1, stdout=-1, text=True) as command:
        assert command.stdout is not None
        folder = Path(command.stdout.readline().strip())
        (folder / "decoded").write_bytes(b"pixels")
        make_old(folder)
        remove_abandoned(cache, "scratch-")
        assert (folder / "decoded").exists(), "in use"
        command.kill()
    assert folder.exists()
    with scratch_folder():
        assert not folder.exists()


def test_young_folders_and_those_of_others_stay(cache: Path) -> None:
    for name in ("scratch-young", "binaries"):
        (cache / name).mkdir(parents=True)
    make_old(cache / "binaries")
    remove_abandoned(cache, "scratch-")
    assert {path.name for path in cache.iterdir()} == {"scratch-young", "binaries"}
