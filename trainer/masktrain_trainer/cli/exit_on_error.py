"""From errors to exit codes: a command that cannot work says one sentence on standard error and ends with a code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from masktrain_trainer.errors import MaskTrainError

_IN_CLUSTER = "set the store's credentialsSecretRef"
_HERE = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
"""What a person does about missing credentials: in a cluster, and here."""

FAILED = 1
"""Exit code of what may work next time."""


@contextmanager
def exit_on_error(command: str) -> Iterator[None]:
    """Exit with 64 if the input cannot work and with 1 if a store or the disk failed; a bug keeps its traceback."""
    try:
        yield
    except MaskTrainError as error:
        _leave(command, error, error.exit_code)
    except OSError as error:
        _leave(command, _sentence(error), FAILED)


def _sentence(error: OSError) -> str:
    place = str(error.filename or "A file")
    return f"{place} cannot be read or written: {error.strerror}." if error.strerror else str(error)


def _leave(command: str, error: Exception | str, code: int) -> NoReturn:
    click.echo(f"masktrain {command}: {error}".replace(_IN_CLUSTER, _HERE), err=True)
    sys.exit(code)
