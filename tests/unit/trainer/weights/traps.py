"""Malicious pickles by kind, written opcode by opcode. What those that spring try is to make the file `target`."""

import pickle
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Trap:
    """`springs`: `pickle.loads` makes the file; the others attack the reader's memory, or a reader like torch's."""

    content: bytes
    sentence: str
    springs: bool = True


def text(value: str) -> bytes:
    encoded = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def named(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def looked_up(module: str, name: str) -> bytes:
    """Protocol 4 looks names with dots up attribute by attribute."""
    return pickle.PROTO + b"\x04" + text(module) + text(name) + pickle.STACK_GLOBAL


def together(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def called(function: bytes, *arguments: bytes) -> bytes:
    return function + together(*arguments) + pickle.REDUCE


def listed(*items: bytes) -> bytes:
    return pickle.EMPTY_LIST + pickle.MARK + b"".join(items) + pickle.APPENDS


def number(value: int) -> bytes:
    return pickle.INT + f"{value}\n".encode()


def kept(content: bytes, slot: int) -> bytes:
    return content + pickle.BINPUT + bytes([slot])


def recalled(slot: int) -> bytes:
    return pickle.BINGET + bytes([slot])


def storage(elements: int, kind: bytes | None = None) -> bytes:
    kind = named("torch", "FloatStorage") if kind is None else kind
    return together(text("storage"), kind, text("0"), text("cpu"), number(elements)) + pickle.BINPERSID


def tensor(stored: bytes, *, offset: int, size: int, stride: int) -> bytes:
    shape, steps = together(number(size)), together(number(stride))
    return called(
        named("torch._utils", "_rebuild_tensor_v2"), stored, number(offset), shape, steps, pickle.NEWFALSE, pickle.NONE
    )


_NAMES, _OPCODE, _NO_PLAIN_NAME = r"^names ", r"^has a pickle with the opcode ", "which is no plain name"
_SYSTEM = named("os", "system")
_IMPORTED_OS = called(named("builtins", "__import__"), text("os"))


@dataclass(frozen=True)
class _Attack:
    """`extension_code` stands for os.system in the registry of copyreg; models.evil.run makes `target`."""

    target: Path
    extension_code: int

    @property
    def command(self) -> bytes:
        return text(f"touch {self.target}")

    @property
    def python(self) -> bytes:
        return text(f"__import__('pathlib').Path({str(self.target)!r}).touch()")

    @property
    def path(self) -> bytes:
        return called(named("pathlib", "Path"), text(str(self.target)))

    @property
    def run(self) -> bytes:
        return called(_SYSTEM, self.command)


Bodies = dict[str, tuple[Any, ...]]
"""Content without its STOP, the sentence, and whether it springs if it does not."""


def _copies() -> Iterator[tuple[str, bytes, str, bytes, str]]:
    """What is made by which function of what, and what is said about it. Each source is short, each copy is not."""
    made_set, size = named("builtins", "set"), named("torch", "Size")
    numbers = b"".join(pickle.BININT2 + struct.pack("<H", value) for value in range(40_000))
    keys = pickle.EMPTY_DICT + pickle.MARK + numbers + pickle.SETITEMS
    frozen = pickle.MARK + numbers + pickle.FROZENSET
    content = pickle.BINBYTES + struct.pack("<I", 1_000_000) + bytes(1_000_000)
    yield "a set", made_set, "a frozenset", frozen, "again and again"
    yield "a frozenset", named("builtins", "frozenset"), "a frozenset", frozen, "again and again"
    yield "a set", made_set, "a dict", keys, "of something other than items"
    yield "a set", made_set, "bytes", content, "of something other than items"
    yield "a Size", size, "bytes", content, "other than whole numbers"
    yield "a Size", size, "a dict", keys, "other than whole numbers"
    yield "a Size", size, "text", text("x" * 1_000_000), "other than whole numbers"
    yield "an OrderedDict", named("collections", "OrderedDict"), "a dict", keys, "of something other than pairs"


def _called_functions(attack: _Attack) -> Bodies:
    """A function of Python is named and called."""
    return {
        "os.system": (attack.run, f"{_NAMES}os.system,"),
        "posix.system": (called(named("posix", "system"), attack.command), f"{_NAMES}posix.system"),
        "subprocess": (called(named("subprocess", "getoutput"), attack.command), f"{_NAMES}subprocess.getoutput"),
        "eval": (called(named("builtins", "eval"), attack.python), f"{_NAMES}builtins.eval"),
        "exec": (called(named("builtins", "exec"), attack.python), f"{_NAMES}builtins.exec"),
        "eval of Python 2": (called(named("__builtin__", "eval"), attack.python), f"{_NAMES}__builtin__.eval"),
        "__import__": (
            called(
                called(named("builtins", "getattr"), _IMPORTED_OS, text("system")),
                attack.command,
            ),
            f"{_NAMES}builtins.getattr",
        ),
        "__import__ first": (_IMPORTED_OS + pickle.POP + attack.run, _NO_PLAIN_NAME),
        "getattr chain": (
            called(called(named("builtins", "getattr"), named("pathlib", "os"), text("system")), attack.command),
            f"{_NAMES}builtins.getattr",
        ),
        "reduce in a reduce": (
            called(named("collections", "OrderedDict"), listed(together(attack.run, attack.run))), f"{_NAMES}os"
        ),
        "in a layer's arguments": (called(named("builtins", "set"), listed(attack.run)), f"{_NAMES}os.system"),
        "in a layer's state": (pickle.EMPTY_DICT + text("state") + attack.run + pickle.SETITEM, f"{_NAMES}os.system"),
        "behind what is thrown away": (attack.run + pickle.POP + pickle.EMPTY_DICT, f"{_NAMES}os.system"),
    }  # fmt: skip


def _names_that_reach_further(attack: _Attack) -> Bodies:
    """What is named is allowed, or looks so; what it leads to is not."""
    return {
        "STACK_GLOBAL": (called(looked_up("os", "system"), attack.command), f"{_NAMES}os.system"),
        "dotted name in an allowed package": (
            called(looked_up("pathlib", "os.system"), attack.command), _NO_PLAIN_NAME
        ),
        "dotted name through a class": (
            called(looked_up("collections", "OrderedDict.__init__.__class__"), attack.command),
            _NO_PLAIN_NAME,
            False,
        ),
        "an allowed class's method": (called(looked_up("pathlib", "Path.touch"), attack.path), _NO_PLAIN_NAME),
        "__setstate__": (
            named("models.evil", "Layer") + together() + pickle.NEWOBJ + attack.command + pickle.BUILD,
            r"^holds a models\.evil\.Layer, which is no YOLOv5 detector",
        ),
        "a function of an allowed package": (
            called(named("models.evil", "run"), attack.command),
            r"^holds a models\.evil\.run, which is no YOLOv5 detector",
        ),
        "extension registry": (
            called(pickle.EXT1 + bytes([attack.extension_code]), attack.command),
            f"{_OPCODE}EXT1",
        ),
    }  # fmt: skip


def _other_opcodes(attack: _Attack) -> Bodies:
    """Ways to make an object that torch does not use."""
    return {
        "INST": (pickle.MARK + attack.command + pickle.INST + b"os\nsystem\n", f"{_OPCODE}INST"),
        "OBJ": (pickle.MARK + _SYSTEM + attack.command + pickle.OBJ, f"{_NAMES}os.system"),
        "OBJ of an allowed class": (pickle.MARK + named("pathlib", "Path") + pickle.OBJ, f"{_OPCODE}OBJ", False),
        "NEWOBJ": (named("subprocess", "Popen") + together() + pickle.NEWOBJ, f"{_NAMES}subprocess.Popen", False),
        "NEWOBJ_EX": (
            named("argparse", "Namespace") + together() + pickle.EMPTY_DICT + text("a") + attack.command
            + pickle.SETITEM + pickle.NEWOBJ_EX,
            "keyword arguments",
            False,
        ),
        "BUILD of a class": (
            named("collections", "OrderedDict") + pickle.EMPTY_DICT + text("__init__") + attack.command + pickle.SETITEM
            + pickle.BUILD,
            "sets the state of a Global",
            False,
        ),
        "BUILD with slots": (
            pickle.EMPTY_LIST + together(pickle.NONE, pickle.EMPTY_DICT + text("__class__") + pickle.NONE
            + pickle.SETITEM) + pickle.BUILD,
            "sets the state of a list",
            False,
        ),
        "calls a tensor": (called(tensor(storage(1), offset=0, size=1, stride=1)), "without a name", False),
        "calls text": (called(text("os.system"), attack.command), "without a name", False),
        "PERSID": (pickle.PERSID + b"os.system\n", f"{_OPCODE}PERSID", False),
        "persistent id of something else": (
            together(text("module"), attack.command) + pickle.BINPERSID, "no storage", False
        ),
    }  # fmt: skip


def _called_libraries(attack: _Attack) -> Bodies:
    """Functions of the standard library, of torch and of NumPy that run something, or fetch it."""
    inner = called(named("_codecs", "encode"), text("cos\nsystem\n."), text("latin1"))
    return {
        "functools.partial": (
            called(called(named("functools", "partial"), _SYSTEM, attack.command)), f"{_NAMES}functools"
        ),
        "operator.attrgetter": (
            called(
                called(called(named("operator", "attrgetter"), text("os.system")), named("pathlib", "os")),
                attack.command,
            ),
            f"{_NAMES}operator.attrgetter",
            False,
        ),
        "operator.methodcaller": (
            called(called(named("operator", "methodcaller"), text("touch")), attack.path),
            f"{_NAMES}operator.methodcaller",
        ),
        "importlib": (
            called(named("importlib", "import_module"), text("os")) + pickle.POP + attack.run, f"{_NAMES}importlib"
        ),
        "runpy": (called(named("runpy", "_run_code"), attack.python, pickle.EMPTY_DICT), f"{_NAMES}runpy._run_code"),
        "pickle in a pickle": (
            called(named("pickle", "loads"), inner),
            f"{_NAMES}pickle.loads",
            False,
        ),
        "a codec": (called(named("_codecs", "encode"), text("x"), text("unicode_escape")), "encodes text", False),
        "codecs.lookup": (called(named("codecs", "lookup"), text("rot13")), f"{_NAMES}codecs.lookup", False),
        "marshalled code": (called(named("marshal", "loads"), pickle.NONE), f"{_NAMES}marshal.loads", False),
        "torch.load": (called(named("torch", "load"), text("other.pt")), f"{_NAMES}torch.load", False),
        "torch.hub": (called(named("torch.hub", "load"), text("a/b"), text("c")), f"{_NAMES}torch.hub.load", False),
        "numpy object array": (
            called(
                named("numpy.core.multiarray", "_reconstruct"),
                named("numpy", "ndarray"),
                together(number(0)),
                attack.run,
            ),
            f"{_NAMES}os.system",
            False,
        ),
        "a tensor made by a function of its own": (
            called(
                named("torch._tensor", "_rebuild_from_type_v2"),
                named("models.evil", "run"),
                named("torch", "Tensor"),
                together(attack.command),
                pickle.EMPTY_DICT,
            ),
            "a tensor of a kind of its own",
            False,
        ),
        "numpy's own exec": (
            called(named("numpy.testing._private.utils", "runstring"), attack.python, pickle.EMPTY_DICT),
            f"{_NAMES}numpy.testing",
        ),
    }  # fmt: skip


def _storages_and_tensors() -> Bodies:
    """More than the file holds, or outside of it."""
    return {
        "storage type by text": (storage(1, text("FloatStorage")), "that is no storage", False),
        "storage in another folder": (
            together(text("storage"), named("torch", "FloatStorage"), text("../../etc/passwd"), text("cpu"), number(1))
            + pickle.BINPERSID,
            "is missing",
            False,
        ),
        "a storage of a terabyte": (storage(1 << 38), "has another size than its pickle says", False),
        "a negative storage": (storage(-1), "that is no storage", False),
        "a tensor beyond its storage": (tensor(storage(1), offset=1, size=1, stride=1), "beyond its storage", False),
        "a tensor before its storage": (tensor(storage(1), offset=-1, size=1, stride=1), "beyond its storage", False),
        "a terabyte of one number": (
            tensor(storage(1), offset=0, size=1 << 38, stride=0),
            "larger than the whole file together",
            False,
        ),
    }  # fmt: skip


def _memory_and_time() -> Bodies:
    """Small files that take much."""
    doubled = kept(pickle.EMPTY_LIST, 0) + b"".join(
        pickle.POP + kept(listed(recalled(level), recalled(level)), level + 1) for level in range(60)
    )
    return {
        "a list whose text has no end": (
            doubled + called(named("torch._tensor", "_rebuild_from_type_v2"), recalled(60), *[pickle.NONE] * 3),
            "a tensor of a kind of its own",
            False,
        ),
        "bytes of an exabyte": (pickle.BINBYTES8 + struct.pack("<Q", 1 << 60), "is damaged", False),
        "a number with a million digits": (pickle.LONG + b"9" * 1_000_000 + b"L\n", "is damaged", False),
        "a tuple that breaks the stack when hashed": (
            pickle.EMPTY_DICT + pickle.EMPTY_TUPLE + pickle.TUPLE1 * 200_000 + pickle.NONE + pickle.SETITEM,
            "a tuple as a key",
            False,
        ),
        "one list copied over and over": (
            kept(listed(number(1) * 100_000), 1) + kept(named("builtins", "set"), 2)
            + b"".join(called(recalled(2), recalled(1)) for _ in range(100)),
            "again and again",
            False,
        ),
        "one text encoded over and over": (
            kept(text("x" * 1_000_000), 1) + kept(named("_codecs", "encode"), 2) + kept(text("latin1"), 3)
            + b"".join(called(recalled(2), recalled(1), recalled(3)) for _ in range(100)),
            "again and again",
            False,
        ),
        **{
            f"{made} of {kind} over and over": (
                kept(source, 1) + kept(function, 2) + b"".join(called(recalled(2), recalled(1)) for _ in range(200)),
                sentence,
                False,
            )
            for made, function, kind, source, sentence in _copies()
        },
        "a list that holds itself": (kept(pickle.EMPTY_LIST, 0) + recalled(0) + pickle.APPEND, "holds a list", False),
        "an empty stack": (pickle.REDUCE, "is damaged", False),
        "no end": (pickle.MARK * 1000, "holds a|is damaged", False),
        "a protocol to come": (pickle.PROTO + b"\x09" + pickle.NONE, "protocol 9", False),
    }  # fmt: skip


def _through_dill() -> Bodies:
    """dill's function that finds a type by its name: of those it knows, only plain ones are taken."""
    function = named("dill._dill", "_load_type")
    made = called(function, text("set"))
    return {
        "dill: a type of code": (called(function, text("CodeType")), "a type of its own by dill", False),
        "dill: type itself": (called(called(function, text("type")), text("X")), "a type of its own by dill", False),
        "dill: a function's name": (called(function, text("eval")), "a type of its own by dill", False),
        "dill: no name": (called(function, number(5)), "a type of its own by dill", False),
        "dill: a name that is no text": (called(function, listed()), "a type of its own by dill", False),
        "dill: code": (called(named("dill._dill", "_create_code"), number(0)), "together with program code", False),
        "dill: a function": (named("dill._dill", "_create_function"), "together with program code", False),
        "dill: an import": (called(named("dill._dill", "_import_module"), text("os")), "together with program", False),
        "dill: a set made over and over": (
            kept(pickle.MARK + number(1) * 20_000 + pickle.LIST, 1) + kept(made, 2)
            + b"".join(called(recalled(2), recalled(1)) for _ in range(100)),
            "again and again",
            False,
        ),
    }  # fmt: skip


def traps(target: Path, extension_code: int) -> dict[str, Trap]:
    """By name. `extension_code` and `target`: as in _Attack."""
    attack = _Attack(target, extension_code)
    bodies = {
        **_called_functions(attack),
        **_names_that_reach_further(attack),
        **_other_opcodes(attack),
        **_called_libraries(attack),
        **_storages_and_tensors(),
        **_memory_and_time(),
        **_through_dill(),
    }
    return {name: Trap(body + pickle.STOP, sentence, *rest) for name, (body, sentence, *rest) in bodies.items()}
