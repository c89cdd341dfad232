"""One door to Oracle per GPUNodePool, opened with what its spec says and opened anew when that changes."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from masktrain_operator.api.gpu_node_pool import GPUNodePool
from masktrain_operator.api.pool_auth import PoolAuth
from masktrain_operator.shell.client import KubernetesClient
from masktrain_operator.shell.oci.access import OciAccess
from masktrain_operator.shell.oci.client import NodePools
from masktrain_operator.shell.oci.errors import OciError, OciErrorKind
from masktrain_operator.shell.resources import SECRETS


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
        access = await self._access(pool)
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

    async def _access(self, pool: GPUNodePool) -> OciAccess:
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
