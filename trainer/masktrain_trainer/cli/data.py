"""`masktrain data`: data sets on their way to a store."""

from pathlib import Path

import click

from .refusal import refusals


@click.group()
def data() -> None:
    """Work with data sets."""


@data.command()
@click.argument("source", metavar="DIR_OR_ZIP", type=click.Path(path_type=Path))
@click.argument("uri")
@click.option("--endpoint", help="URL of the store of an s3:// or oci:// URI [default: the cloud's own].")
@click.option("--replace", is_flag=True, help="Overwrite another data set of that name.")
def push(*, source: Path, uri: str, endpoint: str | None, replace: bool) -> None:
    """Check a data set, upload it as a zip to URI, and print the dataset block of a job with its SHA-256.

    A URI that ends with a slash is a folder: the zip in it is called like DIR_OR_ZIP. The block goes to standard
    output, everything else to standard error. Credentials come from the AWS_* variables.
    """
    from masktrain_trainer.local.push import as_block, push_dataset  # noqa: PLC0415

    def say(line: str) -> None:
        click.echo(line, err=True)

    with refusals("data push"):
        click.echo(as_block(push_dataset(source, uri, endpoint, replace=replace, say=say)), nl=False)
