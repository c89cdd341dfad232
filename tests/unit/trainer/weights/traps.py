"""Malicious pickles, written opcode by opcode. What they all try is to make the file `target`."""

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


def _copies() -> Iterator[tuple[str, bytes, str, bytes, str]]:
    """What is made by which function of what, and what is said about it. Each source is short, each copy is not."""
    made_set, size = named("builtins", "set"), named("torch", "Size")
    numbers = b"".join(pickle.BININT2 + struct.pack("<H", value) for value in range(40_000))
    keys = pickle.EMPTY_DICT + pickle.MARK + numbers + pickle.SETITEMS
    frozen = pickle.MARK + numbers + pickle.FROZENSET
    content = pickle.BINBYTES + struct.pack("<I", 1_000_000) + bytes(1_000_000)
    yield "a set", made_set, "a frozenset", frozen, "again and again"
    yield "a set", made_set, "a dict", keys, "of something other than items"
    yield "a set", made_set, "bytes", content, "of something other than items"
    yield "a Size", size, "bytes", content, "other than whole numbers"
    yield "a Size", size, "a dict", keys, "other than whole numbers"
    yield "a Size", size, "text", text("x" * 1_000_000), "other than whole numbers"
    yield "an OrderedDict", named("collections", "OrderedDict"), "a dict", keys, "of something other than pairs"


def traps(target: Path, extension_code: int) -> dict[str, Trap]:
    """`extension_code` stands for os.system in the registry of copyreg; models.evil.run makes `target`."""
    imported_os = called(named("builtins", "__import__"), text("os"))
    inner = called(named("_codecs", "encode"), text("cos\nsystem\n."), text("latin1"))
    command, python = text(f"touch {target}"), text(f"__import__('pathlib').Path({str(target)!r}).touch()")
    system, path = named("os", "system"), called(named("pathlib", "Path"), text(str(target)))
    run = called(system, command)
    name, opcode, plain = r"^names ", r"^has a pickle with the opcode ", "which is no plain name"
    bodies: dict[str, tuple[Any, ...]] = {
        "os.system": (run, f"{name}os.system,"),
        "posix.system": (called(named("posix", "system"), command), f"{name}posix.system"),
        "subprocess": (called(named("subprocess", "getoutput"), command), f"{name}subprocess.getoutput"),
        "eval": (called(named("builtins", "eval"), python), f"{name}builtins.eval"),
        "exec": (called(named("builtins", "exec"), python), f"{name}builtins.exec"),
        "eval of Python 2": (called(named("__builtin__", "eval"), python), f"{name}__builtin__.eval"),
        "__import__": (
            called(
                called(named("builtins", "getattr"), imported_os, text("system")),
                command,
            ),
            f"{name}builtins.getattr",
        ),
        "__import__ first": (imported_os + pickle.POP + run, plain),
        "getattr chain": (
            called(called(named("builtins", "getattr"), named("pathlib", "os"), text("system")), command),
            f"{name}builtins.getattr",
        ),
        "reduce in a reduce": (called(named("collections", "OrderedDict"), listed(together(run, run))), f"{name}os"),
        "in a layer's arguments": (called(named("builtins", "set"), listed(run)), f"{name}os.system"),
        "in a layer's state": (pickle.EMPTY_DICT + text("state") + run + pickle.SETITEM, f"{name}os.system"),
        "behind what is thrown away": (run + pickle.POP + pickle.EMPTY_DICT, f"{name}os.system"),
        "STACK_GLOBAL": (called(looked_up("os", "system"), command), f"{name}os.system"),
        "dotted name in an allowed package": (called(looked_up("pathlib", "os.system"), command), plain),
        "dotted name through a class": (
            called(looked_up("collections", "OrderedDict.__init__.__class__"), command),
            plain,
            False,
        ),
        "an allowed class's method": (called(looked_up("pathlib", "Path.touch"), path), plain),
        "INST": (pickle.MARK + command + pickle.INST + b"os\nsystem\n", f"{opcode}INST"),
        "OBJ": (pickle.MARK + system + command + pickle.OBJ, f"{name}os.system"),
        "OBJ of an allowed class": (pickle.MARK + named("pathlib", "Path") + pickle.OBJ, f"{opcode}OBJ", False),
        "NEWOBJ": (named("subprocess", "Popen") + together() + pickle.NEWOBJ, f"{name}subprocess.Popen", False),
        "NEWOBJ_EX": (
            named("argparse", "Namespace") + together() + pickle.EMPTY_DICT + text("a") + command
            + pickle.SETITEM + pickle.NEWOBJ_EX,
            "keyword arguments",
            False,
        ),
        "BUILD of a class": (
            named("collections", "OrderedDict") + pickle.EMPTY_DICT + text("__init__") + command + pickle.SETITEM
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
        "__setstate__": (
            named("models.evil", "Layer") + together() + pickle.NEWOBJ + command + pickle.BUILD,
            r"^holds a models\.evil\.Layer, which is no YOLOv5 detector",
        ),
        "a function of an allowed package": (
            called(named("models.evil", "run"), command),
            r"^holds a models\.evil\.run, which is no YOLOv5 detector",
        ),
        "functools.partial": (called(called(named("functools", "partial"), system, command)), f"{name}functools"),
        "operator.attrgetter": (
            called(called(called(named("operator", "attrgetter"), text("os.system")), named("pathlib", "os")), command),
            f"{name}operator.attrgetter",
            False,
        ),
        "operator.methodcaller": (
            called(called(named("operator", "methodcaller"), text("touch")), path),
            f"{name}operator.methodcaller",
        ),
        "importlib": (called(named("importlib", "import_module"), text("os")) + pickle.POP + run, f"{name}importlib"),
        "runpy": (called(named("runpy", "_run_code"), python, pickle.EMPTY_DICT), f"{name}runpy._run_code"),
        "pickle in a pickle": (
            called(named("pickle", "loads"), inner),
            f"{name}pickle.loads",
            False,
        ),
        "a codec": (called(named("_codecs", "encode"), text("x"), text("unicode_escape")), "encodes text", False),
        "codecs.lookup": (called(named("codecs", "lookup"), text("rot13")), f"{name}codecs.lookup", False),
        "marshalled code": (called(named("marshal", "loads"), pickle.NONE), f"{name}marshal.loads", False),
        "torch.load": (called(named("torch", "load"), text("other.pt")), f"{name}torch.load", False),
        "torch.hub": (called(named("torch.hub", "load"), text("a/b"), text("c")), f"{name}torch.hub.load", False),
        "numpy object array": (
            called(named("numpy.core.multiarray", "_reconstruct"), named("numpy", "ndarray"), together(number(0)), run),
            f"{name}os.system",
            False,
        ),
        "numpy's own exec": (
            called(named("numpy.testing._private.utils", "runstring"), python, pickle.EMPTY_DICT),
            f"{name}numpy.testing",
        ),
        "extension registry": (
            called(pickle.EXT1 + bytes([extension_code]), command),
            f"{opcode}EXT1",
        ),
        "calls a tensor": (called(tensor(storage(1), offset=0, size=1, stride=1)), "without a name", False),
        "calls text": (called(text("os.system"), command), "without a name", False),
        "PERSID": (pickle.PERSID + b"os.system\n", f"{opcode}PERSID", False),
        "persistent id of something else": (together(text("module"), command) + pickle.BINPERSID, "no storage", False),
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
        "a terabyte of one number": (tensor(storage(1), offset=0, size=1 << 38, stride=0), "beyond its storage", False),
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
    return {name: Trap(body + pickle.STOP, sentence, *rest) for name, (body, sentence, *rest) in bodies.items()}
