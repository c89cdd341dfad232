"""`make demo`: the whole product on a cluster of this machine, from nothing to a verified best.pt.

Starts a dev cluster with two GPU nodes, installs the chart, draws a data set, applies `job.yaml`, shows its status
while it trains, and ends with what is in the bucket and a picture with detections. `down` removes all of it.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from examples.masks.build import build_dataset
from tests.devcluster import lifecycle
from tests.devcluster.cluster import Cluster, ClusterError, ClusterSettings
from tests.devcluster.install import install_operator, provide_store, s3_client
from tests.devcluster.machine import objection
from tests.devcluster.progress import step

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
RESULTS = REPOSITORY / ".demo"
CLUSTER = "demo"
NAMESPACE = "vision"
JOB = "masks"
DEADLINE_SECONDS = 3600
POLL_SECONDS = 2
COLUMNS = ("state", "attempt", "epoch", "images/s", "box loss", "mAP50", "mAP50-95", "restarts", "time left")

console = Console(highlight=False)


@click.group()
def commands() -> None:
    """Refuse machines that cannot run it."""
    refusal = objection()
    if refusal:
        click.echo(refusal, err=True)
        sys.exit(2)


@commands.command()
@click.option("--epochs", type=click.IntRange(1), default=None, help="Train longer or shorter than job.yaml says.")
def up(epochs: int | None) -> None:
    """Run the demo."""
    start = time.monotonic()
    cluster = lifecycle.up(CLUSTER, ClusterSettings.with_gpu_nodes(2, 1))
    install_operator(cluster)
    with step("Data set: 500 drawn images of faces with and without masks"):
        archive = build_dataset(RESULTS / "masks.zip")
    with step("Buckets, credentials and data set in the object store"):
        provide_store(cluster, NAMESPACE, {"masks.zip": archive})
    apply_job(cluster, epochs)
    status = watch(cluster)
    show_ending(cluster, status)
    if not is_true(status, "Complete"):
        sys.exit(1)
    picture = detect(cluster)
    show_where_to_look(cluster, picture, time.monotonic() - start)


@commands.command()
def down() -> None:
    """Remove the cluster and the demo's files."""
    lifecycle.down(CLUSTER)
    shutil.rmtree(RESULTS, ignore_errors=True)
    click.echo("The demo's cluster and files are gone.")


def apply_job(cluster: Cluster, epochs: int | None) -> None:
    """Apply job.yaml; one of an earlier demo run on the same cluster goes first."""
    cluster.kubectl("delete", "mtj", JOB, "--namespace", NAMESPACE, "--ignore-not-found", "--cascade=foreground")
    manifest = HERE / "job.yaml"
    if epochs is not None:
        manifest = write_with_epochs(manifest, epochs)
    console.print(f"$ kubectl apply -f {manifest.relative_to(REPOSITORY)}")
    console.print(cluster.kubectl("apply", "--namespace", NAMESPACE, "-f", str(manifest)).strip())


def write_with_epochs(manifest: Path, epochs: int) -> Path:
    """A copy of the job among the demo's files with another length."""
    job = yaml.safe_load(manifest.read_text())
    job["spec"]["training"]["epochs"] = epochs
    copy = RESULTS / manifest.name
    copy.write_text(yaml.safe_dump(job, sort_keys=False))
    return copy


def watch(cluster: Cluster) -> dict[str, Any]:
    """Show the job's status until it is Complete or Failed; the last status. Raises ClusterError past the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    with Live(console=console, refresh_per_second=2) as live:
        while time.monotonic() < deadline:
            status = read_status(cluster)
            live.update(Group(progress_table(status), *condition_lines(status)))
            if is_true(status, "Complete") or is_true(status, "Failed"):
                return status
            time.sleep(POLL_SECONDS)
    raise ClusterError(f"The job did not end within {DEADLINE_SECONDS} s; see `kubectl describe mtj {JOB}`.")


def read_status(cluster: Cluster) -> dict[str, Any]:
    """The job's status as the API server has it; empty before the operator's first write."""
    job = json.loads(cluster.kubectl("get", "mtj", JOB, "--namespace", NAMESPACE, "--output", "json"))
    status: dict[str, Any] = job.get("status", {})
    return status


def progress_table(status: dict[str, Any]) -> Table:
    """One row: where training stands."""
    progress = status.get("progress", {})
    table = Table(*COLUMNS, title=f"MaskTrainingJob {NAMESPACE}/{JOB}")
    epoch = f"{progress['epoch'] + 1} / {progress['epochs']}" if progress.get("epochs") else "–"
    seconds = progress.get("etaSeconds")
    table.add_row(
        status.get("state", "–"),
        str(status.get("attempt", "–")),
        epoch,
        progress.get("imagesPerSecond", "–"),
        progress.get("losses", {}).get("box", "–"),
        progress.get("mAP50", "–"),
        progress.get("mAP50_95", "–"),
        str(status.get("restarts", {}).get("total", 0)),
        f"{seconds} s" if seconds is not None else "–",
    )
    return table


def condition_lines(status: dict[str, Any]) -> list[str]:
    """The conditions that hold, with their sentences."""
    holding = [condition for condition in status.get("conditions", []) if condition["status"] == "True"]
    return [f"{condition['type']}: {condition['message']}" for condition in holding]


def is_true(status: dict[str, Any], condition_type: str) -> bool:
    """Whether the condition holds."""
    return any(c["type"] == condition_type and c["status"] == "True" for c in status.get("conditions", []))


def show_ending(cluster: Cluster, status: dict[str, Any]) -> None:
    """Print the status, the events that led to it and the bucket's objects."""
    console.rule("status")
    console.print_json(data={key: status[key] for key in status if key != "conditions"})
    console.rule("events")
    console.print(cluster.kubectl("events", "--namespace", NAMESPACE, "--for", f"mtj/{JOB}").strip(), soft_wrap=True)
    console.rule("objects in the bucket `checkpoints`")
    for found in s3_client(cluster).list_objects_v2(Bucket="checkpoints").get("Contents", []):
        console.print(f"{found['Size']:>10}  {found['Key']}")


def detect(cluster: Cluster) -> Path:
    """Run the detector with the job's best.pt on one validation picture that it never trained on."""
    weights = RESULTS / "best.pt"
    s3_client(cluster).download_file("checkpoints", f"{NAMESPACE}/{JOB}/best.pt", str(weights))
    shutil.unpack_archive(RESULTS / "masks.zip", RESULTS / "dataset")
    source = min((RESULTS / "dataset/valid/images").iterdir())
    paths = {"--weights": weights, "--source": source, "--output": RESULTS / "detections"}
    command = ["masktrain", "detect", *(str(word) for pair in paths.items() for word in pair)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with step("Detection with the trained best.pt"):
        subprocess.run(command, check=True, env=environment)
    return RESULTS / "detections" / source.name


def show_where_to_look(cluster: Cluster, picture: Path, seconds: float) -> None:
    """Say what to try next."""
    console.rule(f"done in {seconds / 60:.1f} minutes")
    console.print(f"Detections drawn: {picture.relative_to(REPOSITORY)}\n")
    console.print("Look around:")
    console.print(f"  export KUBECONFIG={cluster.kubeconfig} PATH={cluster.programs}:$PATH", soft_wrap=True)
    for line in (
        f"kubectl -n {NAMESPACE} get mtj -o wide",
        f"kubectl -n {NAMESPACE} describe mtj {JOB}",
        f"kubectl -n {NAMESPACE} logs job/{JOB}-0",
        "kubectl -n masktrain-system logs deploy/masktrain-operator",
        "make demo-down",
    ):
        console.print(f"  {line}")


if __name__ == "__main__":
    try:
        commands(prog_name="make")
    except ClusterError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
