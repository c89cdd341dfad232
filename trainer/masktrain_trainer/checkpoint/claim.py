"""Claiming a run number: two containers that believe to be the same attempt never write under the same fence."""

from masktrain_trainer.stores import Store
from masktrain_trainer.stores.errors import PreconditionFailed

from .journal import read_claims
from .keys import Fence, JobKeys

_TRIES = 100  # each lost try means that another pod of this attempt got a number: there are never that many


def claim_run(store: Store, keys: JobKeys, attempt: int, pod_uid: str) -> Fence:
    """The fence of this container, higher than every earlier one of its attempt.

    With a server that honours `if_absent`, by creating the claim's object; else by writing one with the pod's uid in
    its key and looking who else did: the smallest uid keeps the number.
    """
    guaranteed = store.honours_conditional_writes()
    for _ in range(_TRIES):
        fence = _next(read_claims(store, keys), attempt)
        won = _create(store, keys, fence, pod_uid) if guaranteed else _compare(store, keys, fence, pod_uid)
        if won:
            return fence
    raise RuntimeError(f"no run number of attempt {attempt} could be claimed in {_TRIES} tries")


def _next(claims: dict[Fence, list[str]], attempt: int) -> Fence:
    return Fence(attempt, max((fence.run for fence in claims if fence.attempt == attempt), default=-1) + 1)


def _create(store: Store, keys: JobKeys, fence: Fence, pod_uid: str) -> bool:
    """A reply may be lost after the write: then the object is ours although it "exists already"."""
    key = f"{keys.runs}{fence}"
    try:
        store.put(key, pod_uid.encode(), if_absent=True)
    except PreconditionFailed:
        return store.read(key) == pod_uid.encode()
    return True


def _compare(store: Store, keys: JobKeys, fence: Fence, pod_uid: str) -> bool:
    store.put(f"{keys.runs}{fence}-{pod_uid}", b"")
    return min(read_claims(store, keys)[fence]) == pod_uid
