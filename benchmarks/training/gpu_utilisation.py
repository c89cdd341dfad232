"""The GPU's own account of how busy it is, sampled once a second beside a training."""

import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

QUERY = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop=1"]


@dataclass
class Utilisation:
    """Percentages of the seconds so far, of the first GPU."""

    samples: list[float] = field(default_factory=list)

    def median_of_busy(self) -> float | None:
        """Over the seconds in which it did anything: preparation and report use no GPU."""
        busy = [sample for sample in self.samples if sample > 0]
        return statistics.median(busy) if busy else None


@contextmanager
def watch_gpu() -> Iterator[Utilisation]:
    found = Utilisation()
    process = subprocess.Popen([*QUERY, "--id=0"], stdout=subprocess.PIPE, text=True)
    try:
        yield found
    finally:
        process.terminate()
        printed, _ = process.communicate()
        found.samples = [float(line) for line in printed.splitlines() if line.strip().isdecimal()]
