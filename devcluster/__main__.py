"""The command line: `python -m devcluster`."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from devcluster.programs.build import ensure_binaries, ensure_interfaces

from .cluster import NODE_GRACE_SECONDS, Cluster, ClusterError, ClusterSettings
from .images import ImageError, python_image
from .lifecycle import down, objection, up
from .nodes import NodeSpec

cluster_name = click.option("--name", default="dev", show_default=True, help="Which cluster.")


@click.group(help="A real Kubernetes cluster on this machine, in namespaces of its own.")
def commands() -> None:
    """Refuse machines that cannot run it."""
    refusal = objection()
    if refusal:
        click.echo(refusal, err=True)
        sys.exit(2)


@commands.command("up")
@cluster_name
@click.option("--nodes", default=2, show_default=True, type=click.IntRange(0, 100), help="GPU nodes.")
@click.option("--gpus-per-node", default=1, show_default=True, type=click.IntRange(1, 16))
@click.option("--control-plane-only", is_flag=True, help="Only etcd and the API server.")
@click.option("--node-grace-seconds", default=NODE_GRACE_SECONDS, show_default=True, help="Silence before NotReady.")
def up_command(name: str, nodes: int, gpus_per_node: int, control_plane_only: bool, node_grace_seconds: int) -> None:
    """Start a cluster; a running one is left as it is."""
    if control_plane_only:
        settings = ClusterSettings(control_plane_only=True, node_grace_seconds=node_grace_seconds)
    else:
        settings = ClusterSettings.with_gpu_nodes(nodes, gpus_per_node, node_grace_seconds=node_grace_seconds)
    cluster = up(name, settings)
    click.echo(f"Cluster {name!r} runs. Use it with: eval $(python -m devcluster env --name {name})")
    click.echo(f"KUBECONFIG={cluster.kubeconfig}")


@commands.command("down")
@cluster_name
def down_command(name: str) -> None:
    """End a cluster and remove every trace of it."""
    click.echo(f"Cluster {name!r} is gone." if down(name) else f"Cluster {name!r} was not there.")


@commands.command()
@cluster_name
def status(name: str) -> None:
    """Show the daemons, machines and images of a cluster."""
    cluster = Cluster.attach(name)
    table = Table("part", "state", "log")
    for daemon in cluster.daemons.names():
        state = "running" if cluster.daemons.alive(daemon) else "[red]ended"
        table.add_row(daemon, state, str(cluster.daemons.log(daemon)))
    for image in cluster.images.images():
        table.add_row(f"image {image.name}", "offered", "")
    Console().print(table)


@commands.command()
@cluster_name
def env(name: str) -> None:
    """Print shell exports: cluster, object store, and a PATH with kubectl and helm."""
    cluster = Cluster.attach(name)
    for variable, value in cluster.environment.items():
        click.echo(f"export {variable}={shlex.quote(value)}")
    click.echo(f'export PATH={shlex.quote(str(cluster.programs))}:"$PATH"')


@commands.command()
def binaries() -> None:
    """Build the cluster's programs into the cache."""
    folder = ensure_binaries()
    ensure_interfaces(folder)
    click.echo(folder)


@commands.command()
@cluster_name
@click.argument("argv", nargs=-1)
def shell(name: str, argv: tuple[str, ...]) -> None:
    """Run a command (default: a shell) inside the cluster's namespaces."""
    cluster = Cluster.attach(name)
    command = cluster.namespaces.command(*(argv or ("sh",)))
    sys.exit(subprocess.run(command, env={**os.environ, **cluster.environment}, check=False).returncode)


@commands.group()
def node() -> None:
    """Add, remove or kill machines of a running cluster."""


@node.command("add")
@cluster_name
@click.argument("node_name")
@click.option("--gpus", default=1, show_default=True, type=click.IntRange(0, 16))
@click.option("--shape", default="VM.GPU3.2", show_default=True)
def node_add(name: str, node_name: str, gpus: int, shape: str) -> None:
    """Switch a machine on and wait until it is Ready."""
    Cluster.attach(name).add_node(NodeSpec(node_name, gpus, shape))


@node.command("remove")
@cluster_name
@click.argument("node_name")
def node_remove(name: str, node_name: str) -> None:
    """End a machine and delete its Node."""
    Cluster.attach(name).remove_node(node_name)


@node.command("kill")
@cluster_name
@click.argument("node_name")
def node_kill(name: str, node_name: str) -> None:
    """Let a machine vanish at once, as by a power cut."""
    Cluster.attach(name).kill_node(node_name)


@commands.group()
def image() -> None:
    """The images that the nodes can pull."""


@image.command("add")
@cluster_name
@click.argument("image_name")
@click.option("--env", "environment", required=True, type=click.Path(path_type=Path), help="A virtual environment.")
@click.option("--entrypoint", default="[]", help="A program, or a JSON list of strings.")
def image_add(name: str, image_name: str, environment: Path, entrypoint: str) -> None:
    """Offer a Python environment of this machine as an image."""
    words = json.loads(entrypoint) if entrypoint.startswith("[") else shlex.split(entrypoint)
    Cluster.attach(name).add_image(python_image(image_name, environment, tuple(words)))


def main() -> None:
    """Run; what the user can act on comes as one sentence."""
    try:
        commands(prog_name="python -m devcluster")
    except (ClusterError, ImageError, ValueError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
