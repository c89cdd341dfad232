"""The smallest JSON merge patch (RFC 7386) between two documents."""

from collections.abc import Mapping
from typing import Any


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Keys to set, and None for keys to remove. Empty if both are equal. Lists are replaced whole."""
    removed = {key: None for key in old if key not in new}
    changed = {key: _change(old.get(key), value) for key, value in new.items() if key not in old or old[key] != value}
    return removed | changed


def _change(old: Any, new: Any) -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return merge_patch(old, new)
    return new
