"""A copy of the training state in shared memory: taken between two steps, serialised and stored by another process.

The file holds every tensor's bytes one after the other, then a JSON tree that says how they hang together, then the
tree's length. Nothing is pickled and nothing is compressed, so that the training process pays for one copy and no more.
"""

import errno
import json
import mmap
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .snapshot_meta import SnapshotMeta
from .spool import Spool

__all__ = ["SnapshotMeta", "read_snapshot", "write_snapshot"]

_ALIGNMENT = 64
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class _Placed:
    tensor: Tensor
    offset: int


def write_snapshot(spool: Path, state: dict[str, Any], meta: SnapshotMeta) -> None:
    """Copy `state` (nested dicts, lists and tuples of tensors, numbers, text and None) and offer it to the uploader.

    Raises OSError (ENOSPC) if the shared memory is too small, TypeError for anything that a snapshot cannot hold.
    """
    placed: list[_Placed] = []
    document = {"meta": asdict(meta), "state": _encode(state, placed)}
    tree = json.dumps(document).encode()
    end = placed[-1].offset + placed[-1].tensor.nbytes if placed else 0
    folder = Spool(spool)
    unfinished = folder.unfinished()
    with unfinished.open("w+b") as file:
        _reserve(file.fileno(), end + len(tree) + _LENGTH_BYTES, folder)
        with mmap.mmap(file.fileno(), 0) as memory:
            _copy(placed, memory)
            memory[end : end + len(tree)] = tree
            memory[end + len(tree) :] = len(tree).to_bytes(_LENGTH_BYTES, "little")
    folder.publish(unfinished, is_best=meta.is_best)


def read_snapshot(path: Path) -> tuple[dict[str, Any], SnapshotMeta]:
    """State and meta of a snapshot; the tensors are copies, so the file may go."""
    content = bytearray(path.stat().st_size)
    with path.open("rb") as file:
        file.readinto(content)
    length = int.from_bytes(content[-_LENGTH_BYTES:], "little")
    document = json.loads(content[-_LENGTH_BYTES - length : -_LENGTH_BYTES])
    state = _decode(document["state"], content)
    return state, SnapshotMeta(**document["meta"])


def _reserve(descriptor: int, size: int, spool: Spool) -> None:
    """Writing beyond the memory's end through a map would kill the process; reserving first gives an error instead."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        spool.make_room()
        os.posix_fallocate(descriptor, 0, size)


def _copy(placed: list[_Placed], memory: mmap.mmap) -> None:
    """Through non-blocking copies for a GPU's tensors: all are under way before the first is waited for."""
    on_host = [(entry, entry.tensor.detach().to("cpu", non_blocking=True)) for entry in placed]
    if any(entry.tensor.is_cuda for entry in placed):
        torch.cuda.synchronize()
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    for entry, tensor in on_host:
        if tensor.nbytes:
            target = whole[entry.offset : entry.offset + tensor.nbytes]
            target.view(tensor.dtype).view(tensor.shape).copy_(tensor)


def _encode(value: Any, placed: list[_Placed]) -> Any:
    if isinstance(value, Tensor):
        last = placed[-1].offset + placed[-1].tensor.nbytes if placed else 0
        offset = -(-last // _ALIGNMENT) * _ALIGNMENT
        placed.append(_Placed(value, offset))
        return {"tensor": [str(value.dtype).removeprefix("torch."), list(value.shape), offset]}
    if isinstance(value, dict):
        return {"dict": [[_encode(key, placed), _encode(item, placed)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_encode(item, placed) for item in value]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"a snapshot cannot hold {type(value).__name__}")


def _decode(value: Any, content: bytearray) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, items),) = value.items()
    if kind == "tensor":
        return _tensor(content, *items)
    if kind == "dict":
        return {_decode(key, content): _decode(item, content) for key, item in items}
    decoded = [_decode(item, content) for item in items]
    return tuple(decoded) if kind == "tuple" else decoded


def _tensor(content: bytearray, dtype_name: str, shape: list[int], offset: int) -> Tensor:
    dtype: torch.dtype = getattr(torch, dtype_name)
    count = 1
    for side in shape:
        count *= side
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype, count=count, offset=offset).view(shape)
