"""What Python 3.11 does not offer of Linux: mount, unshare, setns and prctl by ctypes, and process identity.

Standard library only: programs that start without site-packages import it.
"""

import ctypes
import dataclasses
import json
import os
from pathlib import Path
from typing import Self

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 0x2
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
ZOMBIE = "Z"
STATE, START_TIME = 0, 19  # fields of /proc/PID/stat after the command's name

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source: str | Path, target: str | Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). `kind` is the file system type, `data` its comma-separated options."""
    arguments = (os.fsencode(source), os.fsencode(target), kind.encode() or None, flags, data.encode() or None)
    # An unsigned long for the kernel, where ctypes would pass an int of 32 bits.
    _check(_libc.mount(*arguments[:3], ctypes.c_ulong(flags), arguments[4]), f"mount {source} on {target}")


def bind(source: str | Path, target: str | Path, *, read_only: bool, recursive: bool = False, flags: int = 0) -> None:
    """Bind `source` over `target`. A bind takes its flags only by a second mount call, of its top mount alone."""
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))
    restrictions = flags | (MS_RDONLY if read_only else 0)
    if restrictions:
        mount("none", target, flags=MS_BIND | MS_REMOUNT | restrictions)


def detach(target: str | Path) -> None:
    """Unmount lazily: at once out of sight, released when nobody uses it any more."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"unmount {target}")


def unshare(flags: int) -> None:
    """Put the caller into new namespaces; for CLONE_NEWPID its next child is the first process there."""
    _check(_libc.unshare(flags), "unshare")


def enter_namespace(path: str | Path) -> None:
    """setns(2) into the namespace that `path` (for instance /proc/42/ns/net) names."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, 0), f"enter namespace {path}")
    finally:
        os.close(descriptor)


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    unused = ctypes.c_ulong(0)
    _check(_libc.prctl(option, ctypes.c_ulong(value), unused, unused, unused), f"prctl {option}")


@dataclasses.dataclass(frozen=True)
class ProcessIdentity:
    """A process of this boot, in the PID namespace of the /proc it was read from."""

    pid: int
    # A number alone is used again, and after a reboot so is the start time, which counts from the boot.
    start_time: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """Identify a living process. Raises FileNotFoundError when there is none."""
        return cls.from_stat(Path("/proc", str(pid), "stat").read_text())

    @classmethod
    def from_stat(cls, stat: str) -> Self:
        """Identify the process that /proc/PID/stat describes."""
        return cls(int(stat.split(maxsplit=1)[0]), int(_fields(stat)[START_TIME]), _boot())

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read what `save` wrote; nothing when the file is missing or was cut off by a crash."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def save(self, path: Path) -> None:
        """Write atomically."""
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(json.dumps(dataclasses.asdict(self)))
        unfinished.rename(path)

    def alive(self, proc: Path = Path("/proc")) -> bool:
        """Whether this very process still runs, as seen in `proc`."""
        if self.boot != _boot():
            return False
        try:
            stat = (proc / str(self.pid) / "stat").read_text()
        except OSError:
            return False
        fields = _fields(stat)
        return fields[STATE] != ZOMBIE and int(fields[START_TIME]) == self.start_time


def _fields(stat: str) -> list[str]:
    # The command's name, in brackets before it, may itself hold blanks and brackets.
    return stat.rpartition(")")[2].split()


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
