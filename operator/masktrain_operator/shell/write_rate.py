"""Caps the writes that only report progress, so that a thousand running jobs don't flood the API server."""


class WriteRate:
    """Hands out evenly spaced slots. A key that was told to wait keeps its slot, so that none is starved."""

    def __init__(self, per_second: float) -> None:
        self._spacing = 1.0 / per_second
        self._next_slot = 0.0
        self._slots: dict[str, float] = {}

    def wait_seconds(self, key: str, now: float) -> float:
        """0 if the key may write now; else the seconds after which it should ask again."""
        slot = self._slots.pop(key, None)
        if slot is None:
            slot = max(now, self._next_slot)
            self._next_slot = slot + self._spacing
        if slot <= now:
            return 0.0
        self._slots[key] = slot
        return slot - now

    def forget(self, key: str) -> None:
        self._slots.pop(key, None)
