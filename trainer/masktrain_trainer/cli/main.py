"""The `masktrain` command: a table of commands, each of them a module that is imported when it is asked for.

No such module imports torch at its top: the supervisor must start without it, and so must the help.
"""

from importlib import import_module
from importlib.metadata import version

import click

from .plugins import PluginGroup

COMMANDS = ("data", "detect", "export", "models", "preflight", "supervise", "train", "val")
"""Modules of this package; each has a click command of the same name."""


class CommandTable(PluginGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """The table's commands and the plugins'."""
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command of the table wins over a plugin of its name."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        command = getattr(import_module(f"{__package__}.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("masktrain"), prog_name="masktrain")
def main() -> None:
    """Train YOLOv5 detectors on Kubernetes or on this machine, and use what they learnt."""


if __name__ == "__main__":
    main()
