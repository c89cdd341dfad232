"""The `masktrain` command: a table of commands, each of them imported when it is asked for, and plugins.

No such module imports torch at its top: the supervisor must start without it, and so must the help. Other packages
bring commands by entry points, so that nothing here imports them.
"""

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, version

import click

ENTRY_POINTS = "masktrain.commands"


class PluginGroup(click.Group):
    """A group that also offers the commands of an entry point group, and imports one only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Own commands and the plugins' names."""
        return sorted({*super().list_commands(ctx), *_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """An own command wins over a plugin of its name."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        plugin = _plugins().get(cmd_name)
        return None if plugin is None else _load(plugin)


def _plugins() -> dict[str, EntryPoint]:
    return {plugin.name: plugin for plugin in entry_points(group=ENTRY_POINTS)}


def _load(plugin: EntryPoint) -> click.Command:
    try:
        command = plugin.load()
    except ImportError as error:
        return _unusable(plugin.name, f"{plugin.value} cannot be imported ({error}); install what it needs")
    if not isinstance(command, click.Command):
        return _unusable(plugin.name, f"{plugin.value} is no click command; mend the package that brings it")
    return command


def _unusable(name: str, reason: str) -> click.Command:
    """Stands in for a broken plugin, whose failure must not spoil the help of all others."""

    def fail() -> None:
        raise click.ClickException(f"{name}: {reason}.")

    # Whatever is asked of it, `--help` too, ends in the sentence.
    anything = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    return click.Command(name, callback=fail, short_help="(cannot be used here)", context_settings=anything)


COMMANDS = {
    **dict.fromkeys(("data", "preflight", "supervise", "train"), "training"),
    **dict.fromkeys(("export", "models", "val"), "models"),
    **{name: name for name in ("compare", "detect")},
}
"""The module of this package that holds the click command of that name."""


class LazyGroup(PluginGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """The table's commands and the plugins'."""
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command of the table wins over a plugin of its name."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        # Imported only now, so that `--help` stays fast and free of torch.
        command = getattr(import_module(f"{__package__}.{COMMANDS[cmd_name]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("masktrain"), prog_name="masktrain")
def main() -> None:
    """Train YOLOv5 detectors on Kubernetes or on this machine, and use what they learnt."""


if __name__ == "__main__":
    main()
