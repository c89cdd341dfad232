"""A copy of the training state in shared memory: taken between two steps, serialised and stored by another process.

The file holds every tensor's bytes one after the other, then a JSON tree that says how they hang together, then the
tree's length. Nothing is pickled and nothing is compressed, so that the training process pays for one copy and no more.
"""

import errno
import json
import math
import mmap
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .spool import SnapshotMeta, Spool

__all__ = ["SnapshotMeta", "UnusableSnapshot", "read_snapshot", "write_snapshot"]

# A cache line, and a multiple of the size of any element.
_ALIGNMENT = 64
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class _Placed:
    tensor: Tensor
    offset: int


class UnusableSnapshot(ValueError):
    """A file of the spool holds no state that a checkpoint could be made of."""


def write_snapshot(spool: Path, state: dict[str, Any], meta: SnapshotMeta) -> None:
    """Copy `state` (nested dicts, lists and tuples of tensors, numbers, text and None) and offer it to the uploader.

    Raises OSError (ENOSPC) if the shared memory is too small, TypeError for anything that a snapshot cannot hold.
    """
    placed: list[_Placed] = []
    document = {"meta": asdict(meta), "state": _encode(state, placed)}
    tree = json.dumps(document).encode()
    folder = Spool(spool)
    views = _views(placed)
    try:
        written = _write(folder, views, tree)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        folder.make_room()
        written = _write(folder, views, tree)
    folder.publish(written, meta)


def read_snapshot(path: Path) -> tuple[dict[str, Any], SnapshotMeta]:
    """State and meta of a snapshot. The tensors lie in the file's memory: release it only when they are gone.

    Raises UnusableSnapshot.
    """
    try:
        with path.open("rb") as file:
            # Copy on write, because torch warns about tensors over memory that must not be written.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        length = int.from_bytes(content[-_LENGTH_BYTES:], "little")
        document = json.loads(content[-_LENGTH_BYTES - length : -_LENGTH_BYTES])
        return _decode(document["state"], content), SnapshotMeta(**document["meta"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnusableSnapshot(f"Snapshot {path.name} is unreadable and was dropped.") from error


def _write(spool: Spool, views: list[tuple[int, memoryview]], tree: bytes) -> Path:
    """The written file; one that does not fit is removed again."""
    path = spool.unfinished()
    try:
        _fill(path, views, tree)
    except OSError:
        path.unlink()
        raise
    return path


def _fill(path: Path, views: list[tuple[int, memoryview]], tree: bytes) -> None:
    """By write calls, not through a map: full memory gives an error instead of killing the process, and no page is
    cleared before it is filled.
    """
    with path.open("r+b", buffering=0) as file:
        for offset, view in views:
            _write_all(file.fileno(), view, offset)
        end = views[-1][0] + len(views[-1][1]) if views else 0
        tail = tree + len(tree).to_bytes(_LENGTH_BYTES, "little")
        _write_all(file.fileno(), memoryview(tail), end)
        # The file may be an older and longer snapshot, and readers look for the length at its end.
        file.truncate(end + len(tail))


def _write_all(descriptor: int, view: memoryview, offset: int) -> None:
    while view:
        # A write may take less than it is given: Linux stops at 2 GiB.
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _views(placed: list[_Placed]) -> list[tuple[int, memoryview]]:
    """Offset and bytes of every tensor. What is on the CPU and contiguous is not copied for it."""
    on_host = _to_host([entry.tensor.detach() for entry in placed])
    return [(entry.offset, _bytes(tensor).numpy().data) for entry, tensor in zip(placed, on_host, strict=True)]


def _bytes(tensor: Tensor) -> Tensor:
    """One dimension of stride 1 also where torch calls another stride contiguous: with one element or none."""
    return tensor.contiguous().as_strided((tensor.numel(),), (1,)).view(torch.uint8)


def _to_host(tensors: list[Tensor]) -> list[Tensor]:
    """A GPU's tensors through pinned memory (torch keeps it for the next time), all under way before one is awaited."""
    moved = [
        torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
        if tensor.is_cuda
        else tensor
        for tensor in tensors
    ]
    for device in {tensor.device for tensor in tensors if tensor.is_cuda}:
        # Until then the host's buffers hold whatever they held before.
        torch.cuda.current_stream(device).synchronize()
    return moved


def _encode(value: Any, placed: list[_Placed]) -> Any:
    if isinstance(value, Tensor):
        last = placed[-1].offset + placed[-1].tensor.nbytes if placed else 0
        offset = -(-last // _ALIGNMENT) * _ALIGNMENT
        placed.append(_Placed(value, offset))
        return {"tensor": [str(value.dtype).removeprefix("torch."), list(value.shape), offset]}
    if isinstance(value, dict):
        # Pairs, because JSON's keys are text, and the optimizer's state goes by numbers.
        return {"dict": [[_encode(key, placed), _encode(item, placed)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_encode(item, placed) for item in value]}
    # Before the numbers: a bool is an int, and would come back as one.
    if value is None or isinstance(value, (bool, str)):
        return value
    for number in (int, float):  # the plain number also of NumPy's float64 and of enumerations
        if isinstance(value, number):
            return number(value)
    raise TypeError(f"a snapshot cannot hold {type(value).__name__}")


def _decode(value: Any, content: mmap.mmap) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, items),) = value.items()
    if kind == "tensor":
        return _tensor(content, *items)
    if kind == "dict":
        return {_decode(key, content): _decode(item, content) for key, item in items}
    decoded = [_decode(item, content) for item in items]
    return tuple(decoded) if kind == "tuple" else decoded


def _tensor(content: mmap.mmap, dtype_name: str, shape: list[int], offset: int) -> Tensor:
    dtype: torch.dtype = getattr(torch, dtype_name)
    count = math.prod(shape)
    # torch refuses to make a tensor of no bytes.
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype, count=count, offset=offset).view(shape)
