"""A checkpoint as its manifest tells it, and which of several is the newest and the best. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from masktrain_trainer.config import Contract

from .keys import Fence, JobKeys

FORMAT: Literal["masktrain-checkpoint-v1"] = "masktrain-checkpoint-v1"


class StoredFile(Contract):
    """A file of a checkpoint; `sha256` is of its whole content."""

    name: str
    size_bytes: int
    sha256: str


class Manifest(Contract):
    """Written last: a checkpoint exists if and only if this does. `fitness` is None if this epoch was not validated."""

    format: Literal["masktrain-checkpoint-v1"] = FORMAT
    attempt: int
    run: int
    epoch: int
    step: int
    fitness: float | None = None
    created_at: datetime
    files: list[StoredFile]

    @property
    def fence(self) -> Fence:
        return Fence(self.attempt, self.run)

    @property
    def id(self) -> str:
        """Unique, and named by content: a retry of the same upload meets its own files."""
        return f"{self.fence}-{self.epoch}-{self.step}-{self.files[0].sha256[:12]}"

    @property
    def age_order(self) -> tuple[int, int, int]:
        return (self.attempt, self.run, self.step)

    def file(self, name: str) -> StoredFile | None:
        return next((file for file in self.files if file.name == name), None)

    def prefix(self, keys: JobKeys) -> str:
        return f"{keys.checkpoints}{self.id}/"


def newest_first(manifests: Iterable[Manifest]) -> list[Manifest]:
    """By attempt, run and step: a later run counts as newer even if it was cut off earlier."""
    return sorted(manifests, key=lambda manifest: manifest.age_order, reverse=True)


def best(manifests: Iterable[Manifest]) -> Manifest | None:
    """The highest fitness, the earliest on a tie; None if no checkpoint was validated."""
    validated = [manifest for manifest in manifests if manifest.fitness is not None]
    return min(validated, key=lambda manifest: (-(manifest.fitness or 0.0), manifest.age_order), default=None)
