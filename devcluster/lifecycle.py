"""Bringing a cluster up and taking it down, on a machine that can run one."""

import contextlib
import fcntl
import json
import os
import shutil
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from devcluster.node.network import ADDRESS, BRIDGE, NETWORK_PREFIX
from devcluster.processes.daemons import Daemon, Daemons
from devcluster.processes.namespaces import Namespaces, python_environment
from devcluster.programs.build import CONTROL_PLANE_ONLY, PROGRAMS, program_paths

from .cluster import START_SECONDS, Cluster, ClusterError, ClusterSettings, forwarder_ports
from .control_plane import (
    API_PORT,
    BRIDGE_MAC,
    CLOUD_PORT,
    S3_PORT,
    SERVICE_ADDRESS,
    Authority,
    ControlPlane,
    ObjectStoreKeys,
    object_store,
    write_kubeconfig,
)
from .images import SHELL_IMAGE
from .layout import ClusterLayout, clusters_folder
from .progress import step
from .waiting import wait_until

TOOLS = ("ip", "mount", "nsenter", "pivot_root", "setsid")


def objection() -> str | None:
    """One sentence saying why no cluster can run here; nothing when one can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "The dev cluster needs Linux and root, because it makes network and mount namespaces."
    # ip and pivot_root lie in folders that the PATH of many shells lacks.
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    if missing:
        return f"The dev cluster needs the programs {', '.join(missing)} (Debian packages iproute2 and util-linux)."
    return None


def up(name: str, settings: ClusterSettings) -> Cluster:
    """Start the cluster, or return the one that runs. Remains of a crashed one are removed first."""
    layout = ClusterLayout(name)
    # No more than that: all of it can come from KUBEBUILDER_ASSETS, without twelve minutes of compiling.
    needed = (*CONTROL_PLANE_ONLY, "kubectl") if settings.control_plane_only else PROGRAMS
    binaries = program_paths(needed)
    with _exclusive(layout):
        with contextlib.suppress(ClusterError):
            return Cluster.attach(name)
        _take_down(layout)
        try:
            return _start(layout, settings, binaries)
        # The folder stays, because its logs say why; the next `up` removes it.
        except BaseException:
            _end_processes(layout)
            raise


def down(name: str) -> bool:
    """End the cluster and remove every trace of it; False when there was none."""
    layout = ClusterLayout(name)
    with _exclusive(layout):
        return _take_down(layout)


def remove_abandoned(prefix: str) -> None:
    """Remove what is left of dead clusters whose name begins with `prefix`; running ones are not touched.

    Neither are those that somebody is starting or ending at this moment, although no process of theirs may run yet.
    """
    for name in (path.name for path in clusters_folder().glob(f"{prefix}*")):
        layout = ClusterLayout(name)
        with contextlib.suppress(BlockingIOError), _exclusive(layout, wait=False):
            if Namespaces.attach(layout.init) is None:
                _take_down(layout)


def _take_down(layout: ClusterLayout) -> bool:
    existed = layout.root.exists()
    _end_processes(layout)
    if existed:
        shutil.rmtree(layout.root)
    return existed


def _end_processes(layout: ClusterLayout) -> None:
    namespaces = Namespaces.attach(layout.init)
    if namespaces:
        namespaces.end()


@contextlib.contextmanager
def _exclusive(layout: ClusterLayout, *, wait: bool = True) -> Iterator[None]:
    """Let one process at a time start or end the cluster. The lock file goes with the cluster.

    Raises BlockingIOError instead of waiting if not `wait`.
    """
    kind = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    layout.lock.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(layout.lock.open("w"))
        fcntl.flock(file, kind)
        # A lock on a file that is removed by now keeps nobody out who comes later.
        while not _is_file_at(file.fileno(), layout.lock):
            file = stack.enter_context(layout.lock.open("w"))
            fcntl.flock(file, kind)
        yield
        # Only while it is held: removed after the release it could be one that somebody has just taken.
        if not layout.root.exists():
            layout.lock.unlink()


def _is_file_at(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the open file: its last holder may have removed it while we waited."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _start(layout: ClusterLayout, settings: ClusterSettings, binaries: dict[str, Path]) -> Cluster:
    layout.create()
    namespaces = Namespaces.start(layout.init, settings.owner, layout.logs / "init.log")
    plane = ControlPlane(layout, Authority(layout.pki), binaries, settings.node_grace_seconds)
    daemons = Daemons(layout, namespaces)
    with step(f"Cluster {layout.name}: etcd and kube-apiserver"):
        _start_api(layout, namespaces, daemons, plane, settings)
    layout.settings.write_text(
        json.dumps(
            {
                "control_plane_only": settings.control_plane_only,
                "node_grace_seconds": settings.node_grace_seconds,
                "binaries": {program: str(path) for program, path in binaries.items()},
            }
        )
    )
    cluster = Cluster(layout, namespaces)
    if not settings.control_plane_only:
        _start_workers(cluster, plane, settings)
    return cluster


def _start_api(
    layout: ClusterLayout,
    namespaces: Namespaces,
    daemons: Daemons,
    plane: ControlPlane,
    settings: ClusterSettings,
) -> None:
    namespaces.run("ip", "-batch", "-", text="\n".join(_bridge_commands()))
    daemons.start(plane.etcd())
    daemons.start(plane.api_server())
    # Any free port, so that clusters stand side by side.
    targets = {"api": {"target": [ADDRESS, API_PORT], "port": 0}}
    if not settings.control_plane_only:
        keys = ObjectStoreKeys.create(layout.object_store)
        daemons.start(object_store(plane.binaries["versitygw"], layout.buckets, keys))
        targets["s3"] = {"target": [ADDRESS, S3_PORT], "port": 0}
        targets["cloud"] = {"target": [ADDRESS, CLOUD_PORT], "port": 0}  # nobody answers before `start_cloud`
    layout.ports.write_text(json.dumps(targets))
    command = (sys.executable, "-S", "-m", "devcluster.processes.forwarder", str(layout.ports))
    daemons.start(Daemon("forwarder", command, python_environment(), network=False))
    wait_until(lambda: all(forwarder_ports(layout).values()), "the forwarder", START_SECONDS)
    certificate, key = plane.authority.issue("admin", user="admin", group="system:masters")
    server = f"https://127.0.0.1:{forwarder_ports(layout)['api']}"
    write_kubeconfig(layout.kubeconfig, server, plane.authority.certificate, certificate, key)
    _wait_for_api(server, plane.authority.certificate, daemons)


def _bridge_commands() -> list[str]:
    return [
        f"link add {BRIDGE} address {BRIDGE_MAC} type bridge",
        f"addr add {ADDRESS}/{NETWORK_PREFIX} dev {BRIDGE}",
        f"addr add {SERVICE_ADDRESS}/32 dev {BRIDGE}",
        f"link set {BRIDGE} up",
    ]


def _wait_for_api(server: str, authority: Path, daemons: Daemons) -> None:
    trust = ssl.create_default_context(cafile=str(authority))

    def ready() -> bool:
        for name in CONTROL_PLANE_ONLY:
            if not daemons.alive(name):
                raise ClusterError(f"{name} ended while starting. Its last words:\n{daemons.last_words(name)}")
        try:
            with urllib.request.urlopen(f"{server}/readyz", context=trust, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    wait_until(ready, "kube-apiserver to become ready", START_SECONDS)


def _start_workers(cluster: Cluster, plane: ControlPlane, settings: ClusterSettings) -> None:
    with step(f"Cluster {cluster.name}: controllers, name server and {len(settings.nodes)} nodes"):
        for spec in settings.nodes:
            cluster.nodes.start(spec)
        for daemon in (plane.controller_manager(), plane.scheduler(), plane.name_server()):
            cluster.daemons.start(daemon)
        cluster.add_image(SHELL_IMAGE)
        for spec in settings.nodes:
            cluster.wait_for_node(spec)
        # Until the controller has made it, admission refuses every pod of the namespace.
        cluster.kubectl("wait", "--for=create", "serviceaccount/default", f"--timeout={START_SECONDS}s")
