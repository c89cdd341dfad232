"""Runs the operator under kopf, which brings the watches, the probe, the signals and the sign-in.

Every handler does one thing, to wake the work queue. Only `on.event` is used for objects: timers, daemons and
`on.create/update/delete` would put finalizers and annotations on them, and a deletion would hang while the operator is
down.
"""

import logging
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import kopf
from pydantic import ValidationError

from .client import ResourceKind
from .controller import CannotStart, Controller, Unhealthy
from .settings import LogFormat, LogLevel, Settings, wrong_variables


def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """Called again by kopf whenever the credentials were refused, so a rotated token is read anew."""
    return kopf.login_with_service_account(**arguments) or kopf.login_via_client(**arguments)


WATCH_SECONDS = 300
"""The server ends a watch after this; a dead connection is noticed earlier, by the missing bookmarks (each 60 s)."""
INACTIVITY_SECONDS = 90
CONNECT_SECONDS = 10
REQUEST_SECONDS = 60
LIST_CHUNK = 500
START_AGAIN_SECONDS = 3


def registry_for(controller: Controller) -> kopf.OperatorRegistry:
    """Every handler of the operator, bound to that controller."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(login)
    _register_life(registry, controller)
    for kind in controller.watched:
        kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)(_saw(controller, kind))
    return registry


def configure_watching(settings: kopf.OperatorSettings, watched: Iterable[ResourceKind]) -> None:
    """Explicit timeouts, server-side selection of our objects, no Kubernetes events by kopf, no watch of CRDs."""
    # kopf would post an Event for each log line of a handler.
    settings.posting.enabled = False
    # It would watch CustomResourceDefinitions, which takes a right on the whole cluster.
    settings.scanning.disabled = True
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + REQUEST_SECONDS
    settings.watching.inactivity_timeout = INACTIVITY_SECONDS
    settings.watching.connect_timeout = CONNECT_SECONDS
    settings.watching.chunk_size = LIST_CHUNK
    settings.networking.request_timeout = REQUEST_SECONDS
    settings.networking.connect_timeout = CONNECT_SECONDS
    for kind in watched:
        if kind.selector:
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = kind.selector


def _register_life(registry: kopf.OperatorRegistry, controller: Controller) -> None:
    @kopf.on.startup(id="start", registry=registry)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        configure_watching(settings, controller.watched)
        try:
            await controller.start()
        except CannotStart as reason:
            # Anything else would end the process: an API server that restarts is no reason for a crash loop.
            raise kopf.TemporaryError(str(reason), delay=START_AGAIN_SECONDS) from None

    @kopf.on.cleanup(id="stop", registry=registry)
    async def stop(**_: Any) -> None:
        await controller.stop()

    @kopf.on.probe(id="work", registry=registry)
    async def probe(**_: Any) -> dict[str, float]:
        try:
            return controller.check_health()
        except Unhealthy as finding:
            raise kopf.PermanentError(str(finding)) from None


def _saw(controller: Controller, kind: ResourceKind) -> Callable[..., Awaitable[None]]:
    async def saw(event: kopf.RawEvent, **_: Any) -> None:
        body = {**event["object"], "apiVersion": kind.api_version, "kind": kind.kind}
        controller.saw(kind, event["type"], body)

    return saw


CHATTY_LOGGERS = ("kopf.objects", "kopf.activities", "aiohttp.access")
"""They would log every event and every probe; the operator's own lines say what was done."""
LOG_FORMATS = {LogFormat.TEXT: kopf.LogFormat.FULL, LogFormat.JSON: kopf.LogFormat.JSON}


def run() -> None:
    """Until a SIGTERM or SIGINT."""
    settings = _settings()
    _configure_logging(settings)
    kopf.run(
        registry=registry_for(Controller(settings)),
        standalone=True,
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
        liveness_endpoint=f"http://0.0.0.0:{settings.liveness_port}/healthz",
    )


def _configure_logging(settings: Settings) -> None:
    kopf.configure(
        verbose=settings.log_level is LogLevel.DEBUG,
        quiet=settings.log_level is LogLevel.WARNING,
        log_format=LOG_FORMATS[settings.log_format],
    )
    if settings.log_level is not LogLevel.DEBUG:
        for name in CHATTY_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        sys.exit(wrong_variables(error))
