"""Oracle's node pools without blocking the operator, and one client per GPUNodePool.

The SDK is synchronous, so its calls run in a few threads. A client is opened with what the pool's spec says, and opened
anew when that changes.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from masktrain_operator.api.pool_spec import PoolAuth
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.pools.oke import Instance, OkePool, WorkRequest
from masktrain_operator.shell.client import SECRETS, KubernetesClient

from .access import OciAccess, OciError, OciErrorKind

if TYPE_CHECKING:
    from .calls import Calls


THREADS = 4
DEADLINE_SECONDS = 60.0
"""Of a method, its retries and a first login included; a single attempt ends earlier."""
Answer = TypeVar("Answer")


class NodePools:
    """One identity in one region. Every method raises OciError, and nothing else, when Oracle does not comply."""

    def __init__(self, access: OciAccess, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Nothing is sent, and the SDK not loaded, before the first call."""
        self._access = access
        self._deadline_seconds = deadline_seconds
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="oci")
        self._login = Lock()
        self._calls: Calls | None = None

    def close(self) -> None:
        """Take no more calls; those under way end by themselves."""
        # Without waiting: a call under way cannot be interrupted, and must not hold up the operator's end.
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._calls is not None:
            self._calls.close()

    async def get_pool(self, pool_id: str, *, with_work_requests: bool = False) -> OkePool:
        """`with_work_requests` costs one more call, and another one if any has failed: its errors are read too."""
        return await self._in_thread(
            lambda calls: calls.get_pool(pool_id, with_work_requests=with_work_requests), f"read node pool {pool_id}"
        )

    async def resize(self, pool_id: str, size: int, etag: str) -> str | None:
        """Set the size if the pool is still at `etag`, and return the work request.

        Stale may also mean that this very call was carried out, but its answer lost: read the pool again.
        """
        return await self._in_thread(
            lambda calls: calls.resize(pool_id, size, etag), f"set the size of node pool {pool_id} to {size}"
        )

    async def delete_node(self, pool_id: str, instance_id: str, drain_seconds: int = 0) -> str | None:
        """Terminate this node and lower the size with it; None if it was going or gone already.

        Oracle drains it for at most `drain_seconds`, and then terminates it whatever is left there.
        """
        return await self._in_thread(
            lambda calls: calls.delete_node(pool_id, instance_id, drain_seconds),
            f"remove node {instance_id} from node pool {pool_id}",
        )

    async def get_instance(self, instance_id: str) -> Instance | None:
        """None if Compute shows none: terminated long ago, or hidden from the operator by a missing policy."""
        return await self._in_thread(lambda calls: calls.get_instance(instance_id), f"read instance {instance_id}")

    async def get_work_request(self, work_request_id: str) -> WorkRequest:
        """With its errors if it has failed."""
        return await self._in_thread(
            lambda calls: calls.get_work_request(work_request_id), f"read work request {work_request_id}"
        )

    async def _in_thread(self, call: Callable[["Calls"], Answer], action: str) -> Answer:
        def run() -> Answer:
            return call(self._signed_in())

        loop = asyncio.get_running_loop()
        try:
            # The thread goes on: the call may still be carried out, like one whose answer was lost.
            async with asyncio.timeout(self._deadline_seconds):
                return await loop.run_in_executor(self._threads, run)
        except TimeoutError:
            sentence = f"Cannot {action}: no answer came within {self._deadline_seconds:g} s; the operator asks again."
            raise OciError(OciErrorKind.UNAVAILABLE, sentence) from None

    def _signed_in(self) -> "Calls":
        """Once; a login that failed is tried again by the next call."""
        from .calls import Calls  # noqa: PLC0415 - loads the SDK, in a thread

        # Threads of a first look come together here, and each sign-in is a round trip and a token.
        with self._login:
            if self._calls is None:
                self._calls = Calls(self._access)
            return self._calls


class PoolClients:
    """Keeps the clients, and with them their tokens and connections."""

    def __init__(self, client: KubernetesClient, namespace: str, endpoint: str | None) -> None:
        """Secrets are read from `namespace`; `endpoint` replaces those of Oracle's region."""
        self._client = client
        self._namespace = namespace
        self._endpoint = endpoint
        self._open: dict[str, tuple[OciAccess, NodePools]] = {}

    async def of(self, pool: GPUNodePool) -> NodePools:
        """Raises OciError with a sentence if the pool's Secret cannot be used."""
        access = await self.access(pool)
        found = self._open.get(pool.metadata.uid)
        if found is not None and found[0] == access:
            return found[1]
        self.forget(pool.metadata.uid)
        client = NodePools(access)
        self._open[pool.metadata.uid] = (access, client)
        return client

    def forget(self, pool_uid: str) -> None:
        found = self._open.pop(pool_uid, None)
        if found is not None:
            found[1].close()

    async def close(self) -> None:
        for uid in list(self._open):
            self.forget(uid)

    async def access(self, pool: GPUNodePool) -> OciAccess:
        """Raises OciError with a sentence if the pool's Secret cannot be used."""
        auth = pool.spec.auth
        key = await self._api_key(auth.config_secret_ref.name) if auth.config_secret_ref else {}
        return OciAccess(PoolAuth(auth.type), pool.spec.region, key, self._endpoint)

    async def _api_key(self, name: str) -> Mapping[str, str]:
        """Read at every look, so that a renewed key counts at once."""
        secret = await self._client.get(SECRETS, self._namespace, name)
        if secret is None:
            sentence = f"There is no Secret {name} in namespace {self._namespace}; spec.auth.configSecretRef names it."
            raise OciError(OciErrorKind.INVALID, sentence)
        return {key: _decoded(name, key, value) for key, value in (secret.get("data") or {}).items()}


def _decoded(name: str, key: str, value: Any) -> str:
    try:
        return base64.b64decode(value).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise OciError(OciErrorKind.INVALID, f"Key {key} of Secret {name} is not text.") from None
