"""Where everything of a job lies in its store. Pure.

<namespace>/<name>/<uid>/runs/<attempt>.<run>                       a claimed run
                        /ckpt/<attempt>.<run>-<epoch>-<step>-<sha12>/   state.pt, model.pt, manifest.json
                        /pointers/last.json, best.json              a cache of what the manifests say
                        /best.pt                                    the best model so far
<namespace>/<name>/best.pt, results.csv, …, result.json             what a complete job leaves
"""

from dataclasses import dataclass
from typing import Self

STATE_FILE = "state.pt"
MODEL_FILE = "model.pt"
MANIFEST_FILE = "manifest.json"
BEST_FILE = "best.pt"
RESULT_FILE = "result.json"


@dataclass(frozen=True, order=True)
class Fence:
    """Who may write: a writer publishes and deletes only under its own fence or a lower one."""

    attempt: int
    run: int

    def __str__(self) -> str:
        return f"{self.attempt}.{self.run}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError if `text` is not `<attempt>.<run>`."""
        attempt, run = text.split(".")
        return cls(int(attempt), int(run))


@dataclass(frozen=True)
class JobKeys:
    """The keys of one job; `uid` separates it from a later one of the same name."""

    namespace: str
    name: str
    uid: str

    @property
    def root(self) -> str:
        return f"{self.namespace}/{self.name}/{self.uid}/"

    @property
    def runs(self) -> str:
        return f"{self.root}runs/"

    @property
    def checkpoints(self) -> str:
        return f"{self.root}ckpt/"

    @property
    def best(self) -> str:
        return f"{self.root}{BEST_FILE}"

    def pointer(self, name: str) -> str:
        return f"{self.root}pointers/{name}.json"

    def output(self, name: str) -> str:
        """A file of the complete job."""
        return f"{self.namespace}/{self.name}/{name}"
