"""Writes the events of a job or a node pool as Kubernetes Events, which `kubectl describe` shows."""

import hashlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from kubernetes.aio.dynamic.exceptions import ConflictError

from masktrain_operator.api.labels import FIELD_MANAGER
from masktrain_operator.core.times import format_time
from masktrain_operator.core.types import Event, Manifest

from .client import EVENTS, ApiError, KubernetesClient, api_message
from .status_writer import Allowance

logger = logging.getLogger(__name__)

NAMESPACE_OF_CLUSTER_EVENTS = "default"
"""Where Kubernetes itself puts the events of objects that are in no namespace."""
EVENT_BURST = 10.0
EVENTS_PER_SECOND = 1 / 60
LONGEST_MESSAGE = 1024
"""Bytes that the API accepts in an Event's `note`, and its older name `message`."""


class EventRecorder:
    """The same event again raises the count of the first one. One that cannot be written is only logged.

    Of one reason and one object there are only so many, in the cluster and in the log: a pod that says something else
    at each look would bury all others.
    """

    def __init__(self, client: KubernetesClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._allowance = Allowance(EVENT_BURST, EVENTS_PER_SECOND)

    async def record(self, subject: Manifest, event: Event) -> None:
        metadata = subject["metadata"]
        if self._allowance.wait_seconds((metadata["uid"], event.reason), self._clock()) > 0:
            return
        logger.info("%s %s: %s", display_name(subject), event.reason, event.message)
        manifest = event_manifest(subject, event, datetime.now(UTC))
        try:
            await self._create_or_count(manifest)
        except ApiError as error:
            logger.warning("Event %s of %s was not written: %s", event.reason, metadata["name"], api_message(error))

    async def _create_or_count(self, manifest: Manifest) -> None:
        try:
            await self._client.create(manifest)
        except ConflictError:
            await self._count(manifest)

    async def _count(self, manifest: Manifest) -> None:
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        existing = await self._client.get(EVENTS, namespace, name)
        if existing is not None:
            patch = {"count": existing.get("count", 1) + 1, "lastTimestamp": manifest["lastTimestamp"]}
            await self._client.merge_patch(EVENTS, namespace, name, patch)


def event_manifest(subject: Manifest, event: Event, now: datetime) -> Manifest:
    """A core/v1 Event whose name depends on the object, the reason and the message only."""
    metadata = subject["metadata"]
    # Random names, as client-go has them, would make a new object at every repetition.
    identity = "\n".join((metadata["uid"], event.kind, event.reason, event.message))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
    moment = format_time(now)
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {
            # With its digest it has to stay within the 253 characters of a name.
            "name": f"{metadata['name'][:200]}.{digest}",
            "namespace": metadata.get("namespace", NAMESPACE_OF_CLUSTER_EVENTS),
        },
        "involvedObject": {
            "apiVersion": subject["apiVersion"],
            "kind": subject["kind"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            **({"namespace": metadata["namespace"]} if "namespace" in metadata else {}),
        },
        "type": event.kind,
        "reason": event.reason,
        "message": _shortened(event.message),
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": FIELD_MANAGER,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


def display_name(body: Manifest) -> str:
    """namespace/name, or the name alone of what is in no namespace."""
    metadata = body["metadata"]
    return "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)


def _shortened(message: str) -> str:
    # The cut may go through a character of several bytes.
    return message.encode()[:LONGEST_MESSAGE].decode(errors="ignore")
