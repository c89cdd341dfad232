"""What can go wrong with a store, each as one sentence for a person.

StoreError
├── StoreDenied             credentials, permission, address or the bucket itself: nothing gets better by waiting
├── ObjectMissing           the store answers, the object is not there
├── PreconditionFailed      a conditional write lost
├── ConditionsUnsupported   the server does not know conditional writes, and says so
└── StoreUnavailable        the store does not answer, or says that it cannot now: worth another try
"""


class StoreError(Exception):
    """A store did not do what was asked; the text says which one and what to do."""


class StoreDenied(StoreError):
    """Credentials, permission, address or bucket are wrong."""


class ObjectMissing(StoreError):
    """No object has this key."""


class PreconditionFailed(StoreError):
    """The object exists although it must not, or is another one than expected."""


class ConditionsUnsupported(StoreError):
    """The server refuses every conditional write."""


class StoreUnavailable(StoreError):
    """The store failed in a way that may pass."""
