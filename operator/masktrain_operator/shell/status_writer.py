"""Writes the status of one kind of object: once per change, on the object that the plan was made from.

What is written is the smallest merge patch. Writes that only report progress are capped over all jobs, and those of one
job by their number and size: whoever runs a pod decides how often its progress changes.
"""

import json
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from kubernetes.aio.dynamic.exceptions import ConflictError, NotFoundError

from masktrain_operator.core.types import Manifest

from .caches import KnownObjects
from .client import TRAINING_JOBS, KubernetesClient, ResourceKind
from .work_queue import RetryAfter


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Keys to set, and None for keys to remove. Empty if both are equal. Lists are replaced whole."""
    removed = {key: None for key in old if key not in new}
    changed = {key: _change(old.get(key), value) for key, value in new.items() if key not in old or old[key] != value}
    return removed | changed


def _change(old: Any, new: Any) -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return merge_patch(old, new)
    return new


class WriteRate:
    """Hands out evenly spaced slots. A key that was told to wait keeps its slot, so that none is starved.

    After a rest `burst` slots are free at once.
    """

    def __init__(self, per_second: float, burst: int = 1) -> None:
        self._spacing = 1.0 / per_second
        self._saved = (burst - 1) * self._spacing
        self._next_slot = -math.inf
        self._slots: dict[str, float] = {}

    def wait_seconds(self, key: str, now: float) -> float:
        """0 if the key may write now; else the seconds after which it should ask again."""
        slot = self._slots.pop(key, None)
        if slot is None:
            slot = max(now - self._saved, self._next_slot)
            self._next_slot = slot + self._spacing
        if slot <= now:
            return 0.0
        self._slots[key] = slot
        return slot - now

    def forget(self, key: str) -> None:
        self._slots.pop(key, None)

    def is_idle(self, now: float) -> bool:
        """Whether it is as if it had never been used."""
        return not self._slots and self._next_slot <= now - self._saved


class Allowance:
    """What each key may do: `burst` at once, and then again as much as `per_second` gives back.

    Something that costs more than `burst` has to wait until nothing is owed, and owes the rest.
    """

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._left: dict[Hashable, tuple[float, float]] = {}

    def wait_seconds(self, key: Hashable, now: float, cost: float = 1.0, *, urgent: bool = False) -> float:
        """0 if the key may, which is then taken from its allowance; else the seconds until it may.

        Who is `urgent` never waits, and owes.
        """
        left = self._left_at(key, now)
        missing = min(cost, self._burst) - left
        if missing > 0 and not urgent:
            return missing / self._per_second
        self._left[key] = left - cost, now
        if len(self._left) > MOST_KEYS:
            self._left = {
                known: value for known, value in self._left.items() if self._left_at(known, now) < self._burst
            }
        return 0.0

    def forget(self, key: Hashable) -> None:
        self._left.pop(key, None)

    def __len__(self) -> int:
        return len(self._left)

    def _left_at(self, key: Hashable, now: float) -> float:
        left, moment = self._left.get(key, (self._burst, now))
        return min(self._burst, left + (now - moment) * self._per_second)


MOST_KEYS = 10_000
"""Beyond this, those that owe nothing are forgotten."""
WRITE_BURST = 20.0
WRITES_PER_SECOND = 1.0
"""Of one job's status. Its trainer, which may be anybody's, decides how often it changes and how large it is."""
BYTES_OF_A_WRITE = 16 * 1024
"""What is larger counts as several writes."""
DECIDED_FIELDS = frozenset(
    {"attempt", "attemptUid", "restarts", "nodePool", "startTime", "completionTime", "waitingSince"}
)
"""Written by the operator's own decisions, which no pod can bring about often: never late."""
PROGRESS_FIELDS = frozenset({"progress"})
"""Parts of the status that may be late; a change of anything else is written at once."""


class StatusWriter:
    """The cap on progress writes holds over all jobs, `allowance` for each by itself."""

    def __init__(
        self,
        client: KubernetesClient,
        known: KnownObjects,
        rate: WriteRate,
        clock: Callable[[], float],
        *,
        kind: ResourceKind = TRAINING_JOBS,
        allowance: Allowance | None = None,
    ) -> None:
        self._kind = kind
        self._allowance = allowance
        self._client = client
        self._known = known
        self._rate = rate
        self._clock = clock

    async def write(self, body: Manifest, status: Manifest) -> bool:
        """Make `status` the whole status. Returns whether it was different.

        Raises RetryAfter if it has to wait for its turn, or if the object was changed in the meantime.
        """
        patch = merge_patch(body.get("status", {}), status)
        if not patch:
            return False
        self._wait_for_turn(body, patch)
        await self._patch(body, patch)
        return True

    def forget(self, job_uid: str) -> None:
        self._rate.forget(job_uid)
        if self._allowance is not None:
            self._allowance.forget(job_uid)

    def _wait_for_turn(self, body: Manifest, patch: Manifest) -> None:
        uid, now, seconds = body["metadata"]["uid"], self._clock(), 0.0
        if self._allowance is not None:
            cost = 1 + len(json.dumps(patch)) / BYTES_OF_A_WRITE
            seconds = self._allowance.wait_seconds(uid, now, cost, urgent=bool(patch.keys() & DECIDED_FIELDS))
        if seconds == 0 and patch.keys() <= PROGRESS_FIELDS:
            seconds = self._rate.wait_seconds(uid, now)
        if seconds > 0:
            raise RetryAfter(seconds)

    async def _patch(self, body: Manifest, patch: Manifest) -> None:
        metadata = body["metadata"]
        # The plan was made from this version of the object: on any other it may be wrong.
        guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        change = {"metadata": guard, "status": patch}
        try:
            written = await self._client.merge_patch_status(
                self._kind, metadata.get("namespace"), metadata["name"], change
            )
        except (ConflictError, NotFoundError):
            await self._read_again(body)
            raise RetryAfter(0) from None
        # At once: the watch lags behind, and from the old status the next plan would do the same again.
        self._known.put(self._kind, written)

    async def _read_again(self, body: Manifest) -> None:
        metadata = body["metadata"]
        newest = await self._client.get(self._kind, metadata.get("namespace"), metadata["name"])
        if newest is None or newest["metadata"]["uid"] != metadata["uid"]:
            self._known.remove(self._kind, body)
        else:
            self._known.put(self._kind, newest)
