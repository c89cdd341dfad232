"""Every error that a person reads: one root, a reason and one sentence that says what is wrong, where and what to do.

UserError                   the input cannot work, and trying again would give the same answer
InvalidDataset              the data set is not what training needs
InvalidWeights              the given weights cannot be used
UnusableWeights             why a file of weights is not taken
StoreError                  a store did not do what was asked
├── StoreDenied             credentials, permission, address or the bucket itself: nothing gets better by waiting
├── ObjectMissing           the store answers, the object is not there
├── PreconditionFailed      a conditional write lost
├── ConditionsUnsupported   the server does not know conditional writes, and says so
└── StoreUnavailable        the store does not answer, or says that it cannot now: worth another try
"""

from .config import FailureReason


class UserError(Exception):
    """The input cannot work; `str()` is one sentence: what is wrong, where, what to do."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InvalidDataset(Exception):
    """`str()` says in one sentence what is wrong with the data set, where, and what to do. Trying again cannot help."""


class UnusableWeights(ValueError):
    """`str()` is the rest of a sentence that begins with the file's name: what it is, and what to do instead."""


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


class InvalidWeights(Exception):
    """`model.weights` cannot be used; the text is one sentence for a person."""
