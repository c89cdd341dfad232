"""Runs the operator under kopf, which brings the watches, the probe and the signals."""

import logging
import sys

import kopf
from pydantic import ValidationError

from .controller import Controller
from .handlers import registry_for
from .settings import LogFormat, LogLevel, Settings, wrong_variables

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
