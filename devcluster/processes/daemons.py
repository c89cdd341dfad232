"""Daemons inside a cluster's namespaces: each with a log file and a saved identity, independent of who started it."""

import dataclasses
import json
import subprocess
from pathlib import Path

from devcluster.layout import ClusterLayout
from devcluster.waiting import wait_until

from .kernel import ProcessIdentity
from .namespaces import Namespaces

# Saves its own /proc entry, which exec keeps: process id and start time are those of the daemon.
SAVE_IDENTITY_AND_EXEC = 'read -r stat </proc/$$/stat && echo "$stat" >"$0" && exec "$@"'
LINES_SHOWN = 15


@dataclasses.dataclass(frozen=True)
class Daemon:
    """A program to run. `network` off means the machine's own network instead of the cluster's."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] | None = None
    network: bool = True


class Daemons:
    """The daemons of one cluster."""

    def __init__(self, layout: ClusterLayout, namespaces: Namespaces) -> None:
        """Start and look for daemons in `namespaces`."""
        self._layout = layout
        self._namespaces = namespaces

    def start(self, daemon: Daemon) -> None:
        """Start in a session of its own, below the cluster's first process."""
        self._remember(daemon)
        shell = ("setsid", "--fork", "sh", "-c", SAVE_IDENTITY_AND_EXEC, str(self._identity_file(daemon.name)))
        with self.log(daemon.name).open("ab") as log:
            subprocess.run(
                self._namespaces.command(*shell, *daemon.command, network=daemon.network),
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=daemon.environment,
                # A daemon must not keep the caller's folder in use.
                cwd="/",
            )
        wait_until(lambda: self._identity(daemon.name) is not None, f"{daemon.name} to start", seconds=10)

    def restart(self, name: str) -> None:
        """Start a daemon again as it was started before; a running one is killed first."""
        self.kill(name)
        fields = json.loads(self._recipe(name).read_text())
        self.start(Daemon(**{**fields, "command": tuple(fields["command"])}))

    def alive(self, name: str) -> bool:
        """Whether this daemon runs."""
        identity = self._identity(name)
        return identity is not None and identity.alive(self._namespaces.proc)

    def names(self) -> list[str]:
        """All daemons ever started and not forgotten."""
        return sorted(path.stem for path in self._layout.run.glob("*.stat"))

    def kill(self, name: str, signal_name: str = "KILL") -> None:
        """Signal a daemon and, if that ends it, wait for its end; one that is gone is fine."""
        identity = self._identity(name)
        if identity and identity.alive(self._namespaces.proc):
            self._namespaces.run("kill", f"-{signal_name}", str(identity.pid))
        if signal_name in ("KILL", "TERM"):
            # A kube-apiserver that gets SIGTERM drains for up to a minute and keeps its port.
            wait_until(lambda: not self.alive(name), f"{name} to end", seconds=90)

    def forget(self, name: str) -> None:
        """Remove the traces of a daemon that will not come back."""
        self._identity_file(name).unlink(missing_ok=True)
        self._recipe(name).unlink(missing_ok=True)

    def log(self, name: str) -> Path:
        """The daemon's log file."""
        return self._layout.logs / f"{name}.log"

    def last_words(self, name: str) -> str:
        """The end of its log, for error messages."""
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-LINES_SHOWN:])

    def _remember(self, daemon: Daemon) -> None:
        # The last one's would let `start` return before the new process has written its own.
        self._identity_file(daemon.name).unlink(missing_ok=True)
        self._recipe(daemon.name).touch(mode=0o600)  # the environment may hold keys
        self._recipe(daemon.name).write_text(json.dumps(dataclasses.asdict(daemon)))

    def _recipe(self, name: str) -> Path:
        return self._layout.run / f"{name}.json"

    def _identity_file(self, name: str) -> Path:
        return self._layout.run / f"{name}.stat"

    def _identity(self, name: str) -> ProcessIdentity | None:
        try:
            return ProcessIdentity.from_stat(self._identity_file(name).read_text())
        # IndexError: the shell has made the file and not yet written to it.
        except (FileNotFoundError, IndexError):
            return None
