"""Looking at the cluster with the rights of whoever runs the doctor, and at each of its pools through Oracle."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiohttp
from kubernetes.aio.client import ApiClient, AuthenticationV1Api, V1SelfSubjectReview, VersionApi
from kubernetes.aio.client.exceptions import ApiException
from pydantic import ValidationError

from masktrain_operator.api import labels
from masktrain_operator.api.pool_spec import PoolAuth
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.doctor.findings import NotSeen
from masktrain_operator.core.doctor.nodes import DRIVER_INSTALLER, brings_driver, driver_of, plugin_maker
from masktrain_operator.core.doctor.seen import (
    Look,
    Operator,
    OraclePool,
    OracleView,
    Reached,
    Seen,
    SeenClock,
    SeenNode,
    SeenPlugin,
    SeenStore,
)
from masktrain_operator.core.doctor.surroundings import addresses_to_reach
from masktrain_operator.core.pools.nodes import kube_node
from masktrain_operator.core.resources import amount
from masktrain_operator.core.types import Manifest
from masktrain_operator.shell.client import (
    DAEMON_SETS,
    NODE_POOLS,
    NODES,
    TRAINING_JOBS,
    ApiError,
    KubernetesClient,
    ResourceKind,
    api_message,
    connect,
    refusal_sentence,
)
from masktrain_operator.shell.oci.access import OciError
from masktrain_operator.shell.oci.client import PoolClients
from masktrain_trainer.config.explain import first_problem

from .oracle import Signing, Watch, look_at_pool

Found = TypeVar("Found")
FORBIDDEN = 403
REACH_SECONDS = 10
EPHEMERAL = "ephemeral-storage"


@dataclass(frozen=True)
class Options:
    """`endpoint` and `object_storage` replace Oracle's own addresses. `profile`: of ~/.oci/config."""

    namespace: str
    accounts: tuple[str, ...]
    endpoint: str | None = None
    object_storage: str | None = None
    profile: str | None = None


async def look(options: Options) -> Seen:
    """Raises CONNECTION_ERRORS if no API server answers."""
    async with AsyncExitStack() as opened:
        api_client = await connect()
        opened.push_async_callback(api_client.close)
        client = KubernetesClient(api_client)
        clients = PoolClients(client, options.namespace, options.endpoint)
        opened.push_async_callback(clients.close)
        return await _Looker(api_client, client, clients, options).look()


class _Looker:
    def __init__(self, api_client: ApiClient, client: KubernetesClient, clients: PoolClients, options: Options) -> None:
        self._api_client = api_client
        self._client = client
        self._clients = clients
        self._options = options

    async def look(self) -> Seen:
        watch, user = Watch(), await self._own_user()
        await self._time(watch)
        bodies = await self._list(NODE_POOLS, lambda body: body)
        pools, unreadable = (bodies, ()) if isinstance(bodies, NotSeen) else _parsed(bodies)
        known = () if isinstance(pools, NotSeen) else pools
        views = {pool.metadata.name: await self._at_oracle(pool, user) for pool in known}
        oracle = {name: view for name, (view, _) in views.items()}
        stores = await self._list(TRAINING_JOBS, lambda body: tuple(_stores_of(body)))
        found = () if isinstance(stores, NotSeen) else tuple(store for each in stores for store in each)
        return Seen(
            now=datetime.now(UTC),
            operator=Operator(self._options.namespace, self._options.accounts, _account(user)),
            pools=pools,
            unreadable=unreadable,
            nodes=await self._nodes(known, oracle),
            plugins=await self._list(DAEMON_SETS, _plugin_of),
            stores=stores if isinstance(stores, NotSeen) else found,
            oracle=oracle,
            reached=tuple([await _reach(address) for address in self._addresses(known, found)]),
            clocks=(SeenClock("the API server", watch.ahead_seconds), *_oracles_clocks(known, views)),
        )

    async def _own_user(self) -> str | None:
        try:
            review: Any = await AuthenticationV1Api(self._api_client).create_self_subject_review(V1SelfSubjectReview())
        except ApiException:
            return None
        return str(review.status.user_info.username)

    async def _time(self, watch: Watch) -> None:
        """/version is open to everybody who has signed in, and answered from memory."""
        for _ in range(3):
            started = time.time()
            try:
                answer: Any = await VersionApi(self._api_client).get_code_with_http_info()
            except ApiException:
                return
            watch.note(answer.headers, started)

    async def _list(self, kind: ResourceKind, keep: Callable[[Manifest], Found | None]) -> Look[tuple[Found, ...]]:
        try:
            return tuple((await self._client.list(kind, None, keep)).items)
        except ApiError as error:
            return _not_seen(error, f"list {kind.plural} in all namespaces")

    async def _nodes(
        self, pools: tuple[GPUNodePool, ...], oracle: Mapping[str, OracleView]
    ) -> Look[tuple[SeenNode, ...]]:
        return await self._list(NODES, lambda body: _node_of(body, pools, oracle))

    async def _at_oracle(self, pool: GPUNodePool, user: str | None) -> tuple[OracleView, Watch]:
        signing = await self._signing(pool, user)
        if isinstance(signing, NotSeen):
            return OracleView(as_operator=False, sign_in=signing, pool=signing, is_refused_for_good=False), Watch()
        if isinstance(signing, OciError):
            refused = NotSeen(signing.sentence)
            return OracleView(as_operator=True, sign_in=refused, pool=refused), Watch()
        return await asyncio.to_thread(look_at_pool, pool.spec.node_pool_id, signing, self._options.endpoint)

    async def _signing(self, pool: GPUNodePool, user: str | None) -> Signing | NotSeen | OciError:
        options, auth, region = self._options, pool.spec.auth.type, pool.spec.region
        if options.profile is not None:
            return Signing(region, None, options.profile)
        is_pod = "KUBERNETES_SERVICE_HOST" in os.environ
        if auth is not PoolAuth.CONFIG_SECRET and not is_pod:
            return NotSeen(
                f"{auth} can be signed for in the cluster only: run the doctor there (helm test, or kubectl -n "
                f"{options.namespace} exec deploy/{options.accounts[0]} -- masktrain doctor), or give --profile"
            )
        try:
            access = await self._clients.access(pool)
        except OciError as error:
            return error
        except ApiError as error:
            return _not_seen(error, f"get the Secret of spec.auth.configSecretRef in namespace {options.namespace}")
        own = f"system:serviceaccount:{options.namespace}:{options.accounts[0]}"
        as_operator = auth is not PoolAuth.WORKLOAD_IDENTITY or user == own
        return Signing(region, access, as_operator=as_operator, for_good=True)

    def _addresses(self, pools: tuple[GPUNodePool, ...], stores: tuple[SeenStore, ...]) -> list[str]:
        replacement = self._options.object_storage
        return addresses_to_reach(pools, stores) if replacement is None else [replacement]


def _not_seen(error: ApiError, right: str) -> NotSeen:
    if error.status == FORBIDDEN:
        return NotSeen(f"the API server refuses: {api_message(error).rstrip('.')}", right)
    return NotSeen(refusal_sentence(error))


def _parsed(bodies: tuple[Manifest, ...]) -> tuple[tuple[GPUNodePool, ...], tuple[tuple[str, str], ...]]:
    pools, unreadable = list[GPUNodePool](), list[tuple[str, str]]()
    for body in bodies:
        try:
            pools.append(GPUNodePool.parse(body))
        except ValidationError as error:
            unreadable.append((body["metadata"]["name"], first_problem(error)))
    return tuple(pools), tuple(unreadable)


def _account(user: str | None) -> str | None:
    """namespace/name, if the user is a ServiceAccount."""
    prefix, _, account = (user or "").partition("system:serviceaccount:")
    return account.replace(":", "/") if account and not prefix else None


def _node_of(body: Manifest, pools: tuple[GPUNodePool, ...], oracle: Mapping[str, OracleView]) -> SeenNode | None:
    """A Node of one of the pools; others do not matter."""
    node, status = kube_node(body, None), body.get("status", {})
    pool = next((p for p in pools if _is_of(node.labels, node.annotations, node.instance_id, p, oracle)), None)
    if pool is None:
        return None
    return SeenNode(
        name=node.name,
        pool=pool.metadata.name,
        ready_changed=node.ready_changed,
        ready=node.ready,
        gpus=node.gpus,
        driver=driver_of(node.labels),
        allocatable_bytes=_bytes(status.get("allocatable", {})),
        capacity_bytes=_bytes(status.get("capacity", {})),
    )


def _is_of(
    node_labels: Mapping[str, str],
    annotations: Mapping[str, str],
    instance_id: str,
    pool: GPUNodePool,
    oracle: Mapping[str, OracleView],
) -> bool:
    view = oracle.get(pool.metadata.name)
    instances = view.pool.instance_ids if view is not None and isinstance(view.pool, OraclePool) else frozenset()
    return (
        node_labels.get(labels.NODE_POOL_LABEL) == pool.metadata.name
        or annotations.get(labels.OKE_POOL_ANNOTATION) == pool.spec.node_pool_id
        or instance_id in instances
    )


def _bytes(resources: Mapping[str, Any]) -> int | None:
    try:
        return int(amount(resources[EPHEMERAL])) if EPHEMERAL in resources else None
    except ValueError:
        return None


def _plugin_of(body: Manifest) -> SeenPlugin | None:
    name, containers = body["metadata"]["name"], body["spec"]["template"]["spec"].get("containers", ())
    maker = plugin_maker(name, [container.get("image", "") for container in containers])
    if maker is None and brings_driver(name):
        maker = DRIVER_INSTALLER
    if maker is None:
        return None
    return SeenPlugin(name, body["metadata"]["namespace"], maker)


def _stores_of(body: Manifest) -> Iterator[SeenStore]:
    """Read leniently: what another version of the API means by it is no concern here."""
    job = f"{body['metadata']['namespace']}/{body['metadata']['name']}"
    for part in ("dataset", "checkpoint"):
        place = body.get("spec", {}).get(part) or {}
        uri, store = place.get("uri"), place.get("store") or {}
        if uri:
            yield SeenStore(job, uri, store.get("endpoint"), store.get("region"))


async def _reach(address: str) -> Reached:
    """Any answer will do: without a signature it is a refusal."""
    timeout = aiohttp.ClientTimeout(total=REACH_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(f"{address.rstrip('/')}/n/", allow_redirects=False),
        ):
            return Reached(address, None)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return Reached(address, NotSeen(str(error) or type(error).__name__))


def _oracles_clocks(
    pools: tuple[GPUNodePool, ...], views: Mapping[str, tuple[OracleView, Watch]]
) -> Iterator[SeenClock]:
    """One for each region, of whichever pool was answered."""
    regions = dict[str, SeenClock]()
    for pool in pools:
        region, (_, watch) = pool.spec.region, views[pool.metadata.name]
        clock = SeenClock(f"Oracle in {region}", watch.ahead_seconds)
        if region not in regions or regions[region].ahead_seconds is None:
            regions[region] = replace(clock)
    yield from regions.values()
