"""A checkpoint as its manifest tells it, and a file on its way there. Pure."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, FiniteFloat

from masktrain_trainer.config import Contract
from masktrain_trainer.files import sha256_of

from .keys import MODEL_FILE, Fence, JobKeys

FIRST_FORMAT: Literal["masktrain-checkpoint-v1"] = "masktrain-checkpoint-v1"
FORMAT: Literal["masktrain-checkpoint-v2"] = "masktrain-checkpoint-v2"
"""Told apart only by the names of the folders: those of the first format say nothing of the fitness."""


LARGEST_MANIFEST = 1 << 20
"""Bytes; one has a kilobyte. Whoever may write into a job's prefix must not fill a trainer's memory."""
_PLAIN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class OtherVersion(ValueError):
    """A manifest that is whole, but in a format of another version."""


# Unknown keys are a newer version's: after a roll-back its checkpoints are still good.
class StoredFile(Contract, extra="ignore"):
    """A file of a checkpoint; `sha256` is of its whole content."""

    # Keys are made of it, for deleting too: a path would lead out of the checkpoint's folder.
    name: str = Field(pattern=_PLAIN_NAME)
    size_bytes: int
    sha256: str


class Manifest(Contract, extra="ignore"):
    """Written last: a checkpoint exists if and only if this and all files that it names do.

    `fitness` is None if this epoch was not validated; a `periodic` one stays whatever comes after it.
    """

    format: Literal["masktrain-checkpoint-v1", "masktrain-checkpoint-v2"] = FORMAT
    attempt: int
    run: int
    epoch: int
    step: int
    fitness: FiniteFloat | None = None
    periodic: bool = False
    created_at: datetime
    files: list[StoredFile] = Field(min_length=1)

    @property
    def fence(self) -> Fence:
        return Fence(self.attempt, self.run)

    @property
    def id(self) -> str:
        """Unique, and named by content: a retry of the same upload meets its own files.

        Whoever only lists sees by it which checkpoint is the newest and which the fittest.
        """
        # The state's hash: every checkpoint has a state, and it comes first.
        place, content = f"{self.fence}-{self.epoch}-{self.step}", self.files[0].sha256[:12]
        if self.format == FIRST_FORMAT:
            return f"{place}-{content}"
        # `repr` is the shortest text that reads back as the same number, so that key and manifest order alike
        return f"{place}-{'none' if self.fitness is None else repr(self.fitness)}-{content}"

    @property
    def age_order(self) -> tuple[int, int, int]:
        return (self.attempt, self.run, self.step)

    def file(self, name: str) -> StoredFile | None:
        return next((file for file in self.files if file.name == name), None)

    @property
    def has_model(self) -> bool:
        return self.file(MODEL_FILE) is not None

    def prefix(self, keys: JobKeys) -> str:
        return keys.checkpoint(self.id)

    def seal(self) -> bytes:
        """The manifest's document with its own checksum, so that a flipped bit changes neither order nor fitness."""
        # By way of JSON, so that the digest is of what a reader will parse, not of Python's own dates and numbers.
        document = json.loads(self.to_json())
        return json.dumps({"manifest": document, "sha256": _manifest_digest(document)}, indent=1).encode()

    @classmethod
    def unseal(cls, content: bytes) -> "Manifest":
        """Raises ValueError if `content` is no manifest or not as it was written, and OtherVersion if it is one of a
        format that this version does not know.
        """
        try:
            sealed = json.loads(content)
        except RecursionError:
            raise ValueError("the manifest is nested too deeply") from None
        if not isinstance(sealed, dict) or sealed.get("sha256") != _manifest_digest(sealed.get("manifest")):
            raise ValueError("the manifest's checksum does not match")
        found = sealed["manifest"]
        if isinstance(found, dict) and found.get("format", FORMAT) not in (FIRST_FORMAT, FORMAT):
            raise OtherVersion(f"its format is {found['format']!r}")
        return cls.model_validate(found)


def _manifest_digest(document: Any) -> str:
    # Of the values and not of the bytes: how the document is laid out may change, and older manifests stay readable.
    return sha256_of(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


@dataclass(frozen=True)
class LocalFile:
    """A file on disk under the name that it gets in the store."""

    name: str
    path: Path
    sha256: str
    size_bytes: int

    def stored(self) -> StoredFile:
        return StoredFile(name=self.name, size_bytes=self.size_bytes, sha256=self.sha256)
