"""The operations of Container Engine (base path /20180222) and Compute (/20160918) that node pools need.

Of Compute only the few calls that tell what is billed.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from . import wire
from .cloud import FakeCloud
from .failures import ServiceError, invalid
from .life_cycle import Eviction
from .pools import Pool, WorkRequest
from .records import Violation
from .wire import SHAPES

DEFAULT_PAGE = 100
# Hours, minutes and seconds: all that the SDK's documentation of the grace durations shows.
DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?")
MAX_GRACE_SECONDS = 3600.0  # PT60M
TRUTHS = {"true": True, "false": False}
ENGINE_BASE = "/20180222"
MAX_SIZE = 1000
COMPUTE_BASE = "/20160918"


@dataclass(frozen=True)
class Parameters:
    """What a call says. `body` is the parsed JSON of a PUT, else empty."""

    path: dict[str, str]
    query: dict[str, list[str]]
    if_match: str | None
    body: dict[str, Any]

    def one(self, name: str) -> str | None:
        """A query parameter that is given once."""
        return self.query[name][0] if self.query.get(name) else None

    def required(self, name: str) -> str:
        """A query parameter that must be there. Raises ServiceError 400."""
        value = self.one(name)
        if value is None:
            raise invalid(f"{name} is missing")
        return value

    def truth(self, name: str) -> bool | None:
        """A query parameter that is true or false. Raises ServiceError 400."""
        value = self.one(name)
        if value is None:
            return None
        if value.lower() not in TRUTHS:
            raise invalid(f"{name} must be true or false, not {value!r}")
        return TRUTHS[value.lower()]

    def grace(self, name: str) -> float | None:
        """A duration of at most an hour, in ISO 8601; in seconds. Raises ServiceError 400."""
        value = self.one(name)
        if value is None:
            return None
        found = DURATION.fullmatch(value)
        if not found or not any(found.groups()):
            raise invalid(f"{name} must be an ISO 8601 duration such as PT5M, not {value!r}")
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        if (total := float(hours * 3600 + minutes * 60 + seconds)) > MAX_GRACE_SECONDS:
            raise invalid(f"{name} may be at most PT60M")
        return total


@dataclass(frozen=True)
class Answer:
    """A successful answer; without `body` it is 202 and says only that work has begun."""

    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def response(self) -> web.Response:
        # Resize and delete answer without a body: their handle is the header opc-work-request-id.
        if self.body is None:
            return web.Response(status=202, headers=self.headers)
        return web.json_response(self.body, headers=self.headers)


def page(items: Sequence[Any], parameters: Parameters) -> Answer:
    """The wanted page of a list; `opc-next-page` names the next one."""
    limit = int(parameters.one("limit") or DEFAULT_PAGE)
    start = int(parameters.one("page") or 0)
    more = {"opc-next-page": str(start + limit)} if start + limit < len(items) else {}
    return Answer(list(items[start : start + limit]), more)


Operation = Callable[[Parameters], Answer]


@dataclass(frozen=True)
class Route:
    """One operation, under the SDK's name for it."""

    method: str
    path: str
    name: str
    operation: Operation


class ContainerEngine:
    """The operations that node pools need."""

    def __init__(self, cloud: FakeCloud) -> None:
        """Serve what `cloud` holds."""
        self._cloud = cloud

    @property
    def routes(self) -> list[Route]:
        """Every operation with its path."""
        pool, request = f"{ENGINE_BASE}/nodePools", f"{ENGINE_BASE}/workRequests"
        return [
            Route("GET", pool, "list_node_pools", self.list_node_pools),
            Route("GET", f"{pool}/{{pool}}", "get_node_pool", self.get_node_pool),
            Route("PUT", f"{pool}/{{pool}}", "update_node_pool", self.update_node_pool),
            Route("DELETE", f"{pool}/{{pool}}/node/{{instance}}", "delete_node", self.delete_node),
            Route("GET", request, "list_work_requests", self.list_work_requests),
            Route("GET", f"{request}/{{request}}", "get_work_request", self.get_work_request),
            Route("GET", f"{request}/{{request}}/errors", "list_work_request_errors", self.list_work_request_errors),
        ]

    def list_node_pools(self, parameters: Parameters) -> Answer:
        compartment = parameters.required("compartmentId")
        # Summaries carry no nodes: a client that counts has to get each pool.
        shown = [wire.node_pool_summary(pool) for pool in self._cloud.pools.values() if not pool.hidden]
        wanted = {"compartmentId": [compartment]}
        wanted |= {name: parameters.query.get(name, []) for name in ("clusterId", "name", "lifecycleState")}
        return page([pool for pool in shown if _matches(pool, wanted)], parameters)

    def get_node_pool(self, parameters: Parameters) -> Answer:
        pool = self._cloud.pool(parameters.path["pool"])
        return Answer(self._cloud.tenancy.described(wire.node_pool(pool)), {"etag": pool.etag})

    def update_node_pool(self, parameters: Parameters) -> Answer:
        pool = self._changeable_pool(parameters)
        details = parameters.body.get("nodeConfigDetails", {})
        if "placementConfigs" in details:
            self._violation(pool, "placement-sent", "placementConfigs in an update recreate every node of the pool")
        size = details.get("size", pool.size)
        if not isinstance(size, int) or not 0 <= size <= MAX_SIZE:
            raise invalid(f"nodeConfigDetails.size must be 0 to {MAX_SIZE}, not {size!r}")
        return _accepted(pool, self._cloud.life_cycle.resize(pool, size, _eviction(parameters)))

    def delete_node(self, parameters: Parameters) -> Answer:
        pool = self._changeable_pool(parameters)
        node = self._cloud.node(pool, parameters.path["instance"])
        # Clients take this 409 for success: what they wanted is under way.
        if node.state == "DELETING":
            raise ServiceError(409, "Conflict", f"Node {node.instance_id} is already being deleted.")
        # True when it is left out, says the API; Oracle's console does the opposite. Careful clients always send it.
        decrement = parameters.truth("isDecrementSize") is not False
        return _accepted(pool, self._cloud.life_cycle.delete(pool, node, _eviction(parameters), decrement=decrement))

    def list_work_requests(self, parameters: Parameters) -> Answer:
        compartment, resource = parameters.required("compartmentId"), parameters.one("resourceId")
        found = [
            wire.work_request(request)
            for request in self._cloud.work_requests()
            if request.pool.compartment_id == compartment
            and parameters.one("clusterId") in (None, request.pool.cluster_id)
            and resource in (None, request.pool.cluster_id, request.pool.id, *request.instances)
            and (not parameters.query.get("status") or request.status in parameters.query["status"])
        ]
        if parameters.one("sortOrder") == "ASC":
            found.reverse()
        return page(found, parameters)

    def get_work_request(self, parameters: Parameters) -> Answer:
        return Answer(wire.work_request(self._cloud.work_request(parameters.path["request"])))

    def list_work_request_errors(self, parameters: Parameters) -> Answer:
        parameters.required("compartmentId")
        return page(wire.work_request_errors(self._cloud.work_request(parameters.path["request"])), parameters)

    def _changeable_pool(self, parameters: Parameters) -> Pool:
        pool = self._cloud.pool(parameters.path["pool"])
        if pool.changed_behind_back:
            pool.changed_behind_back = False
            pool.etag = self._cloud.names.etag()
        # The only protection of an update: it has no retry token, which Oracle offers for creations alone.
        if parameters.if_match not in (None, "*", pool.etag):
            raise ServiceError(412, "NoEtagMatch", "The if-match header does not match the etag of the node pool.")
        if pool.settings.refuse_changes_while_updating and pool.lifecycle_state == "UPDATING":
            raise ServiceError(409, "IncorrectState", "The node pool is currently being modified.")
        return pool

    def _violation(self, pool: Pool, kind: str, details: str) -> None:
        self._cloud.log.violations.append(Violation(self._cloud.schedule.now(), kind, pool.settings.id, details))


def _accepted(pool: Pool, request: WorkRequest) -> Answer:
    return Answer(headers={"opc-work-request-id": request.id, "etag": pool.etag})


def _eviction(parameters: Parameters) -> Eviction:
    return Eviction(
        parameters.grace("overrideEvictionGraceDuration"),
        parameters.truth("isForceDeletionAfterOverrideGraceDuration"),
    )


def _matches(shown: dict[str, Any], wanted: dict[str, list[str]]) -> bool:
    return all(not values or shown[name] in values for name, values in wanted.items())


class Compute:
    """Reads instances and shapes."""

    def __init__(self, cloud: FakeCloud) -> None:
        """Serve what `cloud` holds."""
        self._cloud = cloud

    @property
    def routes(self) -> list[Route]:
        """Every operation with its path."""
        return [
            Route("GET", f"{COMPUTE_BASE}/instances", "list_instances", self.list_instances),
            Route("GET", f"{COMPUTE_BASE}/instances/{{instance}}", "get_instance", self.get_instance),
            Route("GET", f"{COMPUTE_BASE}/shapes", "list_shapes", self.list_shapes),
        ]

    def list_instances(self, parameters: Parameters) -> Answer:
        compartment = parameters.required("compartmentId")
        found = [
            wire.instance(node)
            for node in self._cloud.instances()
            if node.pool.compartment_id == compartment
            and parameters.one("displayName") in (None, node.name)
            and parameters.one("availabilityDomain") in (None, node.availability_domain)
            and parameters.one("lifecycleState") in (None, node.instance_state)
        ]
        return page(found, parameters)

    def get_instance(self, parameters: Parameters) -> Answer:
        node = self._cloud.instance(parameters.path["instance"])
        return Answer(wire.instance(node), {"etag": f"{node.instance_id}-{node.instance_state}"})

    def list_shapes(self, parameters: Parameters) -> Answer:
        parameters.required("compartmentId")
        names = {*SHAPES, *(pool.settings.shape for pool in self._cloud.pools.values())}
        wanted = parameters.one("shape")
        return page([wire.shape(name) for name in sorted(names) if wanted in (None, name)], parameters)
