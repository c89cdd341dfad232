"""`make demo`: the whole product on a cluster of this machine, from nothing to a verified best.pt and no node left.

Starts a dev cluster without GPU nodes and a cloud beside it, installs the chart, builds a data set, applies
`node-pool.yaml` and a job, shows nodes and training while they go on, and ends with what is in the bucket, a picture
with detections, and the bill. `down` removes all of it.
"""

import shutil
import sys
import time

import click

from devcluster import lifecycle
from devcluster.cluster import ClusterError
from devcluster.lifecycle import objection

from .ending import detect, show_bill, show_ending, show_where_to_look
from .screen import is_true, watch
from .stage import CLUSTER, EXAMPLES, RESULTS, apply_job, apply_pool, set_up


@click.group()
def commands() -> None:
    """Refuse machines that cannot run it."""
    refusal = objection()
    if refusal:
        click.echo(refusal, err=True)
        sys.exit(2)


@commands.command()
@click.option("--example", type=click.Choice(sorted(EXAMPLES)), default="masks", show_default=True)
@click.option("--epochs", type=click.IntRange(1), default=None, help="Train longer or shorter than job.yaml says.")
def up(example: str, epochs: int | None) -> None:
    """Run an example."""
    start = time.monotonic()
    cluster = set_up(EXAMPLES[example])
    apply_pool(cluster)
    apply_job(cluster, EXAMPLES[example], epochs)
    status = watch(cluster, example)
    show_ending(cluster, example, status)
    if not is_true(status, "Complete"):
        sys.exit(1)
    picture = detect(cluster, EXAMPLES[example])
    show_bill(cluster)
    show_where_to_look(cluster, example, picture, time.monotonic() - start)


@commands.command()
def down() -> None:
    """Remove the cluster and the demo's files."""
    lifecycle.down(CLUSTER)
    shutil.rmtree(RESULTS, ignore_errors=True)
    click.echo("The demo's cluster and files are gone.")


if __name__ == "__main__":
    try:
        commands(prog_name="make")
    except ClusterError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
