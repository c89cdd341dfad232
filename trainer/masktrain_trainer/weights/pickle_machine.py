"""A pickle interpreter that cannot execute anything: it builds plain values, and asks `Builder` for the rest.

The standard library's unpickler looks names up by importing them and calls what it found; an allow-list on top of it
has to foresee every way round. Here no opcode imports, calls or sets an attribute at all: `pickletools` splits the
bytes into opcodes, and the opcodes that torch writes are interpreted below. Others are refused by name. A YOLOv5 file
is a pickle of whole modules; its layers, paths and settings become records (`StandIn`) without behaviour.
"""

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from masktrain_trainer.errors import UnusableWeights


@dataclass(frozen=True)
class Global:
    """A name of the pickle: `module.name`."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class StandIn:
    """An object of the pickle: what it was made of, and its state as the pickle gives it."""

    type: Global
    arguments: tuple[Any, ...]
    state: Any = None
    items: list[Any] = field(default_factory=list)

    def attribute(self, name: str) -> Any:
        """Of the state, if that is a dictionary; None if there is no such attribute."""
        return self.state.get(name) if isinstance(self.state, dict) else None


@dataclass(frozen=True)
class StorageType:
    """A tag such as torch.HalfStorage; `dtype` is torch's name of the element type."""

    dtype: str


MOST_OPCODES: Final = 4_000_000
"""An unstripped yolov5x6.pt, optimizer included, has some hundred thousand."""
MOST_OBJECTS: Final = 250_000
"""Containers, names and calls, of about 250 bytes each: one opcode makes one. The same file has 50,000."""
DEEPEST_MARKS: Final = 10_000
LARGEST_KEY: Final = 1 << 60
"""Python's hashes of larger whole numbers can be made equal, and a dictionary of such keys slow."""
HIGHEST_PROTOCOL: Final = 5
LONGEST_NAME: Final = 256
_KEYS = (str, int, float, bytes, type(None))
"""What may be a key or a member of a set. Hashing a tuple nested a million times deep would overflow the C stack."""


_PUSHED: Final = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    }
)
"""Opcodes whose argument is the value; `pickletools` has checked its length against the bytes that there are."""


class Builder(Protocol):
    """What a pickle's names mean."""

    def resolve(self, found: Global) -> Any:
        """Something for the stack. Raises UnusableWeights for a name that is not known."""

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """The outcome of calling what `resolve` gave. Raises UnusableWeights if that cannot be called."""

    def storage(self, identifier: Any) -> Any:
        """The storage that a persistent id names. Raises UnusableWeights."""


class PickleMachine:
    """Interprets one pickle."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._objects = 0
        self._by_opcode = self._steps()

    def run(self, pickle: bytes) -> Any:
        """The pickled value. Raises UnusableWeights; for bytes that are no pickle too."""
        try:
            return self._run(pickle)
        # RecursionError and OverflowError are among these.
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
            if isinstance(error, UnusableWeights):
                raise
            raise UnusableWeights("is damaged: its pickle makes no sense.") from error

    def _run(self, pickle: bytes) -> Any:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
            if number >= MOST_OPCODES:
                raise UnusableWeights(f"has a pickle of more than {MOST_OPCODES:,} steps, which no model needs.")
            if opcode.name == "STOP":
                return self._stack.pop()
            if opcode.name in _PUSHED:
                self._stack.append(argument)
            else:
                self._interpret(opcode.name, argument)
        raise UnusableWeights("is damaged: its pickle ends early.")

    def _interpret(self, name: str, argument: Any) -> None:
        if (step := self._by_opcode.get(name)) is None:
            raise UnusableWeights(f"has a pickle with the opcode {name}, which torch does not write.")
        step(argument)

    def _steps(self) -> dict[str, Callable[[Any], None]]:
        """By opcode.

        Left out on purpose: INST and OBJ (classes before Python 2.2), EXT1 to EXT4 (names from the registry of whoever
        reads), PERSID, BYTEARRAY8 and the out-of-band buffers. torch writes none of them.
        """
        return {
            "PROTO": self._protocol,
            "FRAME": self._frame,
            "NONE": lambda _: self._stack.append(None),
            "NEWTRUE": lambda _: self._stack.append(True),
            "NEWFALSE": lambda _: self._stack.append(False),
            "EMPTY_LIST": self._pushing(list),
            "EMPTY_TUPLE": lambda _: self._stack.append(()),
            "EMPTY_DICT": self._pushing(dict),
            "EMPTY_SET": self._pushing(set),
            "LIST": self._collecting(list),
            "TUPLE": self._collecting(tuple),
            "DICT": self._collecting(lambda items: dict(_pairs(items))),
            "FROZENSET": self._collecting(lambda items: frozenset(members(items))),
            "TUPLE1": self._tuple_of(1),
            "TUPLE2": self._tuple_of(2),
            "TUPLE3": self._tuple_of(3),
            "MARK": self._mark,
            "POP": self._pop,
            "POP_MARK": self._pop_mark,
            "DUP": self._duplicate,
            **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), self._put),
            **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), self._get),
            "MEMOIZE": self._memoize,
            "APPEND": self._append,
            "APPENDS": self._appends,
            "SETITEM": self._set_item,
            "SETITEMS": self._set_items,
            "ADDITEMS": self._add_items,
            "GLOBAL": self._global,
            "STACK_GLOBAL": self._stack_global,
            **dict.fromkeys(("REDUCE", "NEWOBJ"), self._call),
            "NEWOBJ_EX": self._new_with_keywords,
            "BUILD": self._build,
            "BINPERSID": self._persistent,
        }

    def _count_object(self) -> None:
        self._objects += 1
        if self._objects > MOST_OBJECTS:
            raise UnusableWeights(f"has a pickle that makes more than {MOST_OBJECTS:,} objects, which no model needs.")

    def _pushing(self, make: Callable[[], Any]) -> Callable[[Any], None]:
        def push(_: Any) -> None:
            self._count_object()
            self._stack.append(make())

        return push

    def _collecting(self, make: Callable[[list[Any]], Any]) -> Callable[[Any], None]:
        def collect(_: Any) -> None:
            self._count_object()
            items = self._since_mark()
            self._stack.append(make(items))

        return collect

    def _tuple_of(self, length: int) -> Callable[[Any], None]:
        def collect(_: Any) -> None:
            self._count_object()
            start = len(self._stack) - length
            # A negative start would count from the stack's end.
            if start < 0:
                raise IndexError
            self._stack[start:] = [tuple(self._stack[start:])]

        return collect

    def _protocol(self, protocol: int) -> None:
        if protocol > HIGHEST_PROTOCOL:
            raise UnusableWeights(f"has a pickle of protocol {protocol}, which is not known.")

    def _frame(self, _: Any) -> None:
        """Frames only help to read ahead."""

    def _mark(self, _: Any) -> None:
        if len(self._marks) >= DEEPEST_MARKS:
            raise UnusableWeights("has a pickle nested deeper than any model.")
        self._marks.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _pop(self, _: Any) -> None:
        # As Python's own machine does: a POP at a mark takes the mark.
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _duplicate(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _append(self, _: Any) -> None:
        item = self._stack.pop()
        self._extend([item])

    def _appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, StandIn):
            target.items.extend(items)
        elif type(target) is list:
            target.extend(items)
        else:
            raise UnusableWeights("has a pickle that appends to something that is no list.")

    def _set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._update([key, value])

    def _set_items(self, _: Any) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, StandIn):
            target.items.extend(_pairs(items))
        elif type(target) in (dict, OrderedDict):
            target.update(_pairs(items))
        else:
            raise UnusableWeights("has a pickle that sets the items of something that is no dictionary.")

    def _add_items(self, _: Any) -> None:
        items = self._since_mark()
        if type(self._stack[-1]) is not set:
            raise UnusableWeights("has a pickle that adds to something that is no set.")
        self._stack[-1].update(members(items))

    def _global(self, names: str) -> None:
        self._count_object()
        module, _, name = names.partition(" ")
        self._stack.append(self._builder.resolve(_name(module, name)))

    def _stack_global(self, _: Any) -> None:
        self._count_object()
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(self._builder.resolve(_name(module, name)))

    def _call(self, _: Any) -> None:
        self._count_object()
        arguments, function = self._stack.pop(), self._stack.pop()
        if type(arguments) is not tuple:
            raise UnusableWeights("has a pickle that calls something with arguments that are no tuple.")
        self._stack.append(self._builder.call(function, arguments))

    def _new_with_keywords(self, _: Any) -> None:
        keywords = self._stack.pop()
        if keywords != {}:
            raise UnusableWeights("has a pickle that makes an object with keyword arguments; torch writes none.")
        self._call(None)

    def _build(self, _: Any) -> None:
        """State is only ever written into a record; that of a dictionary (torch's `_metadata`) has no use."""
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, StandIn):
            target.state = state
        elif type(target) is not OrderedDict:
            raise UnusableWeights(f"has a pickle that sets the state of a {type(target).__name__}; torch writes none.")

    def _persistent(self, _: Any) -> None:
        self._stack.append(self._builder.storage(self._stack.pop()))


def members(items: list[Any]) -> list[Any]:
    """The items of a set or the keys of a dictionary. Raises UnusableWeights for what no torch file has there."""
    for item in items:
        if not isinstance(item, _KEYS):
            raise UnusableWeights(f"has a pickle with a {type(item).__name__} as a key, which no file of YOLOv5 has.")
        if isinstance(item, int) and abs(item) > LARGEST_KEY:
            raise UnusableWeights(
                "has a pickle with a number of more than 60 bits as a key, which no file of YOLOv5 has."
            )
    return items


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(members(items[::2]), items[1::2], strict=True)


def _name(module: Any, name: Any) -> Global:
    """A name with dots would reach into what is found, down to `__globals__`."""
    if type(module) is not str or type(name) is not str:
        raise UnusableWeights("has a pickle that names something by what is no text.")
    # Before it is looked at: a name may be as long as the file, and be asked for as often as there are objects.
    too_long = len(module) > LONGEST_NAME or len(name) > LONGEST_NAME
    if (
        too_long
        or not name.isidentifier()
        or name.startswith("__")
        or not all(map(str.isidentifier, module.split(".")))
    ):
        shown = f"{module[:80]}.{name[:80]}"
        raise UnusableWeights(f"has a pickle that names {shown!a}, which is no plain name; torch writes none.")
    return Global(module, name)
