"""A pickle interpreter that cannot execute anything: it builds plain values, and asks `Builder` for the rest.

The standard library's unpickler looks names up by importing them and calls what it found; an allow-list on top of it
has to foresee every way round. Here no opcode imports, calls or sets an attribute at all: `pickletools` splits the
bytes into opcodes, and the opcodes that torch writes are interpreted below. Others are refused by name.
"""

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from .errors import UnusableWeights
from .stand_in import Global, StandIn

MOST_OPCODES: Final = 4_000_000
"""An unstripped yolov5x6.pt, optimizer included, has some hundred thousand."""
HIGHEST_PROTOCOL: Final = 5
_KEYS = (str, int, float, bytes, type(None))
"""What may be a key or a member of a set. Hashing a tuple nested a million times deep would overflow the C stack."""


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

    def run(self, pickle: bytes) -> Any:
        """The pickled value. Raises UnusableWeights; for bytes that are no pickle too."""
        try:
            return self._run(pickle)
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
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
        if (step := _STEPS.get(name)) is None:
            raise UnusableWeights(f"has a pickle with the opcode {name}, which torch does not write.")
        step(self, argument)

    def _protocol(self, protocol: int) -> None:
        if protocol > HIGHEST_PROTOCOL:
            raise UnusableWeights(f"has a pickle of protocol {protocol}, which is not known.")

    def _frame(self, _: Any) -> None:
        """Frames only help to read ahead."""

    def _mark(self, _: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _pop_mark(self, _: Any) -> None:
        self._since_mark()

    def _pop(self, _: Any) -> None:
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

    def _tuple_of(self, length: int) -> None:
        if len(self._stack) < length:
            raise IndexError
        items = self._stack[len(self._stack) - length :]
        self._stack[len(self._stack) - length :] = [tuple(items)]

    def _collect(self, make: Callable[[list[Any]], Any]) -> None:
        items = self._since_mark()
        self._stack.append(make(items))

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
        module, _, name = names.partition(" ")
        self._stack.append(self._builder.resolve(_name(module, name)))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(self._builder.resolve(_name(module, name)))

    def _call(self, _: Any) -> None:
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
            raise UnusableWeights(f"has a pickle with a {type(item).__name__} as a key; torch writes none.")
    return items


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(members(items[::2]), items[1::2], strict=True)


def _name(module: Any, name: Any) -> Global:
    """A name with dots would reach into what is found, down to `__globals__`."""
    if type(module) is not str or type(name) is not str:
        raise UnusableWeights("has a pickle that names something by what is no text.")
    if not name.isidentifier() or name.startswith("__") or not all(map(str.isidentifier, module.split("."))):
        raise UnusableWeights(f"has a pickle that names {module[:80]}.{name[:80]}, which is no plain name.")
    return Global(module, name)


_PUSHED: Final = frozenset(
    """INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8""".split()
)
"""Opcodes whose argument is the value; `pickletools` has checked its length against the bytes that there are."""

_Step = Callable[[PickleMachine, Any], None]


def _pushing(make: Callable[[], Any]) -> _Step:
    return lambda machine, _: machine._stack.append(make())  # noqa: SLF001 - a part of the class above


def _collecting(make: Callable[[list[Any]], Any]) -> _Step:
    return lambda machine, _: machine._collect(make)  # noqa: SLF001


def _of_length(length: int) -> _Step:
    return lambda machine, _: machine._tuple_of(length)  # noqa: SLF001


_M = PickleMachine
_STEPS: Final[dict[str, _Step]] = {
    "PROTO": _M._protocol,
    "FRAME": _M._frame,
    "NONE": _pushing(lambda: None),
    "NEWTRUE": _pushing(lambda: True),
    "NEWFALSE": _pushing(lambda: False),
    "EMPTY_LIST": _pushing(list),
    "EMPTY_TUPLE": _pushing(tuple),
    "EMPTY_DICT": _pushing(dict),
    "EMPTY_SET": _pushing(set),
    "LIST": _collecting(list),
    "TUPLE": _collecting(tuple),
    "DICT": _collecting(lambda items: dict(_pairs(items))),
    "FROZENSET": _collecting(lambda items: frozenset(members(items))),
    "TUPLE1": _of_length(1),
    "TUPLE2": _of_length(2),
    "TUPLE3": _of_length(3),
    "MARK": _M._mark,
    "POP": _M._pop,
    "POP_MARK": _M._pop_mark,
    "DUP": _M._duplicate,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _M._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _M._get),
    "MEMOIZE": _M._memoize,
    "APPEND": _M._append,
    "APPENDS": _M._appends,
    "SETITEM": _M._set_item,
    "SETITEMS": _M._set_items,
    "ADDITEMS": _M._add_items,
    "GLOBAL": _M._global,
    "STACK_GLOBAL": _M._stack_global,
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _M._call),
    "NEWOBJ_EX": _M._new_with_keywords,
    "BUILD": _M._build,
    "BINPERSID": _M._persistent,
}
"""Left out on purpose: INST and OBJ (classes before Python 2.2), EXT1 to EXT4 (names from the registry of whoever
reads), PERSID, the out-of-band buffers and BYTEARRAY8. torch writes none of them."""
