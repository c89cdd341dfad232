"""The operator's command: `masktrain-operator`, or `python -m masktrain_operator`."""

import argparse
import sys

from .shell.sweeper.sweep import add_arguments, sweep


def main() -> None:
    """Run the operator, or with `sweep` stand in for one that is gone."""
    arguments = _parser().parse_args()
    if arguments.command == "sweep":
        sys.exit(sweep(arguments))
    from .shell.controller import run  # noqa: PLC0415 (with kopf, which a sweep does without)

    run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "masktrain-operator",
        usage="%(prog)s [-h] [sweep ...]",
        description="Without a command, runs the operator until it is stopped.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", prog="masktrain-operator")
    about = "remove idle nodes of GPUNodePools in the operator's place if it gives no sign of life"
    add_arguments(commands.add_parser("sweep", help=about, description=f"{about[0].upper()}{about[1:]}."))
    return parser


if __name__ == "__main__":
    main()
