"""What the terminal shows while a job trains: the job's status and the nodes that are paid for."""

import json
import time
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table

from devcluster.cluster import Cluster, ClusterError

from .stage import NAMESPACE, POOL, console

DEADLINE_SECONDS = 3600
POLL_SECONDS = 2
COLUMNS = ("state", "attempt", "epoch", "images/s", "box loss", "mAP50", "mAP50-95", "restarts", "time left", "USD")


def watch(cluster: Cluster, job: str) -> dict[str, Any]:
    """Show the job's status until it is Complete or Failed; the last status. Raises ClusterError past the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    with Live(console=console, refresh_per_second=2) as live:
        while time.monotonic() < deadline:
            status = read_status(cluster, "mtj", job)
            nodes = node_table(read_status(cluster, "gnp", POOL))
            live.update(Group(progress_table(job, status), *condition_lines(status), nodes))
            if is_true(status, "Complete") or is_true(status, "Failed"):
                return status
            time.sleep(POLL_SECONDS)
    raise ClusterError(f"The job did not end within {DEADLINE_SECONDS} s; see `kubectl describe mtj {job}`.")


def watch_nodes_go(cluster: Cluster, seconds: float) -> dict[str, Any]:
    """Show the node pool until it is empty; its last status. Raises ClusterError after `seconds`."""
    deadline = time.monotonic() + seconds
    with Live(console=console, refresh_per_second=2) as live:
        while time.monotonic() < deadline:
            status = read_status(cluster, "gnp", POOL)
            live.update(node_table(status))
            if not status.get("nodes") and not status.get("size"):
                return status
            time.sleep(POLL_SECONDS)
    raise ClusterError(f"Nodes are left after {seconds:.0f} s; see `kubectl describe gnp {POOL}`.")


def read_status(cluster: Cluster, kind: str, name: str) -> dict[str, Any]:
    """The status as the API server has it; empty before the operator's first write."""
    body = json.loads(cluster.kubectl("get", kind, name, "--namespace", NAMESPACE, "--output", "json"))
    status: dict[str, Any] = body.get("status", {})
    return status


def progress_table(job: str, status: dict[str, Any]) -> Table:
    """One row: where training stands."""
    progress = status.get("progress", {})
    table = Table(*COLUMNS, title=f"MaskTrainingJob {NAMESPACE}/{job}")
    epochs = progress.get("epochs")
    # Counted from 0, and once all are done it is the number of the one that would follow.
    epoch = f"{min(progress['epoch'] + 1, epochs)} / {epochs}" if epochs else "–"
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
        status.get("cost", {}).get("amount", "–"),
    )
    return table


def node_table(status: dict[str, Any]) -> Table:
    """One row per instance that is paid for."""
    size, cost = status.get("size", 0), status.get("cost", {}).get("amount", "0")
    table = Table("node", "state", "USD so far", title=f"GPUNodePool {POOL}: {size} nodes, {cost} USD")
    for node in status.get("nodes", []):
        table.add_row(node.get("name", node["instanceId"][-12:]), node["state"], node.get("cost", "–"))
    return table


def condition_lines(status: dict[str, Any]) -> list[str]:
    """The conditions that hold, with their sentences."""
    holding = [condition for condition in status.get("conditions", []) if condition["status"] == "True"]
    return [f"{condition['type']}: {condition['message']}" for condition in holding]


def is_true(status: dict[str, Any], condition_type: str) -> bool:
    """Whether the condition holds."""
    return any(c["type"] == condition_type and c["status"] == "True" for c in status.get("conditions", []))
