"""The operator's sign of life: a Lease in its own namespace that it renews for as long as it looks after node pools.

Nodes cost money while nobody looks after them. Whoever finds the Lease too old may take idle ones down instead.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp

from masktrain_operator.api.labels import LOOKS_ANNOTATION
from masktrain_operator.core.times import format_time, parse_time, read_time
from masktrain_operator.core.types import Manifest

from .client import LEASES, ApiError, KubernetesClient, api_message

logger = logging.getLogger(__name__)

LEASE_NAME = "masktrain-operator"
# Twenty renewals in the 300 s after which the sweeper takes over: a slow API server or a restart does not call it.
RENEW_SECONDS = 15
ASK_AGAIN_SECONDS = 1.0
# A Lease's times are metav1.MicroTime, which is refused without its six decimals.
MICRO_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class Looks:
    """When the last look at each node pool ended well: an operator may live and yet stand still."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._ended: dict[str, datetime] = {}

    def note(self, pool_uid: str) -> None:
        self._ended[pool_uid] = self._now()

    def of(self, pool_uids: Iterable[str]) -> Mapping[str, datetime]:
        """By pool; of one that was not looked at yet, when it was first asked about. Others are forgotten."""
        self._ended = {uid: self._ended.get(uid) or self._now() for uid in pool_uids}
        return self._ended


async def renew_for_ever(
    client: KubernetesClient,
    namespace: str,
    tends_pools: Callable[[], bool],
    looks: Callable[[], Mapping[str, datetime]] = dict,
) -> None:
    """Renew while `tends_pools()`, with the times of the last `looks()` at each pool.

    A renewal that fails is logged and tried again at the next turn: it is no reason to stop working.
    """
    while True:
        if not tends_pools():
            await asyncio.sleep(ASK_AGAIN_SECONDS)
            continue
        try:
            await client.apply(lease_manifest(namespace, socket.gethostname(), datetime.now(UTC), looks()))
        except ApiError as error:
            logger.warning("The Lease %s was not renewed: %s", LEASE_NAME, api_message(error))
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.warning("The Lease %s was not renewed: %s", LEASE_NAME, str(error) or type(error).__name__)
        # Also after a failure: whoever reads the Lease allows for several missed renewals.
        await asyncio.sleep(RENEW_SECONDS)


@dataclass(frozen=True)
class Signs:
    """Of the operator's life. `age`: of the last one, None if there never was one.

    `looks`: since the last look at each pool, by uid; an operator that says nothing of them is an older one.
    """

    age: timedelta | None
    looks: Mapping[str, timedelta] = field(default_factory=dict)


async def read_signs(client: KubernetesClient, namespace: str, now: datetime) -> Signs:
    """Raises ApiError."""
    lease = await client.get(LEASES, namespace, LEASE_NAME)
    if lease is None:
        return Signs(None)
    renewed = renewed_at(lease)
    looks = {uid: now - moment for uid, moment in looks_in(lease).items()}
    return Signs(None if renewed is None else now - renewed, looks)


def lease_manifest(namespace: str, holder: str, now: datetime, looks: Mapping[str, datetime] | None = None) -> Manifest:
    # On the Lease, which is renewed anyway: an idle operator writes nothing else.
    said = json.dumps({uid: format_time(moment) for uid, moment in sorted((looks or {}).items())})
    return {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": {"name": LEASE_NAME, "namespace": namespace, "annotations": {LOOKS_ANNOTATION: said}},
        "spec": {
            "holderIdentity": holder,
            # For others that read Leases; the sweeper has its own, longer limit.
            "leaseDurationSeconds": 4 * RENEW_SECONDS,
            "renewTime": now.strftime(MICRO_TIME),
        },
    }


def renewed_at(lease: Manifest) -> datetime | None:
    """None for a Lease that nobody has held yet."""
    text = lease.get("spec", {}).get("renewTime")
    return parse_time(text) if text else None


def looks_in(lease: Manifest) -> Mapping[str, datetime]:
    """Without what cannot be read: anybody may have written it."""
    try:
        said = json.loads(lease["metadata"].get("annotations", {}).get(LOOKS_ANNOTATION, "{}"))
    except (ValueError, RecursionError):
        return {}
    times = said.items() if isinstance(said, dict) else ()
    found = ((uid, read_time(text) if isinstance(text, str) else None) for uid, text in times)
    return {uid: moment for uid, moment in found if moment is not None}
