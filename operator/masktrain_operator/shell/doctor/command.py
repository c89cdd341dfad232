"""`masktrain doctor`: a look at a cluster and its tenancy that changes nothing, as a table and an exit code."""

import asyncio
import json
import logging
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import click

from masktrain_operator.core.doctor.findings import (
    EXIT_BLIND,
    EXIT_FAULT,
    EXIT_OK,
    Finding,
    Level,
    exit_code,
    in_order,
)
from masktrain_operator.core.doctor.nodes import node_findings
from masktrain_operator.core.doctor.policies import policy_findings
from masktrain_operator.core.doctor.pools import pool_findings
from masktrain_operator.core.doctor.seen import Seen, StorageNeeds
from masktrain_operator.core.doctor.surroundings import surrounding_findings

PREFIX = "MASKTRAIN_OPERATOR_"
"""The operator's own variables are understood, so that the command needs no options in its pod."""
ACCOUNTS = ("masktrain-operator", "masktrain-operator-sweeper")
WIDE_ENOUGH = 120
"""Columns of a table that goes to a file or a pipe, such as the log of `helm test`."""
STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "bold red", Level.UNKNOWN: "cyan"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
@click.option(
    "--data-gib",
    type=click.FloatRange(min=0),
    default=StorageNeeds.data_gib,
    show_default=True,
    help="Disk that a pod's data set takes: zip, unpacked and decoded.",
)
@click.option(
    "--image-gib",
    type=click.FloatRange(min=0),
    default=StorageNeeds.image_gib,
    show_default=True,
    help="Disk that the trainer's image takes.",
)
@click.option("--profile", help="Sign at Oracle with this profile of ~/.oci/config instead of as the pools say.")
@click.option(
    "--namespace",
    envvar=f"{PREFIX}NAMESPACE",
    default="masktrain-system",
    show_default=True,
    help="The operator's, where the Secrets of pools are.",
)
@click.option(
    "--service-account",
    "accounts",
    multiple=True,
    envvar=f"{PREFIX}SERVICE_ACCOUNTS",
    help=f"ServiceAccount that policies have to name; the operator's first.  [default: {', '.join(ACCOUNTS)}]",
)
@click.option("--endpoint", envvar=f"{PREFIX}OCI_ENDPOINT", help="Replaces Oracle's regional endpoints.")
@click.option(
    "--object-storage",
    envvar=f"{PREFIX}OBJECT_STORAGE_ENDPOINT",
    help="Replaces the regional addresses of Object Storage.",
)
def doctor(as_json: bool, data_gib: float, image_gib: float, profile: str | None, **where: Any) -> None:
    """Look for what would stop jobs or cost money for nothing, and change nothing.

    Reads the cluster of the current kubeconfig (or the one it runs in), and asks Oracle about the node pool of each
    GPUNodePool: policies, device plugin, drivers, disks, prices, Object Storage, clocks. What may not be looked at is
    "unknown", with the right that it takes. Exit codes: 0 no fault, 1 a fault, 3 the pools or nodes could not be seen.
    """
    logging.basicConfig(level=logging.CRITICAL)
    if profile is not None:
        _require_profile(profile)
    seen = _look(profile, where)
    if seen is None:
        sys.exit(EXIT_BLIND)
    findings = diagnose(seen, StorageNeeds(data_gib, image_gib))
    click.echo(json.dumps(document(findings), indent=2)) if as_json else print_table(findings)
    sys.exit(exit_code(findings))


def diagnose(seen: Seen, needs: StorageNeeds) -> list[Finding]:
    """All findings, in the order of the table; what is true of several pools stands once."""
    return in_order(list(_merged([*surrounding_findings(seen), *_of_pools(seen, needs)])))


def _of_pools(seen: Seen, needs: StorageNeeds) -> Iterator[Finding]:
    for pool in seen.known_pools:
        yield from pool_findings(seen, pool)
        yield from policy_findings(seen, pool)
        yield from node_findings(seen, pool, needs)


def _merged(findings: Sequence[Finding]) -> Iterator[Finding]:
    alike = defaultdict[tuple[Any, ...], list[Finding]](list)
    for finding in findings:
        alike[finding.check, finding.level, finding.said, finding.advice, finding.paste].append(finding)
    for (check, level, said, advice, paste), those in alike.items():
        about = ", ".join(dict.fromkeys(finding.about for finding in those))
        yield Finding(check, about, level, said, advice, paste, blind=any(finding.blind for finding in those))


def _require_profile(profile: str) -> None:
    """Raises click.UsageError."""
    try:
        from masktrain_operator.shell.oci.access import OciError  # noqa: PLC0415

        from .oracle import profile_login  # noqa: PLC0415 (with the SDK, which takes a second to import)
    except ImportError as error:
        raise _not_installed(error) from None
    try:
        profile_login(profile)
    except OciError as error:
        raise click.UsageError(error.sentence) from None


def _look(profile: str | None, where: dict[str, Any]) -> Seen | None:
    """None if no API server answers, which has then been said."""
    try:
        from masktrain_operator.shell.client import CONNECTION_ERRORS, refusal_sentence  # noqa: PLC0415

        from .look import Options, look  # noqa: PLC0415 (with the libraries of the operator, which --help does without)
    except ImportError as error:
        raise _not_installed(error) from None
    options = Options(
        namespace=where["namespace"],
        accounts=_accounts(where["accounts"]),
        endpoint=where["endpoint"] or None,
        object_storage=where["object_storage"] or None,
        profile=profile,
    )
    try:
        return asyncio.run(look(options))
    except CONNECTION_ERRORS as error:
        click.echo(f"masktrain doctor: {refusal_sentence(error)}", err=True)
        return None


def _accounts(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for each in given for name in each.split(",") if name) or ACCOUNTS


def _not_installed(error: ImportError) -> click.ClickException:
    return click.ClickException(
        f"doctor needs the operator's libraries ({error}); install masktrain[operator], or use the operator's image."
    )


def document(findings: Sequence[Finding]) -> dict[str, Any]:
    """For programs."""
    counts = {level.value: sum(finding.level is level for finding in findings) for level in Level}
    return {
        "exitCode": exit_code(findings),
        "counts": counts,
        "findings": [
            {
                "check": finding.check.value,
                "about": finding.about,
                "level": finding.level.value,
                "found": finding.said,
                "advice": finding.advice,
                "paste": list(finding.paste),
            }
            for finding in findings
        ],
    }


def print_table(findings: Sequence[Finding]) -> None:
    """What is to be pasted stands below the table, whole lines each."""
    from rich.console import Console  # noqa: PLC0415 - --help shows this command, and shall not wait for it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(width=None if sys.stdout.isatty() else WIDE_ENOUGH, highlight=False)
    table = Table(box=None, padding=(0, 1, 1, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for header in ("looked at", "found", "what to do"):
        # Never cut: an OCID is to be copied.
        table.add_column(header, overflow="fold")
    numbers = {id(finding): place for place, finding in enumerate((f for f in findings if _shows_paste(f)), 1)}
    for finding in findings:
        number = numbers.get(id(finding))
        advice = " ".join(filter(None, (finding.advice, f"[{number}]" if number else "")))
        level = Text(finding.level.value, STYLES[finding.level])
        table.add_row(level, Text(f"{finding.check}: {finding.about}"), Text(finding.said), Text(advice))
    console.print(table)
    for finding in findings:
        if (number := numbers.get(id(finding))) is not None:
            click.echo(f"[{number}] {finding.check}: {finding.about}\n\n" + "\n".join(finding.paste) + "\n")
    click.echo(summary(findings))


def _shows_paste(finding: Finding) -> bool:
    return bool(finding.paste)


VERDICTS = {
    EXIT_OK: "Nothing at fault was found.",
    EXIT_FAULT: "Something is at fault.",
    EXIT_BLIND: "Too little could be looked at.",
}


def summary(findings: Sequence[Finding]) -> str:
    counts = document(findings)["counts"]
    numbers = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    return f"{VERDICTS[exit_code(findings)]} {numbers}."
