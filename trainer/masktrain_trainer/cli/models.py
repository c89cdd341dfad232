"""`masktrain models`: what there is to choose from."""

import json

import click

from masktrain_trainer.local.published import PUBLISHED, RELEASE, PublishedCheckpoint


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def models(*, as_json: bool) -> None:
    """List the ten YOLOv5 checkpoints: size, image size and published accuracy."""
    if as_json:
        click.echo(json.dumps([_document(checkpoint) for checkpoint in PUBLISHED], indent=2))
        return
    _print_table()


def _document(checkpoint: PublishedCheckpoint) -> dict[str, object]:
    return {
        "architecture": checkpoint.architecture.value,
        "parameters": checkpoint.parameters,
        "imageSize": checkpoint.image_size,
        "mAP50": checkpoint.map50,
        "mAP50_95": checkpoint.map50_95,
        "weights": checkpoint.url,
    }


def _print_table() -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title="YOLOv5 checkpoints, COCO val2017", title_justify="left", caption=f"{RELEASE}/…")
    table.add_column("architecture")
    for name in ("parameters", "image size", "mAP50", "mAP50-95"):
        table.add_column(name, justify="right")
    table.add_column("weights")
    for row in PUBLISHED:
        numbers = (
            f"{row.parameters:,}",
            str(row.image_size),
            f"{row.map50:.1f}",
            f"{row.map50_95:.1f}",
        )
        table.add_row(row.architecture.value, *numbers, row.url.removeprefix(f"{RELEASE}/"))
    Console().print(table)
