"""Fixtures for every test below, and how a run on several processes shares the tests out."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.lanes import CLUSTERS, lane, turn

pytest_plugins = ["tests.devcluster.fixtures", "tests.api.fixtures", "tests.media.fixtures"]

# OpenCV reads FFmpeg's level at the first video that a process opens: a test that writes one with its own hands must
# not decide what others read on standard error. A test of detect/sources/test_video.py has a process without this.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# Suites run side by side: how long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=False)
    if mount.returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take all that is left of the disk; the file to delete for room."""
    other = disk / "other"
    with other.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return other


def pytest_configure() -> None:
    """A run that a script starts in the background is born with Ctrl-C ignored, and so would be all that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that nothing long begins when all else is done."""
    items.sort(key=lambda item: turn(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Processes take over whole lanes, in the order of collection."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - only there in a run on several processes

    class Lanes(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            return lane(nodeid)

    config.option.loadscopereorder = False
    return Lanes(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Clusters end with their lane: with nobody who asks them anything, each still takes a part of the processors."""
    yield
    if nextitem is not None and lane(nextitem.nodeid) != lane(item.nodeid):
        end_fixtures(item, CLUSTERS)


def end_fixtures(item: pytest.Item, names: Iterable[str]) -> None:
    """Those of the session, with all that was built on them; who asks for one later gets a new one."""
    for name in names:
        for definition in item.session._fixturemanager.getfixturedefs(name, item) or ():
            definition.finish(item._request)  # type: ignore[attr-defined]
