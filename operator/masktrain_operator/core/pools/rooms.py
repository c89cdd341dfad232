"""Room for gangs on the nodes of a pool, those that are coming and those that could come included."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from .gangs import Gang

GROWN = "+"
"""Starts the name of a room on a node that the pool would have to grow by."""


@dataclass(frozen=True)
class Room:
    """What a node has left for gangs: its GPUs less those of pods that belong to none."""

    name: str
    free_gpus: int
    open: bool = True
    """Whether new pods may start there, once it is present."""
    present: bool = True
    """Whether the node has joined, with its GPUs."""

    @property
    def is_grown(self) -> bool:
        return self.name.startswith(GROWN)


@dataclass(frozen=True)
class PoolRooms:
    """A pool as admission sees it. `growable`: nodes that it may grow by at this moment."""

    name: str
    gpus_per_node: int
    rooms: tuple[Room, ...] = ()
    growable: int = 0
    limit: int = 0
    """Most nodes that it could ever have."""
    hourly_rate: Decimal | None = None
    node_labels: Mapping[str, str] = field(default_factory=dict)
    obstacle: str | None = None
    """Why it does not grow at this moment."""

    def suits(self, gang: Gang) -> bool:
        """Whether the gang may run here at all; a gang that names a pool has said so itself."""
        if gang.pool_ref is not None:
            return gang.pool_ref == self.name
        wanted = {key: value for key, value in gang.node_selector.items() if key in self.node_labels}
        return gang.gpus_per_node <= self.gpus_per_node and all(self.node_labels[k] == v for k, v in wanted.items())

    def could_hold(self, gang: Gang) -> bool:
        """Whether the gang would fit if nobody else were here."""
        return gang.gpus_per_node <= self.gpus_per_node and gang.nodes <= self.limit


class Packing:
    """Gangs put on rooms one after the other: first fit, at most one pod of a gang on a node."""

    def __init__(self, pool: PoolRooms) -> None:
        self._pool = pool
        self._free = {room.name: room.free_gpus for room in pool.rooms}
        self._open = {room.name for room in pool.rooms if room.open}
        self._present = {room.name for room in pool.rooms if room.present}
        self._grown = 0

    def is_present(self, name: str) -> bool:
        return name in self._present

    def settle(self, gang: Gang) -> tuple[str, ...]:
        """Put a gang that is admitted: where its pods are, the rest as if it came now, even beyond what may grow."""
        taken = tuple(sorted(gang.placed_on & self._free.keys()))
        rest = max(0, gang.nodes - len(taken))
        found = self._first_fit(gang, rest, besides=taken)
        found += self._grow(rest - len(found), gang)
        return self._take(gang, (*taken, *found))

    def admit(self, gang: Gang, *, growing: bool) -> tuple[str, ...] | None:
        """Put a gang that waits, whole or not at all; without `growing` only on nodes that are there or coming."""
        found = self._first_fit(gang, gang.nodes, besides=())
        missing = gang.nodes - len(found)
        if missing and not growing:
            return None
        if missing > self._pool.growable - self._grown or gang.gpus_per_node > self._pool.gpus_per_node:
            return None
        return self._take(gang, (*found, *self._grow(missing, gang)))

    def _first_fit(self, gang: Gang, count: int, besides: Iterable[str]) -> tuple[str, ...]:
        fits = (name for name in self._order() if name not in besides and self._free[name] >= gang.gpus_per_node)
        return tuple(name for name, _ in zip(fits, range(count), strict=False))

    def _order(self) -> Iterator[str]:
        return (name for name in self._free if name in self._open)

    def _grow(self, count: int, gang: Gang) -> tuple[str, ...]:
        if gang.gpus_per_node > self._pool.gpus_per_node:
            return ()
        names = tuple(f"{GROWN}{self._grown + number}" for number in range(1, count + 1))
        self._grown += len(names)
        self._free.update(dict.fromkeys(names, self._pool.gpus_per_node))
        self._open.update(names)
        return names

    def _take(self, gang: Gang, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            self._free[name] -= gang.gpus_per_node
        return names
