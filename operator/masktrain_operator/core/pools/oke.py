"""An OKE node pool as Oracle's APIs show it, in the words of Container Engine and Compute."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

LEAVING_STATES = frozenset({"DELETING", "DELETED"})
"""In all other states, known or not, a node with an instance costs, and nobody but us will terminate it."""
BROKEN_STATES = frozenset({"FAILING", "INACTIVE"})
LIMIT_CODES = ("LimitExceeded", "QuotaExceeded", "TooManyResources")
CAPACITY_WORDS = ("out of host capacity", "outofhostcapacity")
"""There is no code for it: Oracle words it so, below the code InternalError."""


class Shortage(StrEnum):
    """What Oracle has too little of."""

    CAPACITY = "capacity"
    LIMIT = "limit"


def shortage_of(code: str, message: str) -> Shortage | None:
    """None for any other failure. Some messages carry the code of the failure behind theirs, as text."""
    text = f"{code} {message}".lower()
    if any(words in text for words in CAPACITY_WORDS):
        return Shortage.CAPACITY
    return Shortage.LIMIT if any(known.lower() in text for known in LIMIT_CODES) else None


@dataclass(frozen=True)
class OkeError:
    """A failure as Oracle words it; the request id is what its support asks for."""

    code: str
    message: str
    request_id: str | None = None


@dataclass(frozen=True)
class OkeNode:
    """One entry of a node pool's `nodes`. Without an instance it is a phantom: wanted, not paid for, in the way."""

    instance_id: str | None
    name: str
    lifecycle_state: str
    availability_domain: str
    error: OkeError | None = None

    @property
    def is_phantom(self) -> bool:
        # Otherwise it is an instance that Oracle has yet to create, or no longer counts.
        failed = self.error is not None or self.lifecycle_state in BROKEN_STATES
        return self.instance_id is None and failed and self.lifecycle_state not in LEAVING_STATES

    @property
    def is_alive(self) -> bool:
        """Whether its instance exists, in whatever condition, and stays until somebody removes it."""
        return self.instance_id is not None and self.lifecycle_state not in LEAVING_STATES

    @property
    def failure(self) -> str | None:
        """What is wrong with an instance that exists: registrations that time out leave it running."""
        if not self.is_alive or (self.error is None and self.lifecycle_state not in BROKEN_STATES):
            return None
        words = f": {self.error.message}" if self.error is not None and self.error.message else ""
        return f"Oracle calls it {self.lifecycle_state}{words}"


@dataclass(frozen=True)
class WorkRequest:
    """`errors` are read for failed ones only. `resources`: identifiers of what it acts on."""

    id: str
    operation: str
    status: str
    resources: tuple[str, ...]
    accepted: datetime
    finished: datetime | None = None
    errors: tuple[OkeError, ...] = ()

    @property
    def is_running(self) -> bool:
        return self.status in ("ACCEPTED", "IN_PROGRESS", "CANCELING")

    @property
    def has_failed(self) -> bool:
        return self.status == "FAILED"


@dataclass(frozen=True)
class OkePool:
    """`size` is what was asked for, phantoms included; `etag` guards a resize against everybody else's."""

    id: str
    name: str
    cluster_id: str
    compartment_id: str
    lifecycle_state: str
    lifecycle_details: str
    size: int
    etag: str
    shape: str
    preemptible: bool
    nodes: tuple[OkeNode, ...] = ()
    work_requests: tuple[WorkRequest, ...] = ()
    """Those of this pool, newest first."""
    unread: str | None = None
    """Why nothing is known of its work requests, where they could not be read."""

    @property
    def alive_instances(self) -> frozenset[str]:
        return frozenset(node.instance_id for node in self.nodes if node.instance_id and node.is_alive)

    @property
    def least_size(self) -> int:
        """As small as the size may be made without Oracle choosing a victim.

        Also of those that go: when exactly Oracle takes them out of the size, nobody has confirmed.
        """
        return sum(node.instance_id is not None and node.lifecycle_state != "DELETED" for node in self.nodes)

    def work_request(self, named: str | None) -> WorkRequest | None:
        return next((request for request in self.work_requests if request.id == named), None)

    def without(self, terminated: Collection[str]) -> "OkePool":
        """The pool as it is if Compute knows that these instances are gone: a list may show them for longer."""
        nodes = (
            replace(node, lifecycle_state="DELETED") if node.instance_id in terminated else node for node in self.nodes
        )
        return replace(self, nodes=tuple(nodes)) if terminated else self

    @property
    def failed_request(self) -> WorkRequest | None:
        """The newest work request, if it failed and nothing is being worked on."""
        if not self.work_requests or any(request.is_running for request in self.work_requests):
            return None
        return self.work_requests[0] if self.work_requests[0].has_failed else None

    @property
    def phantoms(self) -> int:
        """Nodes in `size` that will not come: entries without an instance, and all missing ones after a failure.

        Only lowering `size` gets rid of them; `delete_node` needs an instance.
        """
        missing = max(0, self.size - len(self.alive_instances))
        if self.failed_request is not None:
            return missing
        return min(missing, sum(node.is_phantom for node in self.nodes))

    @property
    def coming(self) -> int:
        """Nodes in `size` that Oracle has yet to create."""
        return max(0, self.size - len(self.alive_instances) - self.phantoms)


@dataclass(frozen=True)
class Instance:
    """A Compute instance: the thing that is billed, from `time_created` to its termination."""

    id: str
    time_created: datetime
    lifecycle_state: str
    availability_domain: str
    shape: str
    preemptible: bool
