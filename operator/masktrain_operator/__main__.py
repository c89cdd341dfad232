"""The operator's command: `masktrain-operator`, or `python -m masktrain_operator`."""

import logging
import sys

import kopf
from pydantic import ValidationError

from masktrain_operator.shell.controller import Controller
from masktrain_operator.shell.handlers import registry_for
from masktrain_operator.shell.settings import LogFormat, LogLevel, Settings

CHATTY_LOGGERS = ("kopf.objects", "kopf.activities", "aiohttp.access")
"""They would log every event and every probe; the operator's own lines say what was done."""
LOG_FORMATS = {LogFormat.TEXT: kopf.LogFormat.FULL, LogFormat.JSON: kopf.LogFormat.JSON}


def main() -> None:
    """Run until a SIGTERM or SIGINT."""
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
        sys.exit("\n".join(f"MASKTRAIN_OPERATOR_{_field(finding)}: {finding['msg']}." for finding in error.errors()))


def _field(finding: object) -> str:
    location = finding["loc"] if isinstance(finding, dict) else ()
    return "_".join(str(part) for part in location).upper()


if __name__ == "__main__":
    main()
