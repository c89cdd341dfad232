"""`masktrain-operator sweep`: one run of the dead man's switch over all pools, as the chart's CronJob starts it."""

import argparse
import asyncio
import logging
import math
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.pools.conditions import with_refused_writes
from masktrain_operator.core.pools.events import removal_events
from masktrain_operator.core.pools.failures.outcomes import after_calls
from masktrain_operator.core.pools.plan_pool import is_stale, is_stuck, is_under_way, sweep_plan, sweepable
from masktrain_operator.core.types import Event, Manifest
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import (
    CONNECTION_ERRORS,
    JOBS,
    NODE_POOLS,
    NODES,
    PODS,
    TRAINING_JOBS,
    ApiError,
    KubernetesClient,
    connect,
    refusal_sentence,
)
from masktrain_operator.shell.events import EventRecorder
from masktrain_operator.shell.lease import Signs, read_signs
from masktrain_operator.shell.oci.access import OciError
from masktrain_operator.shell.oci.client import PoolClients
from masktrain_operator.shell.pools.apply_pool import PoolApplier
from masktrain_operator.shell.pools.observe_pool import PoolObserver
from masktrain_operator.shell.pools.pool_cache import PoolCache
from masktrain_operator.shell.pools.reconcile_pool import PASSING
from masktrain_operator.shell.settings import CloudSettings, wrong_variables
from masktrain_operator.shell.status_writer import StatusWriter, WriteRate
from masktrain_operator.shell.work_queue import RetryAfter
from masktrain_trainer.config.explain import first_problem


class PoolRefused(Exception):
    """Nothing can be done for this pool now; the message says why."""


class PoolSweep:
    """Called with a GPUNodePool, again and again until nothing of it is under way."""

    def __init__(
        self,
        *,
        client: KubernetesClient,
        known: KnownObjects,
        pools: PoolCache,
        clients: PoolClients,
        status: StatusWriter,
        print_line: Callable[[str], None],
    ) -> None:
        """`print_line` is given one line for each node whose removal Oracle has accepted."""
        self._pools = pools
        self._clients = clients
        self._status = status
        self._print_line = print_line
        self._observer = PoolObserver(client, known)
        self._applier = PoolApplier(client, known)
        self._events = EventRecorder(client)

    async def __call__(self, body: Manifest) -> bool:
        """Whether the pool should be looked at again soon. Raises PoolRefused."""
        name = body["metadata"]["name"]
        try:
            return await self._sweep(body, GPUNodePool.parse(body))
        except RetryAfter:
            return True
        except OciError as error:
            if error.kind in PASSING:
                return True
            raise PoolRefused(f"{NODE_POOLS.kind} {name}: {error.sentence}") from None
        except ApiError as error:
            raise PoolRefused(f"{NODE_POOLS.kind} {name}: {refusal_sentence(error)}") from None
        except ValidationError as error:
            raise PoolRefused(f"{NODE_POOLS.kind} {name} cannot be read: {first_problem(error)}.") from None

    async def _sweep(self, body: Manifest, pool: GPUNodePool) -> bool:
        oracle = await self._clients.of(pool)
        observation = await self._observer.look(pool, oracle)
        self._pools.put(pool.metadata.uid, observation)
        context = self._pools.context(pool, observation)
        plan = sweep_plan(context)
        applied = await self._applier.apply(pool, plan, oracle)
        if applied.status is None:
            return False
        status = after_calls(context, plan, applied.status, applied.outcome)
        status = with_refused_writes(status, applied.refused, context.now)
        removed = removal_events(plan, status)
        # Before the status is written: the nodes are going, whether or not that succeeds.
        self._print_all(pool, removed)
        await self._status.write(body, status.to_manifest())
        for event in (*plan.events, *removed):
            await self._events.record(body, event)
        if applied.refused:
            raise PoolRefused(f"{NODE_POOLS.kind} {pool.metadata.name}: {' '.join(applied.refused)}")
        if applied.denials and not applied.outcome.accepted:
            raise applied.denials[0]
        return is_under_way(context, plan, status)

    def _print_all(self, pool: GPUNodePool, removed: list[Event]) -> None:
        for event in removed:
            self._print_line(f"{NODE_POOLS.kind} {pool.metadata.name}: {event.message}")


LOOK_AGAIN_SECONDS = 3.0
# No more than its small role may list: Services and priorities matter to what starts, and here nothing does.
NEEDED_KINDS = (NODE_POOLS, TRAINING_JOBS, JOBS, PODS, NODES)


@dataclass(frozen=True)
class Limits:
    """`stale`: how long without a sign of life the operator counts as gone; `stuck`: how long without a look at a pool
    it no longer looks after it, though it lives; `seconds`: for the whole run.
    """

    stale: timedelta
    seconds: float
    stuck: timedelta = timedelta.max


class Sweep:
    """One run. Whatever it leaves undone is left to the next one."""

    def __init__(
        self,
        client: KubernetesClient,
        clients: PoolClients,
        settings: CloudSettings,
        limits: Limits,
        print_line: Callable[[str], None],
    ) -> None:
        """`print_line` takes what a person should read, a line at a time."""
        self._client = client
        self._namespace = settings.namespace
        self._limits = limits
        self._print_line = print_line
        self._known = KnownObjects()
        self._refusals: dict[str, str] = {}
        self._told: set[str] = set()
        self._pool_sweep = PoolSweep(
            client=client,
            known=self._known,
            pools=PoolCache(self._known, lambda: datetime.now(UTC)),
            clients=clients,
            status=StatusWriter(client, self._known, WriteRate(1), time.monotonic, kind=NODE_POOLS),
            print_line=print_line,
        )

    async def run(self) -> list[str]:
        """Why pools could not be swept, a sentence for each. Raises what `shell.refusals` lists."""
        deadline = time.monotonic() + self._limits.seconds
        while await self._is_needed():
            if not await self._round() or time.monotonic() > deadline:
                break
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return list(self._refusals.values())

    async def _is_needed(self) -> bool:
        signs = await self._signs()
        if is_stale(signs.age, self._limits.stale) or self._is_any_stuck(signs):
            return True
        self._print_line(
            f"The operator is alive, its Lease was renewed {_seconds(signs.age)} s ago: nothing to do in its place."
        )
        return False

    async def _round(self) -> bool:
        """Whether another one is needed."""
        # Lists and no watches: a run takes a few minutes, and hardly ever finds anything to do.
        await self._known.refresh(self._client, (), NEEDED_KINDS)
        again = [await self._look_at(body) for body in list(sweepable(self._known.node_pools))]
        return any(again)

    async def _look_at(self, body: Manifest) -> bool:
        """A pool that was refused is left to the next run, all of them to an operator that has come back."""
        uid, signs = body["metadata"]["uid"], await self._signs()
        if uid in self._refusals or uid in self._told:
            return False
        lives = not is_stale(signs.age, self._limits.stale)
        if lives and not is_stuck(signs.looks.get(uid), self._limits.stuck):
            # It has come back, unless this run goes on for another pool.
            return not self._is_any_stuck(signs)
        try:
            return await self._pool_sweep(body)
        except PoolRefused as reason:
            self._refuse(uid, str(reason), lives=lives)
            return False

    def _refuse(self, uid: str, reason: str, *, lives: bool) -> None:
        """What a living operator cannot do either, it says itself, in the pool's conditions: that is no failed run."""
        if lives:
            self._told.add(uid)
            self._print_line(f"The operator is alive and does not look after this pool, nor can this run. {reason}")
        else:
            self._refusals[uid] = reason

    def _is_any_stuck(self, signs: Signs) -> bool:
        return any(is_stuck(age, self._limits.stuck) for age in signs.looks.values())

    async def _signs(self) -> Signs:
        return await read_signs(self._client, self._namespace, datetime.now(UTC))


def _seconds(age: timedelta | None) -> int:
    return 0 if age is None else max(0, round(age.total_seconds()))


STALE_SECONDS = 300.0
# Looks are a minute apart at most, and each ends within minutes however badly Oracle answers.
STUCK_SECONDS = 600.0
# Below the five minutes between two runs of the chart's CronJob.
LIMIT_SECONDS = 240.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stale-seconds",
        type=_limit_seconds,
        default=STALE_SECONDS,
        metavar="SECONDS",
        help="without a sign of life, after which the operator counts as gone (default: %(default)g)",
    )
    parser.add_argument(
        "--stuck-seconds",
        type=_limit_seconds,
        default=STUCK_SECONDS,
        metavar="SECONDS",
        help="without a look at a pool that ended well, after which a living operator counts as gone for that pool "
        "(default: %(default)g)",
    )
    parser.add_argument(
        "--limit-seconds",
        type=_limit_seconds,
        default=LIMIT_SECONDS,
        metavar="SECONDS",
        help="for all of it; the next run does what is left (default: %(default)g)",
    )


def sweep(arguments: argparse.Namespace) -> int:
    """The exit code: 0 also if the operator lives, 1 if the API server refused, or Oracle for any pool."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("masktrain_operator").setLevel(logging.INFO)
    stale, stuck = timedelta(seconds=arguments.stale_seconds), timedelta(seconds=arguments.stuck_seconds)
    limits = Limits(stale, arguments.limit_seconds, stuck)
    try:
        refusals = asyncio.run(_run(CloudSettings(), limits))
    except ValidationError as error:
        refusals = [wrong_variables(error)]
    except CONNECTION_ERRORS as error:
        refusals = [refusal_sentence(error)]
    print(*refusals, sep="\n", end="\n" if refusals else "", file=sys.stderr)  # noqa: T201 (what people read)
    return 1 if refusals else 0


async def _run(settings: CloudSettings, limits: Limits) -> list[str]:
    async with AsyncExitStack() as opened:
        api_client = await connect()
        opened.push_async_callback(api_client.close)
        client = KubernetesClient(api_client)
        clients = PoolClients(client, settings.namespace, settings.oci_endpoint)
        opened.push_async_callback(clients.close)
        return await Sweep(client, clients, settings, limits, _print_line).run()


def _print_line(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (what people read)


def _limit_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return seconds
