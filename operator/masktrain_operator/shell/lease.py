"""The operator's sign of life: a Lease in its own namespace that it renews for as long as it looks after node pools.

Nodes cost money while nobody looks after them. Whoever finds the Lease too old may take idle ones down instead.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import aiohttp

from masktrain_operator.core.times import parse_time
from masktrain_operator.core.types import Manifest

from .client import LEASES, ApiError, KubernetesClient, api_message

logger = logging.getLogger(__name__)

LEASE_NAME = "masktrain-operator"
# Twenty renewals in the 300 s after which the sweeper takes over: a slow API server or a restart does not call it.
RENEW_SECONDS = 15
ASK_AGAIN_SECONDS = 1.0
# A Lease's times are metav1.MicroTime, which is refused without its six decimals.
MICRO_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


async def renew_for_ever(client: KubernetesClient, namespace: str, tends_pools: Callable[[], bool]) -> None:
    """Renew while `tends_pools()`.

    A renewal that fails is logged and tried again at the next turn: it is no reason to stop working.
    """
    while True:
        if not tends_pools():
            await asyncio.sleep(ASK_AGAIN_SECONDS)
            continue
        try:
            await client.apply(lease_manifest(namespace, socket.gethostname(), datetime.now(UTC)))
        except ApiError as error:
            logger.warning("The Lease %s was not renewed: %s", LEASE_NAME, api_message(error))
        except (aiohttp.ClientError, TimeoutError) as error:
            logger.warning("The Lease %s was not renewed: %s", LEASE_NAME, str(error) or type(error).__name__)
        # Also after a failure: whoever reads the Lease allows for several missed renewals.
        await asyncio.sleep(RENEW_SECONDS)


async def lease_age(client: KubernetesClient, namespace: str, now: datetime) -> timedelta | None:
    """Time since the operator's last sign of life; None if there never was one. Raises ApiError."""
    lease = await client.get(LEASES, namespace, LEASE_NAME)
    renewed = None if lease is None else renewed_at(lease)
    return None if renewed is None else now - renewed


def lease_manifest(namespace: str, holder: str, now: datetime) -> Manifest:
    return {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": {"name": LEASE_NAME, "namespace": namespace},
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
