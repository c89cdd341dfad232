"""The switches of the fake: what goes wrong, and what others do. The same over HTTP as in Python."""

import inspect
from typing import Any

from .cloud import FakeCloud
from .failures import (
    LIMIT_EXCEEDED,
    OUT_OF_HOST_CAPACITY,
    QUOTA_EXCEEDED,
    CallFailure,
    ServiceError,
    Shortage,
    invalid,
    not_found,
)
from .pools import Node, Pool, pools_from_json
from .tenancy.resources import COMPARTMENT, Policy


class Control:
    """Every public method is also a `POST /_control` with `{"operation": name, "arguments": {...}}`.

    Where `pool_id` may be left out, it means the only pool. `operation` names an SDK method and means all when left
    out; `count` None means until `clear_call_failures`.
    """

    def __init__(self, cloud: FakeCloud) -> None:
        """Act on `cloud`."""
        self._cloud = cloud

    def call(self, operation: str, arguments: dict[str, Any]) -> None:
        """Carry out one switch by name. Raises ServiceError 400 for one that does not exist or does not fit."""
        names = [name for name in vars(Control) if not name.startswith("_") and name != "call"]
        if operation not in names:
            raise invalid(f"no switch {operation!r}; there are: {', '.join(names)}")
        method = getattr(self, operation)
        try:
            inspect.signature(method).bind(**arguments)
        except TypeError as error:
            raise invalid(f"{operation}: {error}") from None
        method(**arguments)

    # Capacity

    def run_out_of_capacity(self, availability_domain: str | None = None, spared: int = 0) -> None:
        """Oracle has no more hosts, once `spared` more instances were created; in one domain or in all."""
        self._lack(OUT_OF_HOST_CAPACITY, availability_domain, spared)

    def exceed_limit(self, spared: int = 0) -> None:
        """The tenancy's service limit is reached."""
        self._lack(LIMIT_EXCEEDED, None, spared)

    def exceed_quota(self, spared: int = 0) -> None:
        """The compartment's quota is reached."""
        self._lack(QUOTA_EXCEEDED, None, spared)

    def restore_capacity(self) -> None:
        """Instances can be had again; phantoms stay until somebody acts."""
        with self._cloud.settled():
            self._cloud.failures.shortages.clear()

    # Node pools

    def add_pool(self, **settings: Any) -> None:
        """Create a node pool; `settings` are those of PoolSettings."""
        (pool,) = pools_from_json([settings])
        self._cloud.add_pool(pool)

    def stick(self, pool_id: str | None = None, at_next_failure: bool = False) -> None:
        """OKE's own NODEPOOL_RECONCILE fails and leaves the pool in UPDATING: now, or when capacity next fails."""
        with self._cloud.settled():
            pool = self._pool(pool_id)
            pool.sticks_at_failure = at_next_failure
            if not at_next_failure:
                self._cloud.life_cycle.stick(pool)

    def need_attention(self, details: str = "The node pool needs attention.", pool_id: str | None = None) -> None:
        """Put the pool in NEEDS_ATTENTION."""
        with self._cloud.settled():
            self._pool(pool_id).attention = details

    def recover(self, pool_id: str | None = None) -> None:
        """End `stick`, `need_attention` and `hide_pool`."""
        with self._cloud.settled():
            pool = self._pool(pool_id)
            pool.stuck = pool.sticks_at_failure = pool.hidden = False
            pool.attention = ""

    def hide_pool(self, pool_id: str | None = None) -> None:
        """The pool was deleted, or may no longer be seen: 404."""
        with self._cloud.settled():
            self._pool(pool_id).hidden = True

    def change_before_next_call(self, pool_id: str | None = None) -> None:
        """Somebody changes the pool just before the next update or delete: its `if-match` fails once."""
        with self._cloud.settled():
            self._pool(pool_id).changed_behind_back = True

    def resize(self, size: int, pool_id: str | None = None) -> None:
        """Somebody else asks for another size; smaller is done to phantoms only."""
        with self._cloud.settled():
            pool = self._pool(pool_id)
            pool.size, pool.etag = size, self._cloud.names.etag()
            self._cloud.life_cycle.reconcile(pool)

    def reconcile(self, pool_id: str | None = None) -> None:
        """OKE tries again to fill the pool."""
        with self._cloud.settled():
            self._cloud.life_cycle.reconcile(self._pool(pool_id))

    # Nodes and instances

    def reclaim(self, instance_id: str) -> None:
        """Oracle takes a preemptible instance back; a replacement follows."""
        with self._cloud.settled():
            self._cloud.life_cycle.reclaim(*self._place(instance_id))

    def kill_instance(self, instance_id: str) -> None:
        """The machine dies; nobody is told, and it is billed on."""
        with self._cloud.settled():
            self._cloud.life_cycle.kill(self._place(instance_id)[1])

    def fail_next_delete(self, count: int = 1) -> None:
        """The next deletes are accepted, then their work requests fail and the nodes stay."""
        with self._cloud.settled():
            self._cloud.failures.failing_deletes += count

    def never_join(self, count: int = 1) -> None:
        """The next nodes boot, and are billed, but never join Kubernetes."""
        with self._cloud.settled():
            self._cloud.failures.strangers += count

    # Calls

    def refuse(
        self, status: int, code: str, message: str = "Refused.", count: int | None = 1, operation: str | None = None
    ) -> None:
        """Answer the next calls with an error."""
        refusal = ServiceError(status, code, message)
        self._fail(CallFailure(refusal=refusal, operation=operation, remaining=count))

    def throttle(self, count: int | None, operation: str | None = None) -> None:
        """429."""
        self.refuse(429, "TooManyRequests", "User-rate limit exceeded.", count, operation)

    def break_service(self, count: int | None, status: int = 500, operation: str | None = None) -> None:
        """500 or 503."""
        code = "InternalServerError" if status == 500 else "ServiceUnavailable"
        self.refuse(status, code, "Internal server error.", count, operation)

    def conflict(self, count: int | None, operation: str | None = None) -> None:
        """409 IncorrectState, which the SDK retries."""
        self.refuse(409, "IncorrectState", "The resource is being modified by another request.", count, operation)

    def withhold_rights(self, operation: str | None = None, count: int | None = None) -> None:
        """The policy does not allow it; Oracle says 404 to that."""
        refusal = not_found("missing policy")
        self.refuse(refusal.status, refusal.code, refusal.message, count, operation)

    def slow_down(self, seconds: float, count: int | None = None, operation: str | None = None) -> None:
        """Take real `seconds` before each call is carried out."""
        self._fail(CallFailure(delay_seconds=seconds, operation=operation, remaining=count))

    def lose_answers(self, count: int | None = 1, operation: str | None = None) -> None:
        """Carry the call out, then cut the connection instead of answering."""
        self._fail(CallFailure(lose_answer=True, operation=operation, remaining=count))

    def clear_call_failures(self) -> None:
        """Calls work again."""
        with self._cloud.settled():
            self._cloud.failures.calls.clear()

    # The tenancy

    def set_policies(self, statements: list[str], compartment_id: str = COMPARTMENT) -> None:
        """One policy with these statements, instead of all that there were."""
        with self._cloud.settled():
            self._cloud.tenancy.policies = [Policy(compartment_id, statements)]

    def describe_pool(self, description: dict[str, Any], pool_id: str | None = None) -> None:
        """Somebody sets more of a node pool, in the API's JSON: cloud-init, boot volume, placement, tags."""
        with self._cloud.settled():
            self._cloud.tenancy.pools[self._pool(pool_id).settings.id] = description

    def set_cluster(self, cluster_type: str = "ENHANCED_CLUSTER", addons: dict[str, str] | None = None) -> None:
        """The kind of the cluster, and its add-ons with their states."""
        with self._cloud.settled():
            self._cloud.tenancy.cluster_type = cluster_type
            self._cloud.tenancy.addons = addons or {}

    def put_clock_ahead(self, seconds: float) -> None:
        """The dates of answers are off by this; those of requests are still judged by the machine's clock."""
        with self._cloud.settled():
            self._cloud.tenancy.clock_ahead_seconds = seconds

    def _lack(self, error: tuple[str, str], availability_domain: str | None, spared: int) -> None:
        with self._cloud.settled():
            self._cloud.failures.shortages.append(Shortage(*error, availability_domain, spared))

    def _fail(self, failure: CallFailure) -> None:
        with self._cloud.settled():
            self._cloud.failures.calls.append(failure)

    def _pool(self, pool_id: str | None) -> Pool:
        if pool_id is not None and pool_id in self._cloud.pools:
            return self._cloud.pools[pool_id]
        if pool_id is None and len(self._cloud.pools) == 1:
            return next(iter(self._cloud.pools.values()))
        raise invalid(f"no pool {pool_id!r}; there are: {', '.join(self._cloud.pools)}")

    def _place(self, instance_id: str) -> tuple[Pool, Node]:
        for pool in self._cloud.pools.values():
            if node := pool.node(instance_id):
                return pool, node
        raise invalid(f"no instance {instance_id!r} exists")
