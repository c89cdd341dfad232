"""The torch files of a checkpoint: the whole state to go on from, and the slim model that a user gets."""

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from masktrain_trainer.weights.load import MODEL_FORMAT, STATE_FORMAT, load_document

from .manifest import LocalFile
from .snapshot import UnusableSnapshot
from .spool import SnapshotMeta


def load_state(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Read a state.pt; with `mapped` tensors stay in the file until they are used.

    Raises ValueError with one sentence if it is not one.
    """
    return load_document(path, STATE_FORMAT, mapped=mapped)


class _HashingWriter:
    """What torch.save needs of a file, hashing what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        try:
            written = self._file.write(data)
        except OSError as error:
            self.failure = error
            raise
        self.size += written
        return written

    def flush(self) -> None:
        self._file.flush()


def save(document: dict[str, Any], name: str, folder: Path) -> LocalFile:
    """Write `document` as the torch file `name` in `folder`. Raises OSError if the disk is full."""
    path = folder / name
    with path.open("wb") as file:
        # Hashed on the way to the disk, which spares reading some hundred MB again.
        writer = _HashingWriter(file)
        try:
            torch.save(document, writer)  # type: ignore[arg-type]
        except RuntimeError:
            # torch's C++ writer answers a failing write with an error of its own that names no cause
            if writer.failure is not None:
                raise writer.failure from None
            raise
    return LocalFile(name, path, writer.sha256.hexdigest(), writer.size)


def slim_model(state: dict[str, Any], meta: SnapshotMeta) -> dict[str, Any]:
    """The averaged weights of `state` in float16, with what is needed to run them. Raises UnusableSnapshot."""
    missing = [name for name in ("ema", "model_info", "metrics", "training") if name not in state]
    if missing:
        raise UnusableSnapshot(f"No model can be made of a state without {', '.join(missing)}.")
    weights: dict[str, Tensor] = state["ema"]["state_dict"]
    return {
        "format": MODEL_FORMAT,
        **state["model_info"],
        "epoch": meta.epoch,
        "step": meta.step,
        "fitness": meta.fitness,
        "metrics": state["metrics"],
        "training": state["training"],
        "state_dict": {name: _half(tensor) for name, tensor in weights.items()},
    }


def _half(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float16) if tensor.is_floating_point() else tensor
