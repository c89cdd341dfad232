"""`masktrain-operator sweep`: one run of the sweeper, as the chart's CronJob starts it."""

import argparse
import asyncio
import logging
import math
import sys
from contextlib import AsyncExitStack
from datetime import timedelta

from pydantic import ValidationError

from masktrain_operator.shell.client import CONNECTION_ERRORS, KubernetesClient, connect, refusal_sentence
from masktrain_operator.shell.oci.client import PoolClients
from masktrain_operator.shell.settings import CloudSettings, wrong_variables

from .sweep import Limits, Sweep

STALE_SECONDS = 300.0
LIMIT_SECONDS = 240.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stale-seconds",
        type=_seconds,
        default=STALE_SECONDS,
        metavar="SECONDS",
        help="without a sign of life, after which the operator counts as gone (default: %(default)g)",
    )
    parser.add_argument(
        "--limit-seconds",
        type=_seconds,
        default=LIMIT_SECONDS,
        metavar="SECONDS",
        help="for all of it; the next run does what is left (default: %(default)g)",
    )


def sweep(arguments: argparse.Namespace) -> int:
    """The exit code: 0 also if the operator lives, 1 if the API server refused, or Oracle for any pool."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("masktrain_operator").setLevel(logging.INFO)
    limits = Limits(timedelta(seconds=arguments.stale_seconds), arguments.limit_seconds)
    try:
        refusals = asyncio.run(_run(CloudSettings(), limits))
    except ValidationError as error:
        refusals = [wrong_variables(error)]
    except CONNECTION_ERRORS as error:
        refusals = [refusal_sentence(error)]
    print(*refusals, sep="\n", end="\n" if refusals else "", file=sys.stderr)  # noqa: T201 (what people read)
    return 1 if refusals else 0


async def _run(settings: CloudSettings, limits: Limits) -> list[str]:
    async with AsyncExitStack() as opened:
        api_client = await connect()
        opened.push_async_callback(api_client.close)
        client = KubernetesClient(api_client)
        clients = PoolClients(client, settings.namespace, settings.oci_endpoint)
        opened.push_async_callback(clients.close)
        return await Sweep(client, clients, settings, limits, _print_line).run()


def _print_line(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (what people read)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return seconds
