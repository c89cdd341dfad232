"""Whether a server honours conditional writes: asked by experiment, since some ignore the headers without a word."""

import uuid

from .base import Store
from .errors import ConditionsUnsupported, PreconditionFailed


def conditional_writes_work(store: Store) -> bool:
    """Write a probe object again under conditions that must fail.

    Raises StoreError if the store fails otherwise: an outage says nothing about conditions.
    """
    key = f".probe-{uuid.uuid4().hex}"
    store.put(key, b"1")
    try:
        return _refused(store, key, if_absent=True) and _refused(store, key, if_absent=False)
    except ConditionsUnsupported:
        return False
    finally:
        store.delete(key)


def _refused(store: Store, key: str, *, if_absent: bool) -> bool:
    try:
        store.put(key, b"2", if_absent=if_absent, if_match=None if if_absent else "0" * 32)
    except PreconditionFailed:
        return True
    return False
