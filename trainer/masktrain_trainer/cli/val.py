"""`masktrain val`: the scores of a checkpoint."""

import json
from typing import TYPE_CHECKING

import click

from .refusal import refusals

if TYPE_CHECKING:
    from masktrain_trainer.local.evaluate import Scores


@click.command()
@click.option("--weights", required=True, help="A best.pt or a .pt of YOLOv5: a file, or an s3:// or oci:// URI.")
@click.option("--data", required=True, help="The data set: a folder, a zip, or a URI.")
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val", "test"]))
@click.option("--image-size", type=click.IntRange(min=32), help="Side in pixels [default: as trained].")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(min=1))
@click.option("--endpoint", help="URL of the store of s3:// and oci:// URIs [default: the cloud's own].")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def val(
    *,
    weights: str,
    data: str,
    split: str,
    image_size: int | None,
    batch_size: int,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Evaluate a checkpoint: precision, recall and mAP of every class, and the speed."""
    from masktrain_trainer.local.evaluate import Question, evaluate  # noqa: PLC0415

    def say(line: str) -> None:
        click.echo(line, err=True)

    with refusals("val"):
        scores = evaluate(Question(weights, data, split, image_size, batch_size, endpoint), say)
        for sentence in scores.skipped:
            say(sentence)
        if as_json:
            click.echo(json.dumps(scores.document(), indent=2))
        else:
            _print_table(scores)


def _print_table(scores: "Scores") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table()
    table.add_column("class")
    for name in ("images", "labels", "P", "R", "mAP50", "mAP50-95"):
        table.add_column(name, justify="right")
    for row in (scores.overall, *scores.classes):
        numbers = (row.precision, row.recall, row.map50, row.map50_95)
        table.add_row(Text(row.name), str(row.images), str(row.labels), *(f"{number:.3f}" for number in numbers))
    console = Console()
    console.print(table)
    speed = ", ".join(f"{part} {milliseconds:.1f} ms" for part, milliseconds in scores.milliseconds.items())
    console.print(f"{speed} per image at {scores.image_size} px on {scores.device}", highlight=False)
