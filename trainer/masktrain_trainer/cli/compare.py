"""`masktrain compare`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from masktrain_trainer.errors import InvalidConfiguration, printable

from .exit_on_error import exit_on_error
from .numbers import FiniteRange

if TYPE_CHECKING:
    import torch

    from masktrain_trainer.compare.command import Comparison, Measure


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--source", required=True, help="What both see: a video, a folder, a glob, a stream …, as in `detect`.")
@click.option(
    "--output",
    default=Path("compare"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for all of it.",
)
@click.option("--data", help="A labelled set whose mAP decides: a folder, a zip, a URI or a link.")
@click.option(
    "--conf-thres", "confidence", default=0.25, show_default=True, type=FiniteRange(0, 1), help="Least confidence."
)
@click.option(
    "--iou-thres",
    "iou",
    default=0.45,
    show_default=True,
    type=FiniteRange(0, 1),
    help="IoU at which NMS drops a box.",
)
@click.option(
    "--imgsz", "--img", "image_size", type=click.IntRange(min=32), help="Side in pixels [default: as trained]."
)
@click.option("--device", help="cpu, or the number of a GPU [default: a GPU if there is one].")
@click.option(
    "--frames",
    default=50,
    show_default=True,
    type=click.IntRange(min=1, max=10_000),
    help="How many to pick for labelling.",
)
@click.option("--seconds", type=FiniteRange(min=0, min_open=True), help="Compare on so much of it [default: all].")
@click.option("--endpoint", help="URL of the store of s3:// and oci:// URIs [default: the cloud's own].")
def compare(
    *,
    first: str,
    second: str,
    source: str,
    output: Path,
    data: str | None,
    confidence: float,
    iou: float,
    image_size: int | None,
    device: str | None,
    frames: int,
    seconds: float | None,
    endpoint: str | None,
) -> None:
    """Say which of two models is better, A or B, and show where they differ.

    A and B are a best.pt, a .pt of YOLOv5 or an exported model: files, or s3://, oci:// or https:// URIs.
    """
    with exit_on_error("compare"):
        from masktrain_trainer.compare import command  # noqa: PLC0415

        options = command.CompareOptions(
            (first, second),
            source,
            output,
            confidence,
            iou,
            image_size,
            _device(device),
            frames,
            seconds,
            endpoint,
        )
        with _progress() as watch:
            result = command.compare(options, _say, watch, _measure(data, image_size, endpoint))
        _print(result)


def _say(line: str) -> None:
    click.echo(printable(line), err=True)


def _measure(data: str | None, image_size: int | None, endpoint: str | None) -> "Measure | None":
    if data is None:
        return None
    from masktrain_trainer.local.evaluate import EvaluationOptions, evaluate  # noqa: PLC0415

    return lambda weights: (
        evaluate(EvaluationOptions(weights, data, "val", image_size, endpoint=endpoint), _say).overall
    )


def _device(asked: str | None) -> "torch.device | None":
    """As YOLOv5 has it: `cpu`, `0`, `cuda:0`. Raises InvalidConfiguration."""
    import torch  # noqa: PLC0415

    if not asked:
        return None
    text = f"cuda:{asked}" if asked.isdigit() else asked
    try:
        device = torch.device(text)
    except RuntimeError:
        raise InvalidConfiguration(
            f"--device {asked} is no device; give cpu, or the number of a GPU such as 0."
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidConfiguration(
            f"--device {asked} is not there: this machine has {torch.cuda.device_count()} GPUs; leave --device out."
        )
    return device


@contextmanager
def _progress() -> Iterator[Callable[[int, int | None], None]]:
    """A bar on a terminal; elsewhere nothing moves."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("frames", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print(result: "Comparison") -> None:
    for remark in result.remarks:
        _say(remark)
    click.echo(printable(result.verdict.sentence))
    click.echo(printable(f"  {result.page}"))
    click.echo(printable(f"  {result.video}"))
    click.echo(printable(f"  {result.table}"))
    if result.picks is not None:
        click.echo(printable(f"  {result.picks} ({result.picked} frames to label)"))
