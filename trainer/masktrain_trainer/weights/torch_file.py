"""Reading torch files of other programs without executing anything in them.

`torch.save` writes a zip of one pickle and one uncompressed member for each storage.
"""

import math
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from masktrain_trainer.errors import UnusableWeights

from .other_kinds import BYTES_THAT_TELL, refuse_by_name, refuse_other_formats, refuse_other_zips
from .pickle_machine import Global, PickleMachine, StandIn, StorageType, members

LARGEST_FILE: Final = 8 << 30
"""An unstripped yolov5x6.pt has 1.1 GB."""
LARGEST_PICKLE: Final = 64 << 20
MOST_MEMBERS: Final = 100_000
_PICKLE = "/data.pkl"
_ZIP_MAGIC = b"PK\x03\x04"


class TorchZip:
    """An open file. Every method raises UnusableWeights; a context manager."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet but the list of members."""
        self.size = path.stat().st_size
        if self.size > LARGEST_FILE:
            raise UnusableWeights(f"has {self.size:,} bytes; weights with more than {LARGEST_FILE:,} are not read.")
        with path.open("rb") as file:
            start = file.read(BYTES_THAT_TELL)
        if not start.startswith(_ZIP_MAGIC):
            refuse_other_formats(start)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise UnusableWeights("is damaged: its zip cannot be read; download or copy it again.") from error
        try:
            self._prefix = self._find_prefix()
            self._members = self._checked_members()
            self._refuse_big_endian()
        # A context manager that was never entered is not left either.
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> "TorchZip":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def pickle(self) -> bytes:
        """The pickle of the saved object."""
        name = f"{self._prefix}{_PICKLE}"
        if self._members[name].file_size > LARGEST_PICKLE:
            raise UnusableWeights(f"has a pickle of more than {LARGEST_PICKLE:,} bytes, which no model needs.")
        return self._read(name)

    def storage(self, key: str, dtype: torch.dtype, elements: int) -> Tensor:
        """One storage as a flat tensor. Its size must be the one that the pickle tells."""
        name = f"{self._prefix}/data/{key}"
        if name not in self._members:
            raise UnusableWeights(f"is damaged: the storage {key[:20]} is missing.")
        if self._members[name].file_size != elements * dtype.itemsize:
            raise UnusableWeights(f"is damaged: the storage {key[:20]} has another size than its pickle says.")
        if elements == 0:
            return torch.empty(0, dtype=dtype)
        # A copy that may be written to: torch warns about tensors over bytes.
        return torch.frombuffer(bytearray(self._read(name)), dtype=dtype)

    def _read(self, name: str) -> bytes:
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError) as error:
            raise UnusableWeights("is damaged: a part of its zip cannot be read; download or copy it again.") from error

    def _find_prefix(self) -> str:
        """All members lie in one folder, named as the file was."""
        names = {member.filename for member in self._zip.infolist()}
        if len(names) > MOST_MEMBERS:
            raise UnusableWeights(f"is a zip of more than {MOST_MEMBERS:,} members, which no model needs.")
        prefixes = [name.removesuffix(_PICKLE) for name in names if name.count("/") == 1 and name.endswith(_PICKLE)]
        refuse_other_zips(names, torch=len(prefixes) == 1)
        if len(prefixes) != 1:
            raise UnusableWeights("is a zip without the one data.pkl that torch.save writes; give a .pt file.")
        return prefixes[0]

    def _checked_members(self) -> dict[str, zipfile.ZipInfo]:
        """Members as large as they are in the file: neither compressed, nor more of them than bytes."""
        members = self._zip.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise UnusableWeights(
                "is a compressed zip, where torch.save writes an uncompressed one: it was unpacked and packed anew; "
                "give the .pt as it was, or pack it without compression."
            )
        if any(member.flag_bits & 1 for member in members):
            raise UnusableWeights("is an encrypted zip; torch writes plain ones.")
        # Members may overlap, so that each counts the same bytes again.
        if sum(member.file_size for member in members) > self.size:
            raise UnusableWeights("is a zip whose members are larger than the whole file; it is damaged or a trap.")
        return {member.filename: member for member in members}

    def _refuse_big_endian(self) -> None:
        name = f"{self._prefix}/byteorder"
        found = self._members.get(name)
        if found is not None and found.file_size < 10 and self._read(name) == b"big":
            raise UnusableWeights("was written on a big-endian machine; save it again on a usual one.")


_TENSOR: Final = "torch._utils._rebuild_tensor_v2"
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
_INERT_NAMES: Final = {
    "torch": frozenset(
        {
            *("float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool"),
            *("half", "float", "double", "long", "int", "short", "device", "Tensor"),
            *("strided", "contiguous_format", "channels_last", "preserve_format"),
        }
    ),
    "collections": frozenset({"Counter", "deque"}),
    "types": frozenset({"SimpleNamespace"}),
    # How dill writes NumPy's arrays and types.
    **dict.fromkeys(("dill.dill", "dill._dill"), frozenset({"_create_array", "_create_dtypemeta"})),
}
"""By module: names that become records."""
_BUILTIN_TYPES: Final = frozenset(
    {
        *("bool", "int", "float", "complex", "str", "bytes", "bytearray", "list", "tuple", "dict", "set", "frozenset"),
        *("range", "slice", "object"),
        # Python 2's names of range, str and int.
        *("xrange", "unicode", "long"),
    }
)
"""A pickle mentions them, as the factory of a defaultdict for instance; all but sets are made by opcodes."""
_BUILTINS: Final = ("builtins", "__builtin__")
"""The second is the module's name in Python 2, which protocol 2 keeps."""
_PYTHON_2_TYPES: Final = {f"{name.capitalize()}Type": name for name in _BUILTIN_TYPES}
# For best_fitness, which is an array of NumPy's in files that were not stripped, and for numbers that were computed.
_NUMPY_NAMES: Final = frozenset(
    {
        *("scalar", "dtype", "ndarray", "_reconstruct", "bool_", "str_"),
        *("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    }
)
_INERT_PACKAGES: Final = (
    *("models", "utils", "yolov5.models", "yolov5.utils"),
    # What wraps a model that several GPUs train.
    *("torch.nn", "torch.distributed"),
    # For the options and the date that train.py leaves in its files.
    *("pathlib", "argparse", "datetime"),
)
"""YOLOv5 installed from PyPI writes its own names below `yolov5`."""
_MOST_DIMENSIONS: Final = 64
"""Torch's own limit."""
_MOST_REPEATED_BYTES: Final = 64 << 20
"""By which all tensors together may be larger than the file. Views share their numbers: those of a grid that was
expanded, as the head keeps one after each detection, are a million in the place of ten.
"""
_MOST_COPIED_BYTES: Final = 64 << 20
"""That calls may copy in all: a pickle can ask for a copy of one long value again and again."""
_BYTES_OF_AN_ITEM: Final = 64
"""In a set at its emptiest; text and bytes take one for each character."""


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
        self._copied_bytes = 0
        self._functions: dict[str, Callable[..., Any]] = {
            _TENSOR: self._tensor,
            "torch._utils._rebuild_parameter": _parameter,
            "torch._utils._rebuild_parameter_with_state": _parameter,
            "torch._tensor._rebuild_from_type_v2": self._tensor_with_attributes,
            "collections.OrderedDict": _ordered_dict,
            "collections.defaultdict": _default_dict,
            "torch.Size": _size,
            **{f"{module}.set": _set for module in _BUILTINS},
            **{f"{module}.frozenset": _frozen_set for module in _BUILTINS},
            "_codecs.encode": _encode,
            # In place of the name of a type, in files of programs that have imported dill, an old one or a new one.
            "dill.dill._load_type": _builtin_type,
            "dill._dill._load_type": _builtin_type,
        }

    def resolve(self, found: Global) -> Any:
        name = str(found)
        if name in self._functions or found.name in _INERT_NAMES.get(found.module, ()):
            return found
        refuse_by_name(found.module, found.name)
        if _is_inert(found):
            return found
        if found.module == "torch" and found.name in _DTYPES:
            return StorageType(found.name)
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
        """Whatever has a length counts, of whatever type: what a function of ours makes of it is not longer."""
        for argument in arguments:
            if isinstance(argument, Sized) and not isinstance(argument, Tensor):
                each = 1 if isinstance(argument, (str, bytes)) else _BYTES_OF_AN_ITEM
                self._copied_bytes += len(argument) * each
        if self._copied_bytes > _MOST_COPIED_BYTES:
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
        # A view costs nothing here, but every tensor may be copied later.
        self._tensor_bytes += math.prod(size) * storage.dtype.itemsize
        if self._tensor_bytes > self._file.size + _MOST_REPEATED_BYTES:
            raise UnusableWeights(
                f"has tensors that are more than {_MOST_REPEATED_BYTES >> 20} MB larger than the whole file together, "
                "for many of them share the same few numbers; no model of YOLOv5 needs that."
            )
        # Where there are no elements, the place of the first one may be anywhere.
        return storage.new_empty(size) if 0 in size else storage.as_strided(size, stride, offset)

    def _tensor_with_attributes(self, function: Any, _type: Any, arguments: Any, _state: Any) -> Tensor:
        """A tensor that somebody gave attributes of Python; those are left behind."""
        if not isinstance(function, Global) or str(function) != _TENSOR or type(arguments) is not tuple:
            raise UnusableWeights("has a pickle with a tensor of a kind of its own; YOLOv5 writes none.")
        return self._tensor(*arguments)


def _is_inert(found: Global) -> bool:
    if found.module in _BUILTINS:
        return found.name in _BUILTIN_TYPES
    if found.module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray"):
        return found.name in _NUMPY_NAMES
    return any(found.module == package or found.module.startswith(f"{package}.") for package in _INERT_PACKAGES)


def _lies_within(elements: int, offset: Any, size: Any, stride: Any) -> bool:
    """Whether every element of the view is one of the storage's; several may be the same one."""
    if not (_are_counts((offset,)) and _are_counts(size) and _are_counts(stride) and len(size) == len(stride)):
        return False
    if len(size) > _MOST_DIMENSIONS:
        return False
    if 0 in size:
        return True
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    return bool(last < elements)


def _are_counts(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(value) is int and 0 <= value < 1 << 40 for value in values)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered_dict(*pairs: Any) -> OrderedDict[Any, Any]:
    if not pairs:
        return OrderedDict()
    (items,) = pairs
    if not isinstance(items, (list, tuple)):
        raise UnusableWeights("has a pickle that makes a dictionary of something other than pairs; torch writes none.")
    members([key for key, _ in items])
    return OrderedDict(items)


def _size(*lengths: Any) -> tuple[Any, ...]:
    if not lengths:
        return ()
    (given,) = lengths
    if not _are_counts(tuple(given) if type(given) is list else given):
        raise UnusableWeights("has a pickle with a torch.Size of something other than whole numbers; it is a trap.")
    return tuple(given)


def _default_dict(*factory: Any) -> dict[Any, Any]:
    """Without its factory, which nobody asks for values here; opcodes fill it."""
    if len(factory) > 1:
        raise UnusableWeights("has a pickle that fills a defaultdict in an unusual way; torch writes none.")
    return {}


def _builtin_type(name: Any) -> Global:
    """What dill writes for `set` and its like: only the types that a pickle may mention itself."""
    known = _PYTHON_2_TYPES.get(name, name) if isinstance(name, str) else None
    if known not in _BUILTIN_TYPES:
        raise UnusableWeights("names a type of its own by dill, which no file of YOLOv5 needs; it was not loaded.")
    return Global("builtins", known)


def _frozen_set(*items: Any) -> frozenset[Any]:
    return frozenset(_set(*items))


def _set(*items: Any) -> set[Any]:
    if not items:
        return set()
    (given,) = items
    if not isinstance(given, (list, tuple, set, frozenset)):
        raise UnusableWeights("has a pickle that makes a set of something other than items; torch writes none.")
    return set(members(list(given)))


def _encode(text: Any, encoding: Any) -> bytes:
    """How Python 2's protocol, which torch uses, writes bytes."""
    if type(text) is not str or encoding != "latin1":
        raise UnusableWeights("has a pickle that encodes text in an unusual way; torch writes none.")
    return text.encode("latin-1")
