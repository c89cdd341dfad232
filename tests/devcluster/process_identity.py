"""Process ids come back into use; together with start time and boot they don't."""

import dataclasses
import json
from pathlib import Path
from typing import Self

ZOMBIE = "Z"
STATE, START_TIME = 0, 19  # fields of /proc/PID/stat after the command's name


@dataclasses.dataclass(frozen=True)
class ProcessIdentity:
    """A process of this boot, in the PID namespace of the /proc it was read from."""

    pid: int
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
    return stat.rpartition(")")[2].split()


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
