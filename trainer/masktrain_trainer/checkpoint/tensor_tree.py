"""A tree of dicts, lists, tuples, numbers, text and tensors as bytes, and back; reading executes nothing.

Every tensor's bytes one after the other, then a JSON tree that says how they hang together, then the tree's length.
Nothing is pickled, so that bytes of a stranger can at worst be refused, and nothing is compressed, so that whoever
writes pays for one copy and no more.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# A cache line, and a multiple of the size of any element.
_ALIGNMENT = 64
_LENGTH_BYTES = 8
_LARGEST_KEY = 1 << 60
"""Python's hashes of larger whole numbers can be made equal, and a dictionary of such keys slow."""
_FORMATS = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float16, torch.float32, torch.float64, torch.bfloat16),
        *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool),
    )
}
"""By the names that the JSON tree uses; any other word in their place is refused.

Not all that torch has: reading a buffer as quantised numbers ends the process with a segmentation fault.
"""


@dataclass(frozen=True)
class _Placed:
    tensor: Tensor
    offset: int


class UnreadableTree(ValueError):
    """The bytes are not a tree."""


def lay_out(tree: Any) -> list[tuple[int, memoryview]]:
    """Offset and bytes of each part, by rising offset; what lies between them is padding.

    Tensors on the CPU are not copied for it. Raises TypeError for anything that a tree cannot hold.
    """
    placed: list[_Placed] = []
    text = json.dumps(_encode(tree, placed)).encode()
    on_host = _to_host([entry.tensor.detach() for entry in placed])
    parts = [(entry.offset, _bytes(tensor).numpy().data) for entry, tensor in zip(placed, on_host, strict=True)]
    tail = memoryview(text + len(text).to_bytes(_LENGTH_BYTES, "little"))
    return [*parts, (length_of(parts), tail)]


def length_of(parts: Sequence[tuple[int, memoryview]]) -> int:
    """Of the whole, in bytes."""
    return parts[-1][0] + len(parts[-1][1]) if parts else 0


def read_tree(content: Any) -> Any:
    """The tree in a writable buffer. Its tensors lie in the buffer's memory: release it only when they are gone.

    Raises UnreadableTree.
    """
    try:
        return _decode(json.loads(_tail(content)), content)
    # Nothing is assumed about the bytes: they may come from a file cut short, or over a network from anybody.
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError, OverflowError) as error:
        raise UnreadableTree("the bytes are not a tree of tensors") from error


def _tail(content: Any) -> bytes:
    with memoryview(content) as view:
        length = int.from_bytes(view[-_LENGTH_BYTES:], "little")
        return bytes(view[-_LENGTH_BYTES - length : -_LENGTH_BYTES])


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
        name = str(value.dtype).removeprefix("torch.")
        if name not in _FORMATS:
            raise TypeError(f"a tree of tensors cannot hold tensors of {name}")
        last = placed[-1].offset + placed[-1].tensor.nbytes if placed else 0
        offset = -(-last // _ALIGNMENT) * _ALIGNMENT
        placed.append(_Placed(value, offset))
        return {"tensor": [name, list(value.shape), offset]}
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
    raise TypeError(f"a tree of tensors cannot hold {type(value).__name__}")


def _decode(value: Any, content: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, items),) = value.items()
    if kind == "tensor":
        return _tensor(content, *items)
    if kind == "dict":
        return {_key(_decode(key, content)): _decode(item, content) for key, item in items}
    decoded = [_decode(item, content) for item in items]
    return tuple(decoded) if kind == "tuple" else decoded


def _key(found: Any) -> Any:
    if isinstance(found, int) and abs(found) > _LARGEST_KEY:
        raise ValueError("a key of more than 60 bits")
    return found


def _tensor(content: Any, dtype_name: str, shape: list[int], offset: int) -> Tensor:
    dtype = _FORMATS[dtype_name]
    count = math.prod(shape)
    if any(side < 0 for side in shape):  # torch takes -1 for "as many as there are"
        raise ValueError("a negative side")
    # torch refuses to make a tensor of no bytes.
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype, count=count, offset=offset).view(shape)
