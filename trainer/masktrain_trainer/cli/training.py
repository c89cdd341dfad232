"""Commands on the way to a model: `data`, `preflight`, `train` and `supervise`."""

import sys
from functools import partial
from pathlib import Path

import click

from masktrain_trainer.errors import printable

from .exit_on_error import exit_on_error
from .numbers import FiniteRange

_DATA = (
    "Data set instead of dataset.uri: a folder, a zip, a URI, or an https:// link [default: the link in "
    "MASKTRAIN_DATASET_URL, if there is one]."
)


@click.group()
def data() -> None:
    """Work with data sets."""


@data.command()
@click.argument("places", metavar="[DIR_OR_ZIP | -] URI", nargs=-1)
@click.option("--endpoint", help="URL of the store of an s3:// or oci:// URI [default: the cloud's own].")
@click.option("--replace", is_flag=True, help="Overwrite another data set of that name.")
@click.option("--single-class", is_flag=True, help="Check it for jobs with training.singleClass: any class is taken.")
def push(*, places: tuple[str, ...], endpoint: str | None, replace: bool, single_class: bool) -> None:
    """Check a data set, upload it as a zip to URI, and print the dataset block of a job with its SHA-256.

    In place of a folder or zip, - reads a download link, like Roboflow's, from standard input; without either the link
    is that of the variable MASKTRAIN_DATASET_URL. An https:// link without a key in it may be an argument, too.

    A URI that ends with a slash is a folder: the zip in it is called like DIR_OR_ZIP. The block goes to standard
    output, everything else to standard error. Credentials come from the AWS_* variables.
    """
    from masktrain_trainer.local.datasets import as_block, given_link, push_dataset, push_link  # noqa: PLC0415

    if len(places) not in (1, 2):
        raise click.UsageError("Give DIR_OR_ZIP (or -, or a link in MASKTRAIN_DATASET_URL) and URI.")
    *sources, uri = places
    source = sources[0] if sources else None

    def say(line: str) -> None:
        click.echo(printable(line), err=True)

    with exit_on_error("data push"):
        push_it = partial(push_link, replace=replace, single_class=single_class, say=say)
        if source is None or source == "-":
            pushed = push_it(given_link(None, _typed_link() if source else ""), uri, endpoint)
        # Not a folder called so: its name, with the key in it, would be in the sentence that it is not there.
        elif source.lower().startswith(("http://", "https://")):
            pushed = push_it(given_link(source, ""), uri, endpoint)
        else:
            pushed = push_dataset(Path(source), uri, endpoint, replace=replace, single_class=single_class, say=say)
        click.echo(as_block(pushed), nl=False)


def _typed_link() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Download link (not shown)", hide_input=True, err=True))
    return sys.stdin.buffer.read(1 << 16).decode(errors="replace")


@data.command()
@click.argument("source", metavar="DIR_ZIP_OR_URI")
@click.option("--deep", is_flag=True, help="Also train small models that have not seen a label to judge it (minutes).")
@click.option(
    "--output",
    default="data-check",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the page of suspects; where something lies in it, a numbered one beside it.",
)
@click.option(
    "--folds", default=3, show_default=True, type=click.IntRange(2, 20), help="--deep: parts of the data set."
)
@click.option(
    "--epochs", type=click.IntRange(1, 10_000), help="--deep: of each model [default: by the number of pictures]."
)
@click.option(
    "--image-size", default=160, show_default=True, type=click.IntRange(64, 4096), help="--deep: side in pixels."
)
@click.option(
    "--weights",
    default="official",
    show_default=True,
    help="--deep: 'official', 'scratch', or a URI of a .pt of yolov5n.",
)
@click.option("--endpoint", help="URL of the store of s3:// and oci:// URIs [default: the cloud's own].")
def check(
    *,
    source: str,
    deep: bool,
    output: Path,
    folds: int,
    epochs: int | None,
    image_size: int,
    weights: str,
    endpoint: str | None,
) -> None:
    """Find duplicates, odd boxes and, with --deep, labels that a model contradicts, and show them on one page."""
    from masktrain_trainer.local.check import CheckOptions  # noqa: PLC0415
    from masktrain_trainer.local.check import check as run  # noqa: PLC0415
    from masktrain_trainer.local.out_of_fold import FoldOptions  # noqa: PLC0415

    def say(line: str) -> None:
        click.echo(printable(line))

    with exit_on_error("data check"):
        options = FoldOptions(folds=folds, epochs=epochs, image_size=image_size, weights=weights) if deep else None
        run(CheckOptions(source, output, endpoint, options), say)


@data.command()
@click.argument("source", metavar="DIR_OR_ZIP")
@click.argument("destination", metavar="NEW_DIR", type=click.Path(path_type=Path))
@click.option(
    "--val",
    "validation",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    help="Share of pictures for validation where the source has no validation set [default: 0.2].",
)
@click.option("--seed", default=0, show_default=True, help="Draws these pictures; the same seed draws the same.")
@click.option("--boxes-only", is_flag=True, help="Leave out points, lines and masks instead of refusing the export.")
def convert(*, source: str, destination: Path, validation: float | None, seed: int, boxes_only: bool) -> None:
    """Make a data set for YOLOv5 of a COCO, Pascal VOC, CVAT, Label Studio or Darknet export.

    Boxes are counted class by class, in the source and in what was written, and what is left out is named. Nothing is
    overwritten.
    """
    from masktrain_trainer.local.convert import ConvertOptions, convert_dataset  # noqa: PLC0415

    with exit_on_error("data convert"):
        options = ConvertOptions(validation, seed, boxes_only)
        convert_dataset(source, destination, options, lambda line: click.echo(printable(line)))


@click.command()
@click.argument("manifest", metavar="JOB.YAML", type=click.Path(path_type=Path))
@click.option("--data", help=_DATA)
@click.option(
    "--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Like training.imageSize=320; repeatable."
)
@click.option("--endpoint", help="URL of the store [default: the manifest's, else the cloud's own].")
def preflight(*, manifest: Path, data: str | None, assignments: tuple[str, ...], endpoint: str | None) -> None:
    """Check a job's data set and weights, and comment on its settings, without training."""
    from masktrain_trainer.local.job import JobOptions  # noqa: PLC0415
    from masktrain_trainer.local.training import check_job  # noqa: PLC0415

    with exit_on_error("preflight"):
        check_job(JobOptions(manifest, data, None, endpoint, assignments), click.echo)


@click.command()
@click.argument("manifest", metavar="JOB.YAML", type=click.Path(path_type=Path))
@click.option("--data", help=_DATA)
@click.option("--output", help="Folder or URI for checkpoints and results [default: runs/ beside JOB.YAML].")
@click.option("--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Like training.epochs=3; repeatable.")
@click.option("--endpoint", help="URL of the store [default: the manifest's, else the cloud's own].")
def train(
    *, manifest: Path, data: str | None, output: str | None, assignments: tuple[str, ...], endpoint: str | None
) -> None:
    """Train a MaskTrainingJob on this machine, without a cluster.

    Ctrl-C stops with a checkpoint stored, and the same command goes on from there. Credentials of s3:// URIs come from
    the AWS_* variables, those of oci:// URIs from Oracle's config file.
    """
    from masktrain_trainer.local.job import JobOptions  # noqa: PLC0415
    from masktrain_trainer.local.training import train_locally  # noqa: PLC0415

    with exit_on_error("train"):
        sys.exit(train_locally(JobOptions(manifest, data, output, endpoint, assignments), click.echo))


@click.command()
def supervise() -> None:
    """Run this pod's part of a training job (what the trainer container starts)."""
    from masktrain_trainer.pod.supervisor import supervise as run  # noqa: PLC0415

    sys.exit(run())
