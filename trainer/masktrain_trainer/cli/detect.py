"""`masktrain detect`: pictures with boxes."""

import sys
from pathlib import Path

import click

from masktrain_trainer.config import ExitCode


@click.command()
@click.option("--weights", required=True, help="A best.pt or a .pt of YOLOv5: a file, or an s3:// or oci:// URI.")
@click.option("--source", required=True, type=click.Path(path_type=Path), help="An image, or a folder of images.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder for the pictures with boxes.")
@click.option("--confidence", default=0.25, show_default=True, type=click.FloatRange(0, 1), help="Least confidence.")
@click.option(
    "--iou", default=0.45, show_default=True, type=click.FloatRange(0, 1), help="IoU at which NMS drops a box."
)
@click.option("--image-size", type=click.IntRange(min=32), help="Side in pixels [default: as trained].")
@click.option("--endpoint", help="URL of the store of an s3:// or oci:// URI [default: the cloud's own].")
def detect(
    *,
    weights: str,
    source: Path,
    output: Path,
    confidence: float,
    iou: float,
    image_size: int | None,
    endpoint: str | None,
) -> None:
    """Find objects in images and draw boxes around them."""
    from masktrain_trainer.detect.command import DetectionError, DetectionOptions, run_detection  # noqa: PLC0415

    options = DetectionOptions(confidence=confidence, iou=iou, image_size=image_size)
    try:
        for line in run_detection(weights, source, output, options, endpoint):
            click.echo(line)
    except DetectionError as error:
        click.echo(f"masktrain detect: {error}", err=True)
        sys.exit(ExitCode.USER_ERROR)
