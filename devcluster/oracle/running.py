"""A running fake: on a loopback port of the test's own process, its insides at hand, or in another process."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import requests
from aiohttp import web

from .clock import Clock, FakeClock
from .cloud import FakeCloud
from .control import Control
from .life_cycle import Machines
from .pools import PoolSettings
from .records import Call, CallLog, Ledger, LedgerEntry, Violation
from .server import application
from .signing import Credentials, SignatureCheck

TIMEOUT_SECONDS = 10

ClockT = TypeVar("ClockT", bound=Clock)


@dataclass(frozen=True)
class FakeOci(Generic[ClockT]):
    """A running fake. `cloud.settle()` lets happen what an automatic clock has made due."""

    endpoint: str
    credentials: Credentials
    cloud: FakeCloud
    clock: ClockT

    @property
    def sdk_config(self) -> dict[str, str]:
        """For the SDK's clients, next to `service_endpoint=endpoint`."""
        return self.credentials.sdk_config

    @property
    def control(self) -> Control:
        return Control(self.cloud)

    @property
    def log(self) -> CallLog:
        return self.cloud.log

    @property
    def ledger(self) -> Ledger:
        return self.cloud.ledger


@contextmanager
def running(
    pools: tuple[PoolSettings, ...], clock: ClockT, credentials: Credentials, machines: Machines | None = None
) -> Iterator[FakeOci[ClockT]]:
    """Serve on a free port of 127.0.0.1 until left."""
    cloud = FakeCloud(pools, clock, machines)
    if isinstance(clock, FakeClock):
        # So that a test finds everything done when `advance` returns, also what machines were told.
        clock.on_advance(cloud.settle)
    with serving(application(cloud, SignatureCheck(credentials))) as endpoint:
        yield FakeOci(endpoint, credentials, cloud, clock)


@contextmanager
def serving(app: web.Application, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve any application in a thread until left; its address."""
    loop, endpoint = asyncio.new_event_loop(), Future[str]()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="fake-oci")

    async def serve() -> None:
        # The SDK keeps its connections open; the default would wait a minute for them at the end of each test.
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        endpoint.set_result(f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}")
        await stopped.wait()
        await runner.cleanup()

    stopped = asyncio.Event()
    thread.start()
    try:
        yield endpoint.result(timeout=10)
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


class RemoteFakeOci:
    """A fake at `endpoint`."""

    def __init__(self, endpoint: str) -> None:
        """Speak to the fake there."""
        self._endpoint = endpoint

    def control(self, operation: str, **arguments: Any) -> None:
        """Turn a switch of `Control`. Raises ValueError with the fake's own words."""
        wanted: Any = {"operation": operation, "arguments": arguments}
        answer = requests.post(f"{self._endpoint}/_control", json=wanted, timeout=TIMEOUT_SECONDS)
        if answer.status_code != requests.codes.ok:
            raise ValueError(answer.json()["message"])

    def log(self) -> CallLog:
        """The calls and violations so far."""
        found, log = self._read("_log"), CallLog()
        log.calls = [Call(**call) for call in found["calls"]]
        log.violations = [Violation(**violation) for violation in found["violations"]]
        return log

    def ledger(self) -> Ledger:
        """The instances so far."""
        ledger = Ledger()
        for entry in self._read("_ledger"):
            ledger.open(LedgerEntry(**entry))
        return ledger

    def answers(self) -> bool:
        """Whether it serves."""
        try:
            self._read("_log")
        except requests.RequestException:
            return False
        return True

    def _read(self, path: str) -> Any:
        answer = requests.get(f"{self._endpoint}/{path}", timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
        return answer.json()
