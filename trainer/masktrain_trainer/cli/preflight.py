"""`masktrain preflight`: data and weights of a job, checked without training."""

from pathlib import Path

import click

from .refusal import refusals


@click.command()
@click.argument("manifest", metavar="JOB.YAML", type=click.Path(path_type=Path))
@click.option("--data", help="Data set to check instead of dataset.uri: a folder, a zip, or a URI.")
@click.option(
    "--set", "assignments", multiple=True, metavar="FIELD=VALUE", help="Like training.imageSize=320; repeatable."
)
@click.option("--endpoint", help="URL of the store [default: the manifest's, else the cloud's own].")
def preflight(*, manifest: Path, data: str | None, assignments: tuple[str, ...], endpoint: str | None) -> None:
    """Check a job's data set and weights, and comment on its settings, without training."""
    from masktrain_trainer.local.job import Request  # noqa: PLC0415
    from masktrain_trainer.local.preflight import check_job  # noqa: PLC0415

    with refusals("preflight"):
        check_job(Request(manifest, data, None, endpoint, assignments), click.echo)
