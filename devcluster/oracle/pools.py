"""What exists in the cloud: node pools, their nodes, instances and work requests."""

import itertools
import random
import re
from dataclasses import dataclass, field
from typing import Any

RUNNING_STATUSES = frozenset({"ACCEPTED", "IN_PROGRESS"})
OCID_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True)
class PoolSettings:
    """A node pool and how fast it moves. All times in seconds.

    A new node takes `accept_seconds` until its work request is in progress, `provision_seconds` until the instance
    exists (and is billed), `boot_seconds` until it has joined Kubernetes. `drain_seconds` and `delete_seconds` follow a
    delete; `linger_seconds` is how long a node that is gone stays listed as DELETED. Pods that `resist_eviction` hold a
    delete up for the whole eviction grace, unless the call overrides both the grace and what follows it.
    """

    id: str
    size: int = 0
    name: str = "gpu"
    shape: str = "VM.GPU3.2"
    gpus: int = 2
    preemptible: bool = False
    cluster_id: str = "ocid1.cluster.oc1.iad.fakecluster"
    compartment_id: str = "ocid1.compartment.oc1..fakecompartment"
    # With the tenancy's prefix, as the API writes it; the Node's zone label comes without.
    availability_domains: tuple[str, ...] = ("Uocm:US-ASHBURN-AD-1",)
    fault_domains: tuple[str, ...] = ("FAULT-DOMAIN-1", "FAULT-DOMAIN-2", "FAULT-DOMAIN-3")
    labels: dict[str, str] = field(default_factory=dict)
    accept_seconds: float = 0.2
    provision_seconds: float = 1.0
    boot_seconds: float = 60.0
    drain_seconds: float = 0.0
    delete_seconds: float = 30.0
    linger_seconds: float = 5.0
    # OKE's own defaults: an hour of grace, and no force after it. A delete that leaves them alone pays for that hour.
    eviction_grace_seconds: float = 3600.0
    resist_eviction: bool = True
    refuse_changes_while_updating: bool = False


def pools_from_json(pools: list[dict[str, Any]]) -> tuple[PoolSettings, ...]:
    """Pools as JSON has them, with lists for tuples. Raises TypeError for a setting that does not exist."""
    return tuple(_pool_from_json(pool) for pool in pools)


def _pool_from_json(pool: dict[str, Any]) -> PoolSettings:
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in pool.items()
    }
    return PoolSettings(**settings)


@dataclass(frozen=True)
class NodeError:
    """Why there is no instance, as `nodes[].nodeError` says."""

    code: str
    message: str
    request_id: str


# By identity: nodes that are about to be created may be alike in every field, and lists are searched for this one.
@dataclass(eq=False)
class Node:
    """An entry of `nodes[]`, and the instance behind it once that exists. `time_created` is the instance's."""

    pool: PoolSettings
    name: str
    availability_domain: str
    fault_domain: str
    private_ip: str
    state: str = "CREATING"
    instance_id: str | None = None
    instance_state: str = "PROVISIONING"
    time_created: float = 0.0
    error: NodeError | None = None

    @property
    def is_phantom(self) -> bool:
        """Wanted, but without an instance, and none under way."""
        # delete_node needs an instance OCID, so nothing but a smaller size removes such an entry.
        return self.error is not None and self.instance_id is None

    @property
    def counts(self) -> bool:
        """Whether it fills one of the places of the pool's size."""
        return self.state not in ("DELETING", "DELETED")


@dataclass
class WorkRequest:
    """Something asynchronous. It ends when every node in `pending` has arrived, failed or gone."""

    id: str
    operation: str
    pool: PoolSettings
    time_accepted: float
    status: str = "ACCEPTED"
    time_started: float | None = None
    time_finished: float | None = None
    instances: dict[str, str] = field(default_factory=dict)
    """Instance OCID to CREATED, DELETED, FAILED or IN_PROGRESS."""
    errors: list[tuple[float, NodeError]] = field(default_factory=list)
    pending: list[Node] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        return self.status in RUNNING_STATUSES


@dataclass
class Pool:
    """A node pool. `size` is what was asked for last, phantoms included."""

    settings: PoolSettings
    size: int = 0
    etag: str = ""
    nodes: list[Node] = field(default_factory=list)
    work_requests: list[WorkRequest] = field(default_factory=list)
    stuck: bool = False
    sticks_at_failure: bool = False
    attention: str = ""
    hidden: bool = False
    changed_behind_back: bool = False

    @property
    def lifecycle_state(self) -> str:
        if self.attention:
            return "NEEDS_ATTENTION"
        if self.stuck or any(request.is_running for request in self.work_requests):
            return "UPDATING"
        return "ACTIVE"

    def node(self, instance_id: str) -> Node | None:
        """The node of this instance, unless it is gone."""
        return next((n for n in self.nodes if n.instance_id == instance_id and n.state != "DELETED"), None)

    def counted(self) -> list[Node]:
        """The nodes that fill the pool's size, or are to."""
        return [node for node in self.nodes if node.counts]


class Names:
    """Identifiers in Oracle's form, the same ones in every run with the same seed."""

    def __init__(self, seed: int) -> None:
        """Draw from `seed`."""
        self._random = random.Random(seed)
        self._numbers = itertools.count()

    def ocid(self, kind: str) -> str:
        """A new identifier of a resource in Ashburn."""
        return f"ocid1.{kind}.oc1.iad.{self._letters(60)}"

    def etag(self) -> str:
        """A new version of a resource."""
        return self._letters(16)

    def request_id(self) -> str:
        """A new `opc-request-id`."""
        return f"{self._random.getrandbits(128):032X}"

    def node(self, pool: PoolSettings) -> tuple[str, str]:
        """Name and private address of a new node: `oke-<end of cluster>-<end of pool>-<subnet>-<number>`."""
        number = next(self._numbers)
        # Autoscalers find the instances of a pool by this prefix, so it has to be right.
        name = f"oke-{_tail(pool.cluster_id)}-{_tail(pool.id)}-sfakenet-{number}"
        return name, f"10.0.{number // 250}.{number % 250 + 2}"

    def choose(self, nodes: list[Node]) -> Node:
        """The victim when nobody named one."""
        return self._random.choice(nodes)

    def _letters(self, count: int) -> str:
        return "".join(self._random.choices(OCID_ALPHABET, k=count))


def _tail(ocid: str) -> str:
    return re.sub(r"[^a-z0-9]", "", ocid.lower())[-11:]


def open_work_request(pool: Pool, operation: str, ocid: str, now: float) -> WorkRequest:
    """A new one, accepted now."""
    request = WorkRequest(ocid, operation, pool.settings, now)
    pool.work_requests.append(request)
    return request


def arrive(request: WorkRequest, node: Node | None, error: NodeError | None, now: float) -> bool:
    """Note that `node` needs no more of this request. True when that has ended it."""
    if node in request.pending:
        request.pending.remove(node)
    elif node is not None:
        return False
    if error:
        request.errors.append((now, error))
    if request.pending or request.status != "IN_PROGRESS":
        return False
    request.status = "FAILED" if request.errors else "SUCCEEDED"
    request.time_finished = now
    return True
