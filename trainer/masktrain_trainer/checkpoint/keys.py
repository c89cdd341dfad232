"""Where everything of a job lies in its store. Pure.

<namespace>/<name>/<uid>/runs/<attempt>.<run>                       a claimed run
                        /ckpt/<attempt>.<run>-<epoch>-<step>-<fitness>-<sha12>/   state.pt, model.pt, manifest.json
                        /best.pt                                    the best model so far
                        /labels.png, train_batch0.jpg, …            what the data looks like, until the job is complete
<namespace>/<name>/best.pt, results.csv, …, result.json             what a complete job leaves
"""

from dataclasses import dataclass
from typing import Self

STATE_FILE = "state.pt"
MODEL_FILE = "model.pt"
MANIFEST_FILE = "manifest.json"
BEST_FILE = "best.pt"
RESULT_FILE = "result.json"
DATA_PICTURES = ("labels.png", "train_batch*.jpg")
"""Patterns of the artifacts that are there before anything is trained."""


@dataclass(frozen=True, order=True)
class Fence:
    """Who may write: of all containers of a job only the one with the highest."""

    # Compared in this order: a later attempt outranks every run of an earlier one.
    attempt: int
    run: int

    def __str__(self) -> str:
        # A dot, since dashes separate the parts of a checkpoint's name.
        return f"{self.attempt}.{self.run}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError if `text` is not `<attempt>.<run>`."""
        attempt, run = text.split(".")
        return cls(int(attempt), int(run))

    @classmethod
    def of_checkpoint(cls, checkpoint_id: str) -> Self:
        """Whose checkpoint it is. Raises ValueError if it is no checkpoint's name."""
        return cls.parse(checkpoint_id.partition("-")[0])


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

    def checkpoints_of(self, fence: Fence) -> str:
        """The prefix of all files that the container with this fence stores."""
        # With the dash, or the prefix of 1.1 would hold the files of 1.10.
        return f"{self.checkpoints}{fence}-"

    def checkpoint(self, checkpoint_id: str) -> str:
        """The prefix of a checkpoint's files."""
        return f"{self.checkpoints}{checkpoint_id}/"

    def checkpoint_id(self, key: str) -> str:
        """The checkpoint that the file `key` below `checkpoints` belongs to."""
        return key.removeprefix(self.checkpoints).partition("/")[0]

    @property
    def best(self) -> str:
        return f"{self.root}{BEST_FILE}"

    def picture(self, name: str) -> str:
        """A picture of the data while the job is not complete: what a failed one leaves."""
        return f"{self.root}{name}"

    def output(self, name: str) -> str:
        """A file of the complete job."""
        return f"{self.namespace}/{self.name}/{name}"
