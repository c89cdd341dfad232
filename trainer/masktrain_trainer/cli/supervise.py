"""`masktrain supervise`: what the trainer container starts."""

import sys

import click


@click.command()
def supervise() -> None:
    """Run this pod's part of a training job (what the trainer container starts)."""
    from masktrain_trainer.train.supervisor import supervise as run  # noqa: PLC0415

    sys.exit(run())
