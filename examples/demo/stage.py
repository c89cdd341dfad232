"""What the demo sets up before anything is trained: cluster, cloud, operator, data set, node pool, job."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import yaml
from rich.console import Console

from devcluster import lifecycle
from devcluster.cloud import Cloud, CloudSettings, is_cloudy, start_cloud
from devcluster.cluster import Cluster, ClusterSettings
from devcluster.install import install_operator, provide_oracle_key, provide_store
from devcluster.oracle.pools import PoolSettings
from devcluster.progress import step
from examples.masks.build import build_dataset as draw_masks
from examples.trees.build import build_dataset as cut_trees

FOLDER = Path(__file__).parents[1]
REPOSITORY = FOLDER.parent
RESULTS = REPOSITORY / ".demo"
CLUSTER = "demo"
NAMESPACE = "vision"
POOL = "v100"
NODE_POOL = PoolSettings(id="ocid1.nodepool.oc1.iad.demo", shape="VM.GPU3.1", gpus=1, boot_seconds=2, delete_seconds=2)

console = Console(highlight=False)


@dataclasses.dataclass(frozen=True)
class Example:
    """A folder of `examples/` with a job.yaml, whose MaskTrainingJob is called like the folder."""

    name: str
    dataset: str
    """What its data set is, in words."""
    build: Callable[[Path], Path]

    @property
    def job(self) -> Path:
        return FOLDER / self.name / "job.yaml"

    @property
    def archive(self) -> Path:
        return RESULTS / f"{self.name}.zip"


EXAMPLES = {
    example.name: example
    for example in (
        Example("masks", "500 drawn images of faces with and without masks", draw_masks),
        Example("trees", "71 tiles of aerial photographs of trees", cut_trees),
    )
}


def set_up(example: Example) -> Cluster:
    """Everything but the node pool and the job. The data set is built while the cluster starts."""
    with ProcessPoolExecutor(1) as builder:
        building = builder.submit(example.build, example.archive)
        cluster = lifecycle.up(CLUSTER, ClusterSettings.with_gpu_nodes(0, 1))
        install(cluster)
        with step(f"Data set: {example.dataset} (begun with the cluster)"):
            archive = building.result()
    with step("Buckets, credentials and data set in the object store"):
        provide_store(cluster, NAMESPACE, {archive.name: archive})
    return cluster


def install(cluster: Cluster) -> None:
    """The cloud with its empty node pool, the operator, and the key by which the operator may ask for nodes."""
    with step(f"A cloud with an empty node pool of shape {NODE_POOL.shape}"):
        cloud = Cloud(cluster) if is_cloudy(cluster) else start_cloud(cluster, CloudSettings((NODE_POOL,)))
    install_operator(cluster, **{"oci.endpoint": cloud.endpoint_in_cluster})
    provide_oracle_key(cluster, cloud)


def apply_pool(cluster: Cluster) -> None:
    """Hand the cloud's node pool to the operator."""
    _apply(cluster, FOLDER / "node-pool.yaml")


def apply_job(cluster: Cluster, example: Example, epochs: int | None) -> None:
    """Apply job.yaml; one of an earlier demo run on the same cluster goes first."""
    delete = ("delete", "mtj", example.name, "--namespace", NAMESPACE, "--ignore-not-found", "--cascade=foreground")
    cluster.kubectl(*delete)
    _apply(cluster, example.job if epochs is None else write_with_epochs(example.job, epochs))


def write_with_epochs(manifest: Path, epochs: int) -> Path:
    """A copy of the job among the demo's files with another length."""
    job = yaml.safe_load(manifest.read_text())
    job["spec"]["training"]["epochs"] = epochs
    copy = RESULTS / manifest.name
    copy.write_text(yaml.safe_dump(job, sort_keys=False))
    return copy


def _apply(cluster: Cluster, manifest: Path) -> None:
    console.print(f"$ kubectl apply -f {manifest.relative_to(REPOSITORY)}")
    console.print(cluster.kubectl("apply", "--namespace", NAMESPACE, "-f", str(manifest)).strip())
