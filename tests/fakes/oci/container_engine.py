"""Oracle's Container Engine for Kubernetes, base path /20180222."""

from typing import Any

from tests.fakes.oci import wire
from tests.fakes.oci.call_log import Violation
from tests.fakes.oci.calls import Answer, Parameters, Route, page
from tests.fakes.oci.cloud import FakeCloud
from tests.fakes.oci.errors import ServiceError, invalid
from tests.fakes.oci.life_cycle import Eviction
from tests.fakes.oci.pool_state import Pool, WorkRequest

BASE = "/20180222"
MAX_SIZE = 1000


class ContainerEngine:
    """The operations that node pools need."""

    def __init__(self, cloud: FakeCloud) -> None:
        """Serve what `cloud` holds."""
        self._cloud = cloud

    @property
    def routes(self) -> list[Route]:
        """Every operation with its path."""
        pool, request = f"{BASE}/nodePools", f"{BASE}/workRequests"
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
        shown = [wire.node_pool_summary(pool) for pool in self._cloud.pools.values() if not pool.hidden]
        wanted = {"compartmentId": [compartment]}
        wanted |= {name: parameters.query.get(name, []) for name in ("clusterId", "name", "lifecycleState")}
        return page([pool for pool in shown if _matches(pool, wanted)], parameters)

    def get_node_pool(self, parameters: Parameters) -> Answer:
        pool = self._cloud.pool(parameters.path["pool"])
        return Answer(wire.node_pool(pool), {"etag": pool.etag})

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
        if node.state == "DELETING":
            raise ServiceError(409, "Conflict", f"Node {node.instance_id} is already being deleted.")
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
