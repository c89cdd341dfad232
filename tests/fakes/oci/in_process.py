"""The fake on a loopback port of the test's own process: the server in a thread, its insides at hand."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiohttp import web

from tests.fakes.oci.call_log import CallLog
from tests.fakes.oci.clock import Clock, FakeClock
from tests.fakes.oci.cloud import FakeCloud
from tests.fakes.oci.control import Control
from tests.fakes.oci.credentials import Credentials
from tests.fakes.oci.ledger import Ledger
from tests.fakes.oci.machines import Machines
from tests.fakes.oci.pool_state import PoolSettings
from tests.fakes.oci.server import application
from tests.fakes.oci.signatures import SignatureCheck

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
        clock.on_advance(cloud.settle)
    with serving(application(cloud, SignatureCheck(credentials))) as endpoint:
        yield FakeOci(endpoint, credentials, cloud, clock)


@contextmanager
def serving(app: web.Application) -> Iterator[str]:
    """Serve any application in a thread until left; its address."""
    loop, endpoint = asyncio.new_event_loop(), Future[str]()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="fake-oci")

    async def serve() -> None:
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        endpoint.set_result(f"http://127.0.0.1:{runner.addresses[0][1]}")
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
