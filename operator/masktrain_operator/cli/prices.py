"""`masktrain prices`: what an hour of each GPU shape costs and whether MaskTrain runs there, before anybody pays."""

import json
import sys
from decimal import Decimal
from typing import Any, Literal

import click

from masktrain_operator.core.shapes import (
    PRICE_LIST_DATE,
    SHAPES,
    Shape,
    check_shape,
    dotted,
    hourly_price,
    image_for,
    minimum_billed_seconds,
    short_reason,
)

WIDE_ENOUGH = 80
"""Columns of a table that goes to a file or a pipe, so that no line of it is broken."""
COLUMNS: tuple[tuple[str, Literal["left", "right"]], ...] = (
    ("shape", "left"),
    ("GPUs", "right"),
    ("GPU", "left"),
    ("GiB", "right"),
    ("USD/\nGPU-h", "right"),
    ("USD/\nhour", "right"),
    ("preemp-\ntible", "right"),
    ("min.", "right"),
    ("part", "left"),
    ("runs", "left"),
)


@click.command()
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="Format.")
def prices(output: str) -> None:
    """Show list prices of Oracle's GPU shapes.

    Prices are those of pay-as-you-go accounts. What a node really costs is set with spec.hourlyPrice of its
    GPUNodePool. Runs: whether the trainer image of this version holds code for the shape's GPUs, and why not.
    """
    if output == "json":
        click.echo(json.dumps(_document(), indent=2))
    else:
        _print_table()


def _document() -> dict[str, Any]:
    return {
        "date": PRICE_LIST_DATE.isoformat(),
        "currency": "USD",
        "shapes": [_entry(shape) for shape in SHAPES],
    }


def _entry(shape: Shape) -> dict[str, Any]:
    """Prices are strings: they are exact decimals, as in the spec and the status of a GPUNodePool."""
    preemptible = _preemptible(shape)
    return {
        "shape": shape.name,
        "gpu": shape.gpu,
        "gpus": shape.gpus,
        "gpuMemoryGiB": shape.gpu_memory_gib,
        "vcpus": shape.vcpus,
        "memoryGiB": shape.ram_gib,
        "pricePerGPUHour": _usd(shape.usd_per_gpu_hour),
        "pricePerHour": _usd(shape.usd_per_hour),
        "preemptiblePricePerHour": None if preemptible is None else _usd(preemptible),
        "minimumBilledSeconds": minimum_billed_seconds(shape.name),
        "part": shape.part,
        **_gpu(shape),
    }


def _gpu(shape: Shape) -> dict[str, Any]:
    """`image`: the one that runs there; without one `whyNot` is a sentence."""
    chip, image = shape.chip, image_for(shape.chip)
    return {
        "maker": chip.maker,
        "computeCapability": None if chip.capability is None else dotted(chip.capability),
        "cpuArchitecture": chip.cpu,
        "leastDriver": None if image is None else chip.driver,
        "image": None if image is None else image.name,
        "whyNot": None if image is not None else f"{check_shape(shape.name).sentence}.",
    }


def _print_table() -> None:
    from rich.console import Console  # noqa: PLC0415 - --help shows this command, and shall not wait for it
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=f"List prices of {PRICE_LIST_DATE}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for header, justify in COLUMNS:
        table.add_column(header, justify=justify, no_wrap=header in ("shape", "part", "runs"))
    for shape in SHAPES:
        table.add_row(*_row(shape))
    Console(width=None if sys.stdout.isatty() else WIDE_ENOUGH).print(table)


def _row(shape: Shape) -> tuple[str, ...]:
    preemptible = _preemptible(shape)
    return (
        shape.name,
        str(shape.gpus),
        shape.gpu,
        str(shape.gpu_memory_gib),
        _usd(shape.usd_per_gpu_hour),
        _usd(shape.usd_per_hour),
        "-" if preemptible is None else _usd(preemptible),
        "1 h" if shape.is_bare_metal else "1 min",
        shape.part or "-",
        _runs(shape),
    )


def _runs(shape: Shape) -> str:
    reason = short_reason(shape.chip)
    return "yes" if reason is None else f"no: {reason}"


def _preemptible(shape: Shape) -> Decimal | None:
    return hourly_price(shape.name, preemptible=True) if shape.allows_preemptible else None


def _usd(amount: Decimal) -> str:
    """At least cents, and never rounded: 11.80, 1.275."""
    digits = amount.normalize().as_tuple().exponent
    return f"{amount:.{max(2, -int(digits))}f}"
