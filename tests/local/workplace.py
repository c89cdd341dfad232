"""A folder in which a person calls `masktrain`."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

MASKTRAIN = Path(sys.executable).with_name("masktrain")


@dataclass(frozen=True)
class Workplace:
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        nobody = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "none")}
        own = {"MASKTRAIN_DEVICE": "cpu", "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(self.folder / "cache")}
        return {**os.environ, **nobody, **own, **self.variables}

    def run(self, *arguments: str, timeout: float = 300, text: str = "") -> subprocess.CompletedProcess[str]:
        """`text` is its standard input."""
        return subprocess.run(
            [MASKTRAIN, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            input=text,
            check=False,
            timeout=timeout,
        )

    def start(self, *arguments: str, output: int) -> subprocess.Popen[bytes]:
        """`output`: the file descriptor for both streams, a terminal's for instance."""
        return subprocess.Popen(
            [MASKTRAIN, *arguments],
            cwd=self.folder,
            env={**self.environment, "TERM": "xterm", "COLUMNS": "120"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def left_over(self) -> list[Path]:
        """What a command left in the user's cache."""
        return list((self.folder / "cache" / "masktrain").iterdir())
