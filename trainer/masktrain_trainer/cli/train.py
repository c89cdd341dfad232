"""`masktrain train`: a MaskTrainingJob on this machine."""

import sys
from pathlib import Path

import click

from .refusal import refusals


@click.command()
@click.argument("manifest", metavar="JOB.YAML", type=click.Path(path_type=Path))
@click.option("--data", help="Data set to train on instead of dataset.uri: a folder, a zip, or a URI.")
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
    from masktrain_trainer.local.job import Request  # noqa: PLC0415
    from masktrain_trainer.local.training import train_locally  # noqa: PLC0415

    with refusals("train"):
        sys.exit(train_locally(Request(manifest, data, output, endpoint, assignments), click.echo))
