"""Clusters start, stand side by side, survive their creator and leave nothing behind."""

import dataclasses
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.cluster import Cluster, ClusterError, ClusterSettings
from devcluster.layout import REPOSITORY, ClusterLayout
from devcluster.lifecycle import down, remove_abandoned, up
from devcluster.nodes import NodeSpec
from devcluster.processes.kernel import ProcessIdentity
from devcluster.waiting import wait_until
from tests.devcluster.fixtures import require_machine

pytestmark = pytest.mark.cluster
API_ONLY = ClusterSettings(control_plane_only=True, owner=os.getpid())


@dataclasses.dataclass(frozen=True)
class Footprint:
    """What the machine shows of clusters."""

    processes: frozenset[str]
    mounts: str
    network_namespaces: str
    links: str

    @classmethod
    def take(cls, name: str) -> "Footprint":
        commands = (path.joinpath("cmdline") for path in Path("/proc").glob("[0-9]*"))
        return cls(
            processes=frozenset(text for text in map(_read, commands) if f"clusters/{name}/" in text),
            mounts=_mounts(),
            network_namespaces=_output("ip", "netns", "list"),
            links=_output("ip", "-brief", "link"),
        )


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    require_machine()
    name = f"pytest-{request.node.name.replace('_', '-')[5:25].strip('-')}-{os.getpid()}"
    yield name
    down(name)


def test_down_leaves_nothing(name: str) -> None:
    before = Footprint.take(name)
    cluster = up(name, ClusterSettings(nodes=(NodeSpec("gpu-0", gpus=1),), owner=os.getpid()))
    assert len(Footprint.take(name).processes) > 5
    assert cluster.layout.root.exists()
    assert down(name)
    assert Footprint.take(name) == before
    assert not cluster.layout.root.exists()
    assert not Path("/var/lib/kubelet").exists()
    assert not down(name)


def test_up_twice_is_one_cluster(name: str) -> None:
    first = up(name, API_ONLY)
    first.kubectl("create", "namespace", "kept")
    assert up(name, API_ONLY).kubectl("get", "namespace", "kept", "--output=name").strip() == "namespace/kept"


def test_two_clusters_side_by_side(name: str, control_plane: Cluster) -> None:
    other = up(name, API_ONLY)
    other.kubectl("create", "namespace", "only-here")
    with pytest.raises(ClusterError, match="not found"):
        control_plane.kubectl("get", "namespace", "only-here")


def test_up_after_everything_was_killed(name: str) -> None:
    up(name, API_ONLY)
    _kill_first_process(name)
    with pytest.raises(ClusterError, match="is not running"):
        Cluster.attach(name)
    assert "default" in up(name, API_ONLY).kubectl("get", "namespaces")


def test_abandoned_clusters_are_removed_and_running_ones_kept(name: str, control_plane: Cluster) -> None:
    layout = up(name, API_ONLY).layout
    _kill_first_process(name)
    remove_abandoned("pytest-")
    assert not layout.root.exists()
    assert control_plane.kubectl("get", "namespaces")


def test_a_cluster_that_somebody_is_starting_is_not_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a folder already and no process yet: what `up` of another test run looks like for a moment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    layout = ClusterLayout("pytest-starting")
    layout.create()
    with layout.lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        remove_abandoned("pytest-")
    assert layout.root.exists()
    remove_abandoned("pytest-")
    assert not layout.root.exists()


def test_cluster_ends_with_its_owner(name: str) -> None:
    owner = subprocess.Popen(["sleep", "600"])
    up(name, dataclasses.replace(API_ONLY, owner=owner.pid))
    identity = ProcessIdentity.load(ClusterLayout(name).init)
    assert identity is not None
    assert identity.alive()
    owner.kill()
    owner.wait()
    wait_until(lambda: not identity.alive(), "the cluster to end", seconds=10)


def test_command_line_outlives_itself(name: str) -> None:
    _command_line("up", "--control-plane-only", "--name", name)
    assert "kube-apiserver" in _command_line("status", "--name", name)
    exports = _command_line("env", "--name", name)
    assert "default" in _output("sh", "-c", f"{exports}\nkubectl get namespaces")
    assert "gone" in _command_line("down", "--name", name)


@pytest.mark.parametrize("bad", ["Upper", "a/b", "", "-x"])
def test_bad_name_is_one_sentence(bad: str) -> None:
    with pytest.raises(ValueError, match="use up to 42 lower-case letters"):
        up(bad, API_ONLY)


def _mounts() -> str:
    """All but those of other tests, which may run at the same time and mount something in their own folders."""
    own_folders = tempfile.gettempdir()
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return "\n".join(line for line in lines if not line.split()[1].startswith(own_folders))


def _kill_first_process(name: str) -> None:
    identity = ProcessIdentity.load(ClusterLayout(name).init)
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    wait_until(lambda: not identity.alive(), "the cluster's first process to end", seconds=10)


def _command_line(*arguments: str) -> str:
    return _output(sys.executable, "-m", "devcluster", *arguments)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
