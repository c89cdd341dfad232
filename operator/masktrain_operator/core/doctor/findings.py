"""What `masktrain doctor` says: one finding for each thing that was looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """`UNKNOWN`: nobody could look, or there is nothing to look at yet."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    UNKNOWN = "unknown"


class Check(StrEnum):
    """What is looked at, in the order of the table."""

    CLUSTER = "cluster"
    SIGN_IN = "sign-in"
    POLICIES = "policies"
    DEVICE_PLUGIN = "device plugin"
    DRIVERS = "drivers"
    STORAGE = "storage of nodes"
    BOOT_VOLUME = "boot volume"
    DOMAINS = "availability domains"
    PRICES = "prices"
    OBJECT_STORAGE = "object storage"
    CLOCKS = "clocks"


ORDER = {check: place for place, check in enumerate(Check)}


@dataclass(frozen=True)
class Finding:
    """`about`: the pool, store or clock. `advice`: what to do, a sentence. `paste`: lines for Oracle or a shell.

    `blind`: nothing of what this is about could be seen, so that no other finding about it can be trusted to be all.
    """

    check: Check
    about: str
    level: Level
    said: str
    advice: str = ""
    paste: tuple[str, ...] = ()
    blind: bool = False


@dataclass(frozen=True)
class NotSeen:
    """A look that led nowhere. `right`: what would allow it, if a right was missing; else the reason is another."""

    sentence: str
    right: str = ""

    @property
    def advice(self) -> str:
        return f"It takes the right to {self.right}." if self.right else ""


def unseen(check: Check, about: str, look: NotSeen, *, blind: bool = False, paste: Sequence[str] = ()) -> Finding:
    return Finding(check, about, Level.UNKNOWN, look.sentence, look.advice, tuple(paste), blind=blind)


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """As the table shows them; those of one check stay as they came."""
    return sorted(findings, key=lambda finding: ORDER[finding.check])


EXIT_OK = 0
EXIT_FAULT = 1
EXIT_BLIND = 3
"""Not 2, which is wrong usage."""


def exit_code(findings: Sequence[Finding]) -> int:
    """A fault counts more than what could not be seen: it is certain."""
    if any(finding.level is Level.FAULT for finding in findings):
        return EXIT_FAULT
    return EXIT_BLIND if any(finding.blind for finding in findings) else EXIT_OK
