"""The HTTP side: signatures, request ids, the call log, and the failures of calls."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from .api import Compute, ContainerEngine, Parameters, Route
from .cloud import FakeCloud
from .control import Control
from .failures import ServiceError, invalid, not_found
from .records import Call
from .signing import SignatureCheck, SignedRequest
from .tenancy.calls import Clusters, Identity

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Api:
    """Oracle's operations over HTTP."""

    cloud: FakeCloud
    signatures: SignatureCheck

    def handler(self, route: Route) -> Handler:
        """Serve one operation."""

        async def handle(request: web.Request) -> web.StreamResponse:
            call = self._log(request, route.name)
            try:
                response = await self._answer(request, route, call)
            except ServiceError as error:
                call.code = error.code
                response = web.json_response({"code": error.code, "message": error.message}, status=error.status)
            call.status = response.status
            response.headers["opc-request-id"] = call.request_id
            response.headers["Date"] = self.cloud.tenancy.date()
            # Only now, after all was carried out: the client cannot tell this from a call that never arrived.
            if call.answer_lost:
                _cut_connection(request)
            return response

        return handle

    async def _answer(self, request: web.Request, route: Route, call: Call) -> web.Response:
        body = await request.read()
        self.signatures.verify(SignedRequest(request.method, request.raw_path, request.headers, body))
        parameters = _parameters(request, body)
        call.parameters = _logged(parameters)
        with self.cloud.settled():
            failures = self.cloud.failures.of_call(route.name)
        # Outside the lock: a slow call must not hold up the calls beside it.
        await asyncio.sleep(sum(failure.delay_seconds for failure in failures))
        for failure in failures:
            if failure.refusal:
                raise failure.refusal
        call.answer_lost = any(failure.lose_answer for failure in failures)
        with self.cloud.settled():
            return route.operation(parameters).response

    def _log(self, request: web.Request, operation: str) -> Call:
        with self.cloud.settled():
            sent = request.headers.get("opc-request-id")
            own = self.cloud.names.request_id()
            call = Call(self.cloud.clock.now(), request.method, operation)
            # Oracle appends its own id to the one that the client sent.
            call.request_id = f"{sent}/{own}" if sent else own
            self.cloud.log.calls.append(call)
            return call


def application(cloud: FakeCloud, signatures: SignatureCheck) -> web.Application:
    """The whole server: Container Engine and Compute, and the paths of the tests, which need no signature."""
    app, api = web.Application(), Api(cloud, signatures)
    for route in (
        *ContainerEngine(cloud).routes,
        *Clusters(cloud).routes,
        *Compute(cloud).routes,
        *Identity(cloud).routes,
    ):
        app.router.add_route(route.method, route.path, api.handler(route))
    app.router.add_get("/_log", _reader(cloud, cloud.log.as_json))
    app.router.add_get("/_ledger", _reader(cloud, cloud.ledger.as_json))
    app.router.add_post("/_control", _controller(Control(cloud)))
    # Last, because aiohttp takes the first route that fits.
    app.router.add_route("*", "/{path:.*}", api.handler(Route("*", "", "unknown", _unknown)))
    if cloud.clock.automatic:
        app.cleanup_ctx.append(lambda _: _keep_moving(cloud))
    return app


async def _keep_moving(cloud: FakeCloud) -> AsyncIterator[None]:
    """Let things happen at their time even when nobody looks."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    async def move() -> None:
        while True:
            changed.clear()
            cloud.settle()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), cloud.schedule.seconds_to_next())

    def wake() -> None:
        # Transitions are planned by the threads of tests too, and an asyncio.Event belongs to its loop.
        loop.call_soon_threadsafe(changed.set)

    cloud.schedule.on_change = wake
    task = asyncio.create_task(move())
    yield
    cloud.schedule.on_change = lambda: None
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _parameters(request: web.Request, body: bytes) -> Parameters:
    query = {name: request.query.getall(name) for name in request.query}
    try:
        content = json.loads(body) if body else {}
    except ValueError:
        raise invalid("the body is not JSON") from None
    return Parameters(dict(request.match_info), query, request.headers.get("if-match"), content)


def _logged(parameters: Parameters) -> dict[str, Any]:
    logged: dict[str, Any] = {**parameters.path}
    logged |= {name: values[0] if len(values) == 1 else values for name, values in parameters.query.items()}
    if parameters.if_match is not None:
        logged["if-match"] = parameters.if_match
    if "size" in parameters.body.get("nodeConfigDetails", {}):
        logged["size"] = parameters.body["nodeConfigDetails"]["size"]
    return logged


def _cut_connection(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


def _unknown(parameters: Parameters) -> Any:
    raise not_found(parameters.path["path"])


def _reader(cloud: FakeCloud, read: Callable[[], Any]) -> Handler:
    async def handle(_request: web.Request) -> web.Response:
        with cloud.settled():
            return web.json_response(read())

    return handle


def _controller(control: Control) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        wanted = await request.json()
        try:
            control.call(wanted["operation"], wanted.get("arguments", {}))
        except ServiceError as error:
            return web.json_response({"code": error.code, "message": error.message}, status=error.status)
        return web.json_response({})

    return handle
