"""What the demo shows of a job that has ended: status, events, bucket, detections, bill, and where to look next."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from devcluster.cluster import Cluster
from devcluster.install import s3_client
from devcluster.progress import step

from .screen import watch_nodes_go
from .stage import NAMESPACE, POOL, REPOSITORY, RESULTS, Example, console

EMPTY_POOL_SECONDS = 180


def show_ending(cluster: Cluster, job: str, status: dict[str, Any]) -> None:
    """Print the status, the events that led to it and the bucket's objects."""
    console.rule("status")
    console.print_json(data={key: status[key] for key in status if key != "conditions"})
    console.rule("events")
    _print_events(cluster, NAMESPACE, f"mtj/{job}")
    console.rule("objects in the bucket `checkpoints`")
    for found in s3_client(cluster).list_objects_v2(Bucket="checkpoints").get("Contents", []):
        console.print(f"{found['Size']:>10}  {found['Key']}")


def detect(cluster: Cluster, example: Example) -> Path:
    """Run the detector with the job's best.pt on one validation picture that it never trained on."""
    weights = RESULTS / "best.pt"
    s3_client(cluster).download_file("checkpoints", f"{NAMESPACE}/{example.name}/best.pt", str(weights))
    dataset = RESULTS / example.name
    shutil.unpack_archive(example.archive, dataset)
    source = min((dataset / "valid/images").iterdir())
    paths = {"--weights": weights, "--source": source, "--output": RESULTS / "detections"}
    command = ["masktrain", "detect", *(str(word) for pair in paths.items() for word in pair)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with step("Detection with the trained best.pt"):
        subprocess.run(command, check=True, env=environment)
    return RESULTS / "detections" / source.name


def show_bill(cluster: Cluster) -> None:
    """Wait until the idle nodes are gone, then say what they cost."""
    console.rule("the nodes go")
    cost = watch_nodes_go(cluster, EMPTY_POOL_SECONDS)["cost"]
    console.print()
    _print_events(cluster, "default", f"gnp/{POOL}")
    console.print(
        f"\nThe pool's bill: {cost['gpuSeconds']} GPU seconds, {float(cost['amount']):.2f} USD at list price, "
        f"{float(cost['idleAmount']):.2f} USD of it before, between and after training."
    )


def show_where_to_look(cluster: Cluster, job: str, picture: Path, seconds: float) -> None:
    """Say what to try next."""
    console.rule(f"done in {seconds / 60:.1f} minutes")
    console.print(f"Detections drawn: {picture.relative_to(REPOSITORY)}\n")
    console.print("Look around:")
    console.print(f"  export KUBECONFIG={cluster.kubeconfig} PATH={cluster.programs}:$PATH", soft_wrap=True)
    for line in (
        f"kubectl -n {NAMESPACE} get mtj -o wide",
        f"kubectl -n {NAMESPACE} describe mtj {job}",
        f"kubectl describe gnp {POOL}",
        f"kubectl -n {NAMESPACE} logs job/{job}-0",
        "kubectl -n masktrain-system logs deploy/masktrain-operator",
        "make demo-down",
    ):
        console.print(f"  {line}")


def _print_events(cluster: Cluster, namespace: str, subject: str) -> None:
    console.print(cluster.kubectl("events", "--namespace", namespace, "--for", subject).strip(), soft_wrap=True)
