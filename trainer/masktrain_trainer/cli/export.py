"""`masktrain export`: a best.pt for other programs."""

from pathlib import Path

import click

from .refusal import refusals


@click.command()
@click.argument("weights")
@click.option("--format", "to", required=True, metavar="[yolov5|onnx]", help="The kind of file.")
@click.option("--output", type=click.Path(path_type=Path), help="The file [default: named after the weights, here].")
@click.option(
    "--image-size",
    type=click.IntRange(min=1),
    help="onnx: side in pixels [default: as trained].",
)
@click.option("--half", is_flag=True, help="onnx: float16 weights and input; yolov5 files always are.")
@click.option("--dynamic", is_flag=True, help="onnx: any number of images, of any size that suits the stride.")
@click.option("--endpoint", help="URL of the store of an s3:// or oci:// URI [default: the cloud's own].")
def export(
    *,
    weights: str,
    to: str,
    output: Path | None,
    image_size: int | None,
    half: bool,
    dynamic: bool,
    endpoint: str | None,
) -> None:
    """Write WEIGHTS, a best.pt or a .pt of YOLOv5 (a file, or an s3:// or oci:// URI), as a file of YOLOv5 or ONNX."""
    from masktrain_trainer.export.command import run_export  # noqa: PLC0415
    from masktrain_trainer.export.onnx import OnnxOptions  # noqa: PLC0415

    with refusals("export"):
        click.echo(run_export(weights, to, output, OnnxOptions(image_size, half, dynamic), endpoint))
