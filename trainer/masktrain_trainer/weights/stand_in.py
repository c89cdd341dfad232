"""What a pickle's classes and objects become: records without behaviour.

A YOLOv5 file is a pickle of whole modules, so its layers, paths and settings are written down as they are named in the
file, and nothing of what those names mean anywhere is imported or called.
"""

from dataclasses import dataclass, field
from typing import Any


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
