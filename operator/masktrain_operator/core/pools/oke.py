"""An OKE node pool as Oracle's APIs show it, in the words of Container Engine and Compute."""

from dataclasses import dataclass
from datetime import datetime

ALIVE_STATES = frozenset({"CREATING", "ACTIVE", "UPDATING"})
"""Node states in which an instance exists, or is about to, and may stay."""
LEAVING_STATES = frozenset({"DELETING", "DELETED", "FAILING", "INACTIVE"})


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
        # Without an error it is an instance that Oracle has yet to create.
        return self.instance_id is None and self.error is not None

    @property
    def is_alive(self) -> bool:
        return self.instance_id is not None and self.lifecycle_state in ALIVE_STATES


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

    @property
    def alive_instances(self) -> frozenset[str]:
        return frozenset(node.instance_id for node in self.nodes if node.instance_id and node.is_alive)

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
