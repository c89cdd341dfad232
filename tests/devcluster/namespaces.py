"""Starting, entering and ending the namespaces that a cluster lives in."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.devcluster.layout import REPOSITORY
from tests.devcluster.process_identity import ProcessIdentity
from tests.devcluster.waiting import wait_until

END_SECONDS = 30


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
        command = [sys.executable, "-S", "-m", "tests.devcluster.init", str(identity_file), str(owner)]
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
