"""Every error that a person reads: one root, with a reason in one word and a sentence that says what to do.

MaskTrainError
├── UserError                   the input cannot work, and trying again would give the same answer: exit code 64
│   ├── InvalidConfiguration    a setting, or the settings together
│   ├── InvalidDataset          what the data set holds
│   ├── InvalidWeights          the weights to start from
│   ├── Diverged                the loss is no longer a number
│   ├── NoFitness               no epoch had a fitness, where training.requireFitness asks for one
│   └── StoreDenied             also a StoreError: credentials, permission, address or the bucket itself
├── StoreError                  a store did not do what was asked
│   ├── ObjectMissing           the store answers, the object is not there
│   ├── PreconditionFailed      a conditional write lost
│   ├── ConditionsUnsupported   the server does not know conditional writes, and says so
│   └── StoreUnavailable        the store does not answer, or says that it cannot now: worth another try
├── UnwritableResults           a file of results could not be written: a full disk, a folder that may not be written to
├── Fenced                      a later run of the job writes now: exit code 77
├── TrainingEnded               one that a command started, before its end: it may work next time
└── NothingToPublish            the job's end finds no model: a crash

Sentences name files, classes and what servers said; none of it may write more to a terminal or a log than a name.

Whoever catches chooses by what can be done: a UserError ends the attempt, another StoreError may pass.
"""

import re

from .config import ExitCode, FailureReason

_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a terminal's cursor, ends a log's line, turns the direction of text, or cannot be written at all."""


def printable(text: str) -> str:
    """Names of others on one line, steering characters as Python escapes them."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class MaskTrainError(Exception):
    """`str()` is one sentence for a person: what is wrong, where, what to do. `reason` is one CamelCase word.

    `exit_code` is that of a command or a stage that the error ends.

    Errors take their sentence and nothing else, so that they survive a pickle on their way to other processes.
    """

    reason: str
    exit_code: int = 1
    """What may work next time, like a crash."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class UserError(MaskTrainError):
    """The input cannot work."""

    reason: FailureReason
    exit_code = ExitCode.USER_ERROR


class InvalidConfiguration(UserError):
    """A setting cannot work, alone or with the others."""

    reason = FailureReason.INVALID_CONFIGURATION


class InvalidDataset(UserError):
    """The data set is not one that can be trained on."""

    reason = FailureReason.INVALID_DATASET


class InvalidWeights(UserError):
    """The given weights cannot be used."""

    reason = FailureReason.INVALID_WEIGHTS


class Diverged(UserError):
    """The loss is no longer a number."""

    reason = FailureReason.DIVERGED


class NoFitness(UserError):
    """No epoch had a fitness above zero, and the job asks for one."""

    reason = FailureReason.NO_FITNESS


class StoreError(MaskTrainError):
    """A store did not do what was asked; the sentence says which one."""

    reason = "StoreUnavailable"


class StoreDenied(StoreError, UserError):
    """Credentials, permission, address or bucket are wrong."""

    reason = FailureReason.STORE_DENIED
    exit_code = ExitCode.USER_ERROR


class ObjectMissing(StoreError):
    """No object has this key."""


class PreconditionFailed(StoreError):
    """The object exists although it must not, or is another one than expected."""


class ConditionsUnsupported(StoreError):
    """The server refuses every conditional write."""


class StoreUnavailable(StoreError):
    """The store failed in a way that may pass."""


class DiskFull(StoreUnavailable):
    """The disk that an object is downloaded to has no room for it. Its cause is the OSError."""


class UnwritableResults(MaskTrainError):
    """What a command found could not be written down; what was written before it is kept."""

    reason = "UnwritableResults"


class Fenced(MaskTrainError):
    """A later container of this job has claimed a run: this one must not write any more."""

    reason = "Fenced"
    exit_code = ExitCode.FENCED


class TrainingEnded(MaskTrainError):
    """A training that is only a part of what was asked for came to no end."""

    reason = "TrainingEnded"


class NothingToPublish(MaskTrainError):
    """No checkpoint has a model that reads back."""

    reason = "NothingToPublish"


class UnusableWeights(ValueError):
    """Why a file of weights is not taken, as the rest of a sentence that begins with the file's name.

    No person reads it alone: whoever knows the name makes the whole sentence of it.
    """


def user_error(reason: FailureReason, message: str) -> UserError:
    """The error of a reason that another process has left in a document."""
    kinds = (InvalidConfiguration, InvalidDataset, InvalidWeights, Diverged, NoFitness, StoreDenied)
    return next(kind for kind in kinds if kind.reason is reason)(message)
