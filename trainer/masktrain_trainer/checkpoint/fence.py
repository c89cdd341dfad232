"""The fence: every container claims a run of its attempt, and only the newest run may write."""

import contextlib

from masktrain_trainer.errors import Fenced, ObjectMissing, PreconditionFailed, StoreUnavailable
from masktrain_trainer.stores import Store

from .keys import Fence, JobKeys

_TRIES = 100  # each lost try means that another pod of this attempt claims too: there are never that many


def claim_run(store: Store, keys: JobKeys, attempt: int, pod_uid: str) -> Fence:
    """The fence of this container, higher than every earlier one of its attempt. Raises StoreError."""
    # A run besides the attempt, because Kueue may stop one Job and start it again: two containers of one attempt.
    claim = _claim_by_creation if store.honours_conditional_writes() else _claim_by_listing
    for _ in range(_TRIES):
        fence = _next_fence(read_claims(store, keys), attempt, pod_uid)
        if claim(store, keys, fence, pod_uid):
            return fence
    raise StoreUnavailable(f"No run number of attempt {attempt} could be claimed in {_TRIES} tries.")


def _next_fence(claims: dict[Fence, list[str]], attempt: int, pod_uid: str) -> Fence:
    """One more than the highest; pods that contend for that go on to different ones, in the order of their uids."""
    # Not of later attempts: this container has to learn from `check_fence` that it is late, and not to outbid them.
    highest = max((fence for fence in claims if fence.attempt == attempt), default=Fence(attempt, -1))
    contenders = sorted(claims.get(highest, []))
    place = contenders.index(pod_uid) if pod_uid in contenders else 0
    return Fence(attempt, highest.run + 1 + place)


def _claim_by_creation(store: Store, keys: JobKeys, fence: Fence, pod_uid: str) -> bool:
    """The object tells who won, also where the reply was lost and the client's second try "found it there"."""
    key, body = f"{keys.runs}{fence}", pod_uid.encode()
    with contextlib.suppress(PreconditionFailed):
        store.put(key, body, if_absent=True)
    with contextlib.suppress(ObjectMissing):  # a server may refuse both of two racing writers
        return store.read(key) == body
    return False


def _claim_by_listing(store: Store, keys: JobKeys, fence: Fence, pod_uid: str) -> bool:
    """Write first, look then: of two that claim one number at least one sees the other, and whoever does gives it up.

    The uids' order must not give the number to one that sees another: that one may have looked earlier and begun.
    """
    # The uid stands in the key, because a listing shows no contents.
    store.put(f"{keys.runs}{fence}-{pod_uid}", b"")
    return read_claims(store, keys)[fence] == [pod_uid]


def read_claims(store: Store, keys: JobKeys) -> dict[Fence, list[str]]:
    """The claimed fences, with the pod uids of those that claimed without the server's guarantee."""
    claims: dict[Fence, list[str]] = {}
    for info in store.list(keys.runs):
        # At the first dash only: a pod's uid has dashes of its own.
        text, _, pod_uid = info.key.removeprefix(keys.runs).partition("-")
        with contextlib.suppress(ValueError):  # somebody else's file
            claims.setdefault(Fence.parse(text), []).append(pod_uid)
    return claims


def check_fence(store: Store, keys: JobKeys, fence: Fence) -> None:
    """Raise Fenced if a higher fence was claimed, or none at all is left: then another run has finished the job."""
    newest = max(read_claims(store, keys), default=None)
    if newest is None:
        raise Fenced(f"This job is finished or deleted; run {fence} stops writing.")
    if newest > fence:
        raise Fenced(f"Run {newest} of this job writes now; run {fence} stops writing.")
