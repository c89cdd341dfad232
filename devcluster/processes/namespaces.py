"""The namespaces that a cluster lives in: starting, entering and ending them, and the process that holds them.

That process is this module as a program: `python -m devcluster.processes.namespaces IDENTITY_FILE OWNER_PID`. It holds
the cluster's network, mount and PID namespaces. All else of the cluster runs inside them, so when this one process
ends, however it ends, the kernel ends every other process, unmounts everything and removes bridge and veths. With
OWNER_PID other than 0 it ends itself as soon as that process is gone.
"""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from devcluster.layout import REPOSITORY
from devcluster.waiting import wait_until

from . import kernel
from .kernel import ProcessIdentity

END_SECONDS = 30
NEW_NAMESPACES = kernel.CLONE_NEWNET | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC


def python_environment(*extra_paths: Path) -> dict[str, str]:
    """Environment for our own Python processes: this repository's modules, and `extra_paths`."""
    paths = os.pathsep.join(str(path) for path in (REPOSITORY, *extra_paths))
    return {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


class Namespaces:
    """The namespaces held by one init process."""

    def __init__(self, identity: ProcessIdentity) -> None:
        """Refer to the namespaces of a running init process."""
        self._identity = identity

    @classmethod
    def start(cls, identity_file: Path, owner: int, log: Path) -> Self:
        """Create them. They end with process `owner`, or stay until `end` if that is 0."""
        command = [sys.executable, "-S", "-m", "devcluster.processes.namespaces", str(identity_file), str(owner)]
        with log.open("ab") as output:
            subprocess.run(
                command,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=python_environment(),
                cwd="/",
                start_new_session=True,
            )
        namespaces = cls.attach(identity_file)
        if namespaces is None:
            raise RuntimeError(f"the cluster's first process ended at once; see {log}")
        return namespaces

    @classmethod
    def attach(cls, identity_file: Path) -> Self | None:
        """Those of an earlier `start`, if they still live."""
        identity = ProcessIdentity.load(identity_file)
        return cls(identity) if identity and identity.alive() else None

    @property
    def proc(self) -> Path:
        """The /proc of the cluster's PID namespace, seen from outside."""
        return Path("/proc", str(self._identity.pid), "root/proc")

    def command(self, *argv: str, network: bool = True) -> list[str]:
        """The command line that runs `argv` inside; with `network` off it keeps the machine's own network."""
        # nsenter, because `ip netns exec` would mount a /sys without the cgroups that the kubelet reads.
        inside = ["--net"] if network else []
        return ["nsenter", f"--target={self._identity.pid}", *inside, "--mount", "--ipc", "--pid", "--", *argv]

    def run(self, *argv: str, text: str | None = None) -> str:
        """Run a command inside and return its output. Raises CalledProcessError."""
        done = subprocess.run(self.command(*argv), input=text, text=True, check=True, capture_output=True)
        return done.stdout

    def end(self) -> None:
        """Kill the first process, and with it everything inside; returns when all of it is gone."""
        if self._identity.alive():
            os.kill(self._identity.pid, signal.SIGKILL)
            wait_until(lambda: not self._identity.alive(), "the cluster's processes to end", END_SECONDS)


def main() -> None:
    """Fork the holder, save its identity and return; the holder has its own /proc and loopback by then."""
    identity_file, owner = Path(sys.argv[1]), int(sys.argv[2])
    # A descriptor, because the number may be another process's by the time its end is waited for.
    watched = os.pidfd_open(owner) if owner else None
    kernel.unshare(NEW_NAMESPACES)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        hold(watched, writer)
    os.close(writer)
    if os.read(reader, 1) != b"r":
        sys.exit("the cluster's namespaces could not be set up")
    ProcessIdentity.of(child).save(identity_file)


def hold(watched: int | None, ready: int) -> None:
    """Reap orphans until killed, or until the owner ends."""
    kernel.unshare(kernel.CLONE_NEWNS)  # not before the fork: the parent needs the machine's own /proc
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("proc", "/proc", "proc")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # As PID 1 it inherits every orphan of the cluster; unreaped, they would fill the process table.
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    os.write(ready, b"r")
    os.close(ready)
    if watched is None:
        while True:
            signal.pause()
    select.select([watched], [], [])
    os._exit(0)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    main()
