"""Commands on the way to a model: `data`, `preflight`, `train` and `supervise`."""

import sys
from pathlib import Path

import click

from masktrain_trainer.errors import printable

from .exit_on_error import exit_on_error

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
def push(*, places: tuple[str, ...], endpoint: str | None, replace: bool) -> None:
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
        if source is None or source == "-":
            link = given_link(None, _typed_link() if source else "")
            pushed = push_link(link, uri, endpoint, replace=replace, say=say)
        elif source.startswith("https://"):
            pushed = push_link(given_link(source, ""), uri, endpoint, replace=replace, say=say)
        else:
            pushed = push_dataset(Path(source), uri, endpoint, replace=replace, say=say)
        click.echo(as_block(pushed), nl=False)


def _typed_link() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Download link (not shown)", hide_input=True, err=True))
    return sys.stdin.buffer.read(1 << 16).decode(errors="replace")


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
