"""How a trainer pod says how it ended: its exit codes, and the reasons that go with them."""

from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """Exit codes of the trainer container. Any other code is a crash, which is retried."""

    DONE = 0
    USER_ERROR = 64
    """The input cannot work: trying again would give the same answer."""
    STOPPED = 75
    """Stopped on request with a checkpoint saved."""
    HUNG = 76
    FENCED = 77
    """A later run of the same attempt, or a later attempt, writes to the store: this one may not."""


class FailureReason(StrEnum):
    """Reasons that a trainer may give for exit code 64; they become the reason of the job's `Failed` condition."""

    INVALID_DATASET = "InvalidDataset"
    INVALID_WEIGHTS = "InvalidWeights"
    INVALID_CONFIGURATION = "InvalidConfiguration"
    STORE_DENIED = "StoreDenied"
    DIVERGED = "Diverged"
    NO_FITNESS = "NoFitness"


PEER_LOST = "PeerLost"
"""Reason of a crash that only says that another rank went away: the cause is elsewhere."""
