"""One GPUNodePool with everything around it, moved along on one clock."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from devcluster.oracle.clock import FakeClock
from devcluster.oracle.pools import Node, Pool
from devcluster.oracle.running import FakeOci
from devcluster.waiting import wait_until
from masktrain_operator.api import labels
from masktrain_operator.shell.pools.pool_cache import PoolCache
from masktrain_operator.shell.work_queue import ReconcileError, RetryAfter
from tests.api.pools.api_server import ApiServer
from tests.api.pools.kills import Executioner, Killed, Kills
from tests.api.pools.machines import NODES, Machines
from tests.api.pools.operator_life import Client, OperatorLife
from tests.api.pools.workload import RunningJob, Workload

POLICIES = "/apis/admissionregistration.k8s.io/v1"
POOLS = f"/apis/{labels.API_VERSION}/{labels.POOL_PLURAL}"
SECRET = "oci-api-key"
NODE_LOSS_SECONDS = 60.0
"""After which pods on a silent node are given up."""
RESTART_SECONDS = 1.0
FAILED_SECONDS = 5.0
LONGEST_STEP = 5.0
RECONCILES_AT_ONCE = 40
IDLE_SECONDS = 30
PROVISIONING_TIMEOUT_SECONDS = 60
MAX_NODES = 3


@dataclass
class Watchman:
    """What must never happen. `by_hand`: instances that people added."""

    wanted: int = 2
    by_hand: frozenset[str] = frozenset()
    wrongs: list[str] = field(default_factory=list)

    def look(self, cloud_pool: Pool, jobs: list[RunningJob]) -> None:
        at_work = [n for n in cloud_pool.counted() if n.instance_id and n.instance_state in ("PROVISIONING", "RUNNING")]
        self._check(len(at_work) <= self.wanted, f"{len(at_work)} instances for {self.wanted}")
        self._check(cloud_pool.size <= MAX_NODES, f"size {cloud_pool.size}")
        kept = {node.instance_id for node in cloud_pool.counted()}
        self._check(self.by_hand <= kept, "an instance that was added by hand is removed")
        halves = [job.name for job in jobs if job.batch_job is not None and 0 < len(job.bound) < job.nodes]
        self._check(len(halves) < 2, f"{halves} hold half of their nodes each")

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds and otherwise not in self.wrongs:
            self.wrongs.append(otherwise)


class PoolWorld:
    def __init__(
        self,
        api: ApiServer,
        client: Client,
        fake: FakeOci[FakeClock],
        machines: Machines,
        namespace: str,
        kills: Kills = Kills.NONE,
    ) -> None:
        self.client, self._namespace, self.name = client, namespace, namespace
        self.api, self.fake, self.machines = api, fake, machines
        self.workload = Workload(api, namespace)
        self.executioner = Executioner(kills)
        self.executioner.before_change = self._note_change
        self.watchman = Watchman()
        self.lives = 0
        self.also_watched: list[str] = []
        """Namespaces of other teams. Who changes it restarts the operator."""
        self._path = f"{POOLS}/{namespace}"
        self._operator = self._start()
        self._due = self.now
        (self._cloud_pool,) = fake.cloud.pools.values()

    # The world

    @property
    def now(self) -> float:
        return self.fake.clock.now()

    @property
    def pool_cache(self) -> PoolCache:
        """As the operator that lives now sees pools and jobs."""
        return self._operator.pools

    @property
    def pool(self) -> dict[str, Any]:
        return self.api.get(self._path)

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.pool.get("status", {})
        return found

    @property
    def cloud_pool(self) -> Pool:
        self.fake.cloud.settle()
        return self._cloud_pool

    def instances(self) -> list[Node]:
        """Those that work, in order of their creation."""
        found = [n for n in self.cloud_pool.counted() if n.instance_id and n.instance_state == "RUNNING"]
        return sorted(found, key=lambda node: (node.time_created, node.name))

    def node(self, name: str) -> dict[str, Any]:
        return self.api.get(f"{NODES}/{name}")

    def node_names(self) -> list[str]:
        """Of the instances that work."""
        return [node.name for node in self.instances()]

    def annotate_node(self, name: str, **annotations: str | None) -> None:
        changes = {f"{labels.GROUP}/{key}": value for key, value in annotations.items()}
        self.api.merge(f"{NODES}/{name}", {"metadata": {"annotations": changes}})

    def annotate_pool(self, **annotations: str | None) -> None:
        changes = {f"{labels.GROUP}/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.api.merge(self._path, {"metadata": {"annotations": changes}})

    def create_pool(self, **spec: Any) -> None:
        self._create_secret()
        sizes = {"maxNodes": MAX_NODES, "idleSeconds": IDLE_SECONDS}
        timeout = {"provisioningTimeoutSeconds": PROVISIONING_TIMEOUT_SECONDS}
        auth = {"type": "ConfigSecret", "configSecretRef": {"name": SECRET}}
        pool = {"nodePoolId": self._cloud_pool.settings.id, "region": "us-ashburn-1", "auth": auth}
        manifest = {"apiVersion": labels.API_VERSION, "kind": labels.POOL_KIND, "metadata": {"name": self._namespace}}
        self.api.create(POOLS, {**manifest, "spec": {**pool, **sizes, **timeout, **spec}})

    def condition(self, kind: str) -> dict[str, Any]:
        return next((found for found in self.status.get("conditions", ()) if found["type"] == kind), {})

    def event_reasons(self) -> list[str]:
        events = self.api.get("/api/v1/namespaces/default/events")["items"]
        return [event["reason"] for event in events if event["involvedObject"]["name"] == self._namespace]

    # A policy that refuses what the operator writes

    def refuse_changes_of_nodes(self) -> None:
        """Their annotations; kubelets may still report what they like."""
        label, pool = json.dumps(labels.NODE_POOL_LABEL), json.dumps(self._namespace)
        is_ours = f"has(object.metadata.labels) && object.metadata.labels[?{label}] == optional.of({pool})"
        rule = f"!({is_ours}) || object.metadata.?annotations == oldObject.metadata.?annotations"
        self._refuse("nodes", ["nodes"], ["v1"], [""], rule)
        node = f"{NODES}/{self.node_names()[0]}"
        self._until_refused(node, {"metadata": {"annotations": {"example.org/changed": "true"}}})

    def accept_changes_of_nodes(self) -> None:
        self._accept("nodes")

    def refuse_changes_of_pools(self) -> None:
        rule = f"object.metadata.name != {json.dumps(self._namespace)} || !has(object.metadata.finalizers)"
        self._refuse("pools", [labels.POOL_PLURAL], [labels.VERSION], [labels.GROUP], rule)
        self._until_refused(self._path, {"metadata": {"finalizers": [labels.POOL_FINALIZER]}})

    def accept_changes_of_pools(self) -> None:
        self._accept("pools")

    def _refuse(self, what: str, resources: list[str], versions: list[str], groups: list[str], rule: str) -> None:
        name = f"{self._namespace}-{what}"
        operations = {"operations": ["UPDATE"], "resources": resources, "apiVersions": versions, "apiGroups": groups}
        policy = {
            "matchConstraints": {"resourceRules": [operations]},
            "validations": [{"expression": rule, "message": "hands off"}],
        }
        binding = {"policyName": name, "validationActions": ["Deny"]}
        for kind, spec in (("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)):
            self.api.create(f"{POLICIES}/{kind}", {"metadata": {"name": name}, "spec": spec})

    def _until_refused(self, path: str, change: dict[str, Any]) -> None:
        """The API server takes a moment to act on a new policy."""
        wait_until(lambda: self.api.would_refuse(path, change), "a policy is in force", 30)

    def _accept(self, what: str) -> None:
        for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            self.api.delete(f"{POLICIES}/{kind}/{self._namespace}-{what}")

    def delete_pool(self) -> None:
        self.api.delete(self._path)

    def pool_exists(self) -> bool:
        return any(pool["metadata"]["name"] == self._namespace for pool in self.api.get(POOLS)["items"])

    # Time

    async def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            await self._step(until)

    async def run_until(self, done: Callable[[], bool], seconds: float = 3600.0) -> None:
        until = self.now + seconds
        while not done():
            assert self.now < until, self._account()
            await self._step(until)

    def catch_up_with_the_api_server(self, seconds: float) -> None:
        """Move the clock to `seconds` after the time at which the API server now stamps deletions."""
        self.fake.clock.advance(time.time() + seconds - self.now)

    async def end(self) -> None:
        await self._operator.end()
        self.workload.remove_all()
        self.machines.remove_all()
        if self.pool_exists():
            self.api.merge(self._path, {"metadata": {"finalizers": None}})
            self.delete_pool()

    async def _step(self, until: float) -> None:
        """All that is due now, then on to the next moment at which anything can happen."""
        for _ in range(RECONCILES_AT_ONCE):
            await self._notice_changes()
            if self._due > self.now:
                break
            await self._reconcile()
            self.workload.start(self._operator.pools)
            self.watchman.look(self.cloud_pool, list(self.workload.jobs.values()))
        else:
            raise AssertionError(f"The operator asks to be called again without end: {self._account()}")
        self._let_pods_of_dead_nodes_go()
        self._move_on(until)

    def _move_on(self, until: float) -> None:
        next_event = self.fake.cloud.schedule.seconds_to_next()
        seconds = min(
            self._due - self.now, until - self.now, LONGEST_STEP, LONGEST_STEP if next_event is None else next_event
        )
        self.fake.clock.advance(max(seconds, 0.001))

    def _let_pods_of_dead_nodes_go(self) -> None:
        alive = set(self.machines.names.values())
        silent = {
            self.machines.names.get(instance, "")
            for instance, since in self.machines.dead.items()
            if self.now - since >= NODE_LOSS_SECONDS
        }
        self.workload.lose((self.workload.busy_nodes() - alive) | silent)

    # The operator

    async def _notice_changes(self) -> None:
        """Watches tell, and wake."""
        if self.api.has_changed:
            self.api.has_changed = False
            await self._operator.refresh()
            self._due = self.now

    async def _reconcile(self) -> None:
        for body in list(self._operator.known.node_pools):
            if body["metadata"]["name"] == self._namespace:
                await self._attempt(body["metadata"]["uid"])
                return
        self._due = self.now + LONGEST_STEP

    async def _attempt(self, uid: str) -> None:
        try:
            again = await self._operator.reconcile(uid)
        except RetryAfter as request:
            again = request.seconds
        except ReconcileError:
            again = FAILED_SECONDS
        except Killed:
            await self.restart_operator()
            again = RESTART_SECONDS
        self._due = self.now + (LONGEST_STEP if again is None else again)
        body = self._operator.known.node_pools.get(uid)
        if body is not None and "deletionTimestamp" in body["metadata"]:
            await self._operator.refresh()  # the end of the pool is told by a watch too

    async def restart_operator(self) -> None:
        """Everything that was in memory is lost."""
        await self._operator.end()
        self._operator = self._start()
        await self._operator.refresh()

    def _start(self) -> OperatorLife:
        self.lives += 1
        return OperatorLife(
            self.client,
            self._namespace,
            self.fake.endpoint,
            self.fake.clock.now,
            self.executioner,
            self.also_watched,
        )

    def _note_change(self, operation: str, target: str) -> None:
        if operation == "delete_node" and self.machines.names.get(target) in self.workload.busy_nodes():
            self.watchman.wrongs.append(f"busy instance {target} is removed")

    def _create_secret(self) -> None:
        config = self.fake.sdk_config
        key = {name: config[name] for name in ("tenancy", "user", "fingerprint")} | {"key": config["key_content"]}
        data = {name: base64.b64encode(value.encode()).decode() for name, value in key.items()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "data": data}
        self.api.create(f"/api/v1/namespaces/{self._namespace}/secrets", secret)

    def _account(self) -> str:
        """Where things stand, for who reads a failure."""
        calls = [f"{c.operation} {c.status} {c.code}" for c in self.fake.log.calls[-30:]]
        nodes = [(n.name, n.state, n.instance_state) for n in self._cloud_pool.nodes]
        return f"size {self._cloud_pool.size}, {nodes}, status {self.status}, calls {calls}"
