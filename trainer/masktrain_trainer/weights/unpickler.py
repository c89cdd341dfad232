"""Reading torch files of other programs without executing anything in them."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from .errors import UnusableWeights
from .pickle_machine import PickleMachine, members
from .stand_in import Global, StandIn, StorageType
from .torch_zip import TorchZip

_DTYPES: Final[dict[str, torch.dtype]] = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "DoubleStorage": torch.float64,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_TORCH_TAGS: Final = frozenset(
    {
        *("float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"),
        *("half", "float", "double", "long", "int", "short", "device"),
    }
)
_NUMPY_NAMES: Final = frozenset({"scalar", "dtype", "ndarray", "_reconstruct"})
_INERT_PACKAGES: Final = (
    *("models", "utils", "yolov5.models", "yolov5.utils"),
    *("torch.nn", "pathlib", "argparse", "datetime"),
)
"""YOLOv5 installed from PyPI writes its own names below `yolov5`."""
_MOST_DIMENSIONS: Final = 8
_MOST_COPIED: Final = 8 << 20
"""Items and characters that calls may copy in all: a pickle can ask for a copy of one long list again and again."""


def read_torch_file(path: Path) -> Any:
    """The object in a file of `torch.save`: tensors, plain values, and stand-ins for all other objects.

    Nothing of the file is executed or imported. Raises UnusableWeights; FileNotFoundError if there is no file.
    """
    with TorchZip(path) as file:
        return PickleMachine(_TorchBuilder(file)).run(file.pickle())


class _TorchBuilder:
    """Gives meaning to the names in torch's pickles: an allow-list of functions of our own, and inert records."""

    def __init__(self, file: TorchZip) -> None:
        self._file = file
        self._storages: dict[str, Tensor] = {}
        self._tensor_bytes = 0
        self._copied = 0
        self._functions: dict[str, Callable[..., Any]] = {
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": _parameter,
            "collections.OrderedDict": _ordered_dict,
            "torch.Size": _size,
            "builtins.set": _set,
            "__builtin__.set": _set,
            "_codecs.encode": _encode,
        }

    def resolve(self, found: Global) -> Any:
        name = str(found)
        if name in self._functions or _is_inert(found):
            return found
        if found.module == "torch" and found.name in _DTYPES:
            return StorageType(found.name)
        if found.module.partition(".")[0] == "ultralytics":
            raise UnusableWeights(
                "is a model of the package ultralytics (YOLOv8 and newer, YOLOv5u); give a file of YOLOv5 itself."
            )
        raise UnusableWeights(
            f"names {name[:200]}, which no file of YOLOv5 needs; it was not loaded, for a pickle can run any program."
        )

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        if not isinstance(function, Global):
            raise UnusableWeights("has a pickle that calls something without a name; torch writes none.")
        if (own := self._functions.get(str(function))) is not None:
            self._allow_copies(arguments)
            return own(*arguments)
        return StandIn(function, arguments)

    def _allow_copies(self, arguments: tuple[Any, ...]) -> None:
        self._copied += sum(len(argument) for argument in arguments if isinstance(argument, (list, tuple, set, str)))
        if self._copied > _MOST_COPIED:
            raise UnusableWeights("has a pickle that copies the same values again and again; it is a trap.")

    def storage(self, identifier: Any) -> Tensor:
        """`identifier`: ("storage", type, key, device, number of elements)."""
        match identifier:
            case ("storage", StorageType(name), str(key), str(_), int(elements)) if elements >= 0:
                return self._read_once(key, _DTYPES[name], elements)
        raise UnusableWeights("has a pickle with a persistent id that is no storage; torch writes none.")

    def _read_once(self, key: str, dtype: torch.dtype, elements: int) -> Tensor:
        if key not in self._storages:
            self._storages[key] = self._file.storage(key, dtype, elements)
        found = self._storages[key]
        if found.dtype != dtype or found.numel() != elements:
            raise UnusableWeights(f"is damaged: two tensors take the storage {key[:20]} for different things.")
        return found

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        """A view of a storage; its hooks and its requires_grad are left behind."""
        if not isinstance(storage, Tensor) or not _lies_within(storage.numel(), offset, size, stride):
            raise UnusableWeights("is damaged: a tensor reaches beyond its storage.")
        self._tensor_bytes += math.prod(size) * storage.dtype.itemsize
        if self._tensor_bytes > self._file.size:
            raise UnusableWeights("has tensors larger than the whole file together; it is damaged or a trap.")
        return storage.as_strided(size, stride, offset)


def _is_inert(found: Global) -> bool:
    if found.module == "torch":
        return found.name in _TORCH_TAGS
    if found.module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray"):
        return found.name in _NUMPY_NAMES
    return any(found.module == package or found.module.startswith(f"{package}.") for package in _INERT_PACKAGES)


def _lies_within(elements: int, offset: Any, size: Any, stride: Any) -> bool:
    """Whether every element of the view is one of the storage's, and there are no more of them than it has."""
    if not (_are_counts((offset,)) and _are_counts(size) and _are_counts(stride) and len(size) == len(stride)):
        return False
    if len(size) > _MOST_DIMENSIONS:
        return False
    if 0 in size:
        return bool(offset <= elements)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    return bool(last < elements and math.prod(size) <= elements)


def _are_counts(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(value) is int and 0 <= value < 1 << 40 for value in values)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered_dict(*pairs: Any) -> OrderedDict[Any, Any]:
    if not pairs:
        return OrderedDict()
    ((items),) = pairs
    members([key for key, _ in items])
    return OrderedDict(items)


def _size(*lengths: Any) -> tuple[Any, ...]:
    return tuple(*lengths)


def _set(*items: Sequence[Any]) -> set[Any]:
    return set(members(list(*items)))


def _encode(text: Any, encoding: Any) -> bytes:
    """How Python 2's protocol, which torch uses, writes bytes."""
    if type(text) is not str or encoding != "latin1":
        raise UnusableWeights("has a pickle that encodes text in an unusual way; torch writes none.")
    return text.encode("latin-1")
