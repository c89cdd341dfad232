"""Kills of the operator at the calls that it makes to Oracle."""

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.shell.client import KubernetesClient
from masktrain_operator.shell.oci.access import OciError, OciErrorKind
from masktrain_operator.shell.oci.client import NodePools, PoolClients

CHANGES = ("resize", "delete_node")
READS_KILLED = 5


class Killed(Exception):
    """The operator's process ends here; its memory is gone."""


class Kills(StrEnum):
    NONE = "not killed"
    BEFORE = "killed before each call"
    AFTER = "killed after each call"


class Executioner:
    """Every change is met by a kill at its first try, its third, and so on; each second one gets through.

    Reads: the first life ends at its first read, the next one at its second, until `READS_KILLED`; `again` starts over.
    """

    def __init__(self, kills: Kills) -> None:
        self._kills = kills
        self._changes: Counter[tuple[str, Any, Any]] = Counter()
        self._reads_allowed = 0
        self._reads = 0
        self.before_change: Callable[[str, str], None] = lambda *_: None
        """Told of every change that is about to be asked for."""
        self._to_delay: set[str] = set()
        self._delayed: list[tuple[str, str, Callable[[], Awaitable[Any]]]] = []
        self.refused: dict[str, OciErrorKind] = {}
        """Instances whose removal is never accepted."""

    def again(self) -> None:
        self._reads_allowed = 0

    def delay_next(self, operation: str) -> None:
        """No answer will come to the next such call, which is carried out at some later time."""
        self._to_delay.add(operation)

    @property
    def has_delayed(self) -> bool:
        return bool(self._delayed)

    async def carry_out_delayed(self) -> None:
        delayed, self._delayed = self._delayed, []
        for operation, target, call in delayed:
            self.before_change(operation, target)
            with contextlib.suppress(OciError):
                await call()

    async def carry_out(self, operation: str, arguments: tuple[Any, ...], call: Callable[[], Awaitable[Any]]) -> Any:
        is_due = self._is_due(operation, arguments)
        if is_due and self._kills is Kills.BEFORE:
            raise Killed
        if operation in CHANGES:
            self.before_change(operation, str(arguments[1]))
        if operation == "delete_node" and str(arguments[1]) in self.refused:
            raise OciError(self.refused[str(arguments[1])], f"Cannot remove {arguments[1]}: it is refused.")
        if operation in self._to_delay:
            self._to_delay.remove(operation)
            self._delayed.append((operation, str(arguments[1]), call))
            raise OciError(OciErrorKind.UNAVAILABLE, f"Cannot {operation}: no answer came.")
        answer = await call()
        if is_due:
            raise Killed
        return answer

    def _is_due(self, operation: str, arguments: tuple[Any, ...]) -> bool:
        if self._kills is Kills.NONE:
            return False
        if operation in CHANGES:
            self._changes[operation, arguments[0], arguments[1]] += 1
            return self._changes[operation, arguments[0], arguments[1]] % 2 == 1
        if self._reads < self._reads_allowed or self._reads_allowed > READS_KILLED:
            self._reads += 1
            return False
        self._reads, self._reads_allowed = 0, self._reads_allowed + 1
        return True


class MortalNodePools(NodePools):
    """The pool's real client, with death at its calls."""

    def __init__(self, client: NodePools, executioner: Executioner) -> None:
        self._client = client
        self._executioner = executioner

    def close(self) -> None:
        """The one it stands for is closed by whoever opened it."""

    async def get_pool(self, pool_id: str, *, with_work_requests: bool = False) -> Any:
        return await self._carry_out("get_pool", pool_id, with_work_requests=with_work_requests)

    async def resize(self, pool_id: str, size: int, etag: str) -> Any:
        return await self._carry_out("resize", pool_id, size, etag)

    async def delete_node(self, pool_id: str, instance_id: str, drain_seconds: int = 0) -> Any:
        return await self._carry_out("delete_node", pool_id, instance_id, drain_seconds)

    async def get_instance(self, instance_id: str) -> Any:
        return await self._carry_out("get_instance", instance_id)

    async def get_work_request(self, work_request_id: str) -> Any:
        return await self._carry_out("get_work_request", work_request_id)

    async def _carry_out(self, operation: str, *arguments: Any, **options: Any) -> Any:
        method = getattr(self._client, operation)
        return await self._executioner.carry_out(operation, arguments, lambda: method(*arguments, **options))


class MortalClients(PoolClients):
    def __init__(self, client: KubernetesClient, namespace: str, endpoint: str, executioner: Executioner) -> None:
        super().__init__(client, namespace, endpoint)
        self._executioner = executioner

    async def of(self, pool: GPUNodePool) -> NodePools:
        return MortalNodePools(await super().of(pool), self._executioner)
