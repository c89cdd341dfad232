"""Commands on models: `models`, `val` and `export`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from masktrain_trainer.errors import printable
from masktrain_trainer.weights.sources import PUBLISHED, RELEASE, PublishedCheckpoint

from .exit_on_error import exit_on_error
from .numbers import FiniteRange


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def models(*, as_json: bool) -> None:
    """List the ten YOLOv5 checkpoints: size, image size and published accuracy."""
    if as_json:
        click.echo(json.dumps([_document(checkpoint) for checkpoint in PUBLISHED], indent=2))
        return
    _print_models()


def _document(checkpoint: PublishedCheckpoint) -> dict[str, object]:
    return {
        "architecture": checkpoint.architecture.value,
        "parameters": checkpoint.parameters,
        "imageSize": checkpoint.image_size,
        "mAP50": checkpoint.map50,
        "mAP50_95": checkpoint.map50_95,
        "weights": checkpoint.url,
    }


def _print_models() -> None:
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


if TYPE_CHECKING:
    from masktrain_trainer.local.evaluate import Scores


@click.command()
@click.option("--weights", required=True, help="A .pt, .onnx or OpenVINO's .xml or folder, or the URI of a file.")
@click.option(
    "--data", help="The data set: a folder, a zip, a URI or a link [default: the link in MASKTRAIN_DATASET_URL]."
)
@click.option("--split", default="val", show_default=True, type=click.Choice(["train", "val", "test"]))
@click.option("--image-size", type=click.IntRange(min=32), help="Side in pixels [default: as trained].")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(min=1))
@click.option("--endpoint", help="URL of the store of s3:// and oci:// URIs [default: the cloud's own].")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def val(
    *,
    weights: str,
    data: str | None,
    split: str,
    image_size: int | None,
    batch_size: int,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Evaluate a model: precision, recall and mAP of every class, and the speed."""
    from masktrain_trainer.local.evaluate import EvaluationOptions, evaluate  # noqa: PLC0415

    def say(line: str) -> None:
        click.echo(printable(line), err=True)

    with exit_on_error("val"):
        scores = evaluate(EvaluationOptions(weights, data, split, image_size, batch_size, endpoint), say)
        for sentence in scores.skipped:
            say(sentence)
        if as_json:
            click.echo(json.dumps(scores.document(), indent=2))
        else:
            _print_scores(scores)


def _print_scores(scores: "Scores") -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table()
    table.add_column("class")
    for name in ("images", "labels", "P", "R", "mAP50", "mAP50-95"):
        table.add_column(name, justify="right")
    for row in (scores.overall, *scores.classes):
        numbers = (row.precision, row.recall, row.map50, row.map50_95)
        # As Text: rich would obey square brackets in a class's name.
        table.add_row(Text(row.name), str(row.images), str(row.labels), *(f"{number:.3f}" for number in numbers))
    console = Console()
    console.print(table)
    speed = ", ".join(f"{part} {milliseconds:.1f} ms" for part, milliseconds in scores.milliseconds.items())
    console.print(f"{speed} per image at {scores.image_size} px on {scores.device}", highlight=False)


@click.command()
@click.argument("weights")
@click.option("--format", "to", required=True, metavar="[yolov5|onnx|openvino]", help="The kind of file.")
@click.option("--output", type=click.Path(path_type=Path), help="The file [default: named after the weights, here].")
@click.option(
    "--image-size",
    type=click.IntRange(min=1),
    help="onnx, openvino: side in pixels [default: as trained].",
)
@click.option("--half", is_flag=True, help="onnx: float16 weights and input; the others' weights always are.")
@click.option("--dynamic", is_flag=True, help="onnx: any number of images, of any fitting size; openvino always does.")
@click.option("--int8", is_flag=True, help="openvino: eight bits, calibrated on and measured with --data.")
@click.option("--data", help="openvino: the data set of the training; a folder, a zip, a URI or a link.")
@click.option(
    "--max-accuracy-loss",
    default=0.01,
    show_default=True,
    type=FiniteRange(-1, 1),
    help="With --data: of mAP50 that the export may lose; it is refused if it loses more.",
)
@click.option("--endpoint", help="URL of the store of s3:// and oci:// URIs [default: the cloud's own].")
def export(
    *,
    weights: str,
    to: str,
    output: Path | None,
    image_size: int | None,
    half: bool,
    dynamic: bool,
    int8: bool,
    data: str | None,
    max_accuracy_loss: float,
    endpoint: str | None,
) -> None:
    """Write WEIGHTS, a best.pt or a .pt of YOLOv5 (a file or a URI), as files of YOLOv5, ONNX or OpenVINO."""
    from masktrain_trainer.export.command import ExportRequest, run_export  # noqa: PLC0415
    from masktrain_trainer.export.onnx import OnnxOptions  # noqa: PLC0415
    from masktrain_trainer.local.export import export_measured  # noqa: PLC0415

    def say(line: str) -> None:
        click.echo(printable(line), err=True)

    request = ExportRequest(weights, to, output, OnnxOptions(image_size, half, dynamic), endpoint)
    with exit_on_error("export"):
        if int8 or data is not None:
            click.echo(printable(export_measured(request, data, max_accuracy_loss, int8=int8, say=say)))
        else:
            click.echo(run_export(request))
