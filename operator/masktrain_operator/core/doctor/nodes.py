"""What nodes need before a gang can run there: a plugin that shows their GPUs, a driver, and room on their disks."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.shapes import Gpu, TrainerImage, find_shape, image_for

from .findings import Check, Finding, Level, NotSeen, unseen
from .pools import has_no_driver
from .seen import GIB, OracleView, Seen, SeenNode, SeenPlugin, StorageNeeds, pool_name

DRIVER_LABELS = ("nvidia.com/cuda.driver-version.full", "nvidia.com/cuda.driver")
"""Of NVIDIA's GPU feature discovery, written whole; it also writes the parts of it, under either name."""
DRIVER_PARTS = (
    ("nvidia.com/cuda.driver-version.major", "nvidia.com/cuda.driver-version.minor"),
    ("nvidia.com/cuda.driver.major", "nvidia.com/cuda.driver.minor"),
)
DRIVER_REVISIONS = ("nvidia.com/cuda.driver-version.revision", "nvidia.com/cuda.driver.rev")
ADDON = "NvidiaGpuPlugin"
_PLUGINS = {
    "AMD": re.compile(r"amd-?gpu.*device-?plugin|rocm/k8s-device-plugin"),
    "NVIDIA": re.compile(r"nvidia.*device-?plugin"),
}
_DRIVER_SETS = re.compile(r"nvidia-driver-daemonset|nvidia-gpu-driver")
RESOURCES = {"NVIDIA": "nvidia.com/gpu", "AMD": "amd.com/gpu"}
NEW_SECONDS = 600
"""A node that has just joined may not have its GPUs yet."""


def plugin_maker(name: str, images: Sequence[str]) -> str | None:
    """Whose GPUs the DaemonSet shows to Kubernetes, if that is what it is for. By its name or its images."""
    text = " ".join((name, *images)).lower()
    return next((maker for maker, pattern in _PLUGINS.items() if pattern.search(text)), None)


def brings_driver(name: str) -> bool:
    """Whether the DaemonSet is that of NVIDIA's GPU Operator that installs drivers."""
    return _DRIVER_SETS.search(name.lower()) is not None


DRIVER_INSTALLER = "driver installer"


def driver_of(labels: Mapping[str, str]) -> str | None:
    """The version that a node's labels name, if any do."""
    whole = next((labels[label] for label in DRIVER_LABELS if labels.get(label)), None)
    if whole is not None:
        return whole
    for (major, minor), revision in zip(DRIVER_PARTS, DRIVER_REVISIONS, strict=True):
        if labels.get(major):
            parts = (labels[major], labels.get(minor), labels.get(revision))
            return ".".join(part for part in parts if part)
    return None


def node_findings(seen: Seen, pool: GPUNodePool, needs: StorageNeeds) -> Iterator[Finding]:
    """Of one pool."""
    yield _device_plugin(seen, pool)
    yield from _drivers(seen, pool)
    yield _storage(seen, pool, needs)


def _device_plugin(seen: Seen, pool: GPUNodePool) -> Finding:
    about, maker = pool_name(pool), _maker(seen, pool)
    nodes = [node for node in seen.nodes_of(pool) if node.ready]
    resource = RESOURCES[maker]
    bare = [node for node in nodes if node.gpus == 0]
    if nodes and not bare:
        return Finding(Check.DEVICE_PLUGIN, about, Level.OK, f"all {len(nodes)} ready nodes show {resource}")
    # A node that shows GPUs is proof enough, whatever its plugin is called.
    if not any(node.gpus for node in nodes) and (lacking := _plugin_missing(seen, pool, maker)) is not None:
        return lacking
    if not bare:
        return Finding(
            Check.DEVICE_PLUGIN, about, Level.OK, f"{_plugin_name(seen, maker)} is there for nodes that come"
        )
    names = ", ".join(node.name for node in bare)
    if all(seen.now - node.ready_changed < timedelta(seconds=NEW_SECONDS) for node in bare):
        said = f"{names} became ready a moment ago and shows no {resource} yet"
        return Finding(Check.DEVICE_PLUGIN, about, Level.WARNING, said, "Look again in ten minutes.")
    return Finding(
        Check.DEVICE_PLUGIN,
        about,
        Level.FAULT,
        f"{names} is ready and shows no {resource}",
        "Look at the plugin's pod on that node; most often the image has no driver, or the plugin does not tolerate a "
        "taint of the pool.",
        (f"kubectl get pods -A -o wide --field-selector spec.nodeName={bare[0].name}",),
    )


def _maker(seen: Seen, pool: GPUNodePool) -> str:
    oke = seen.oracle_pool(pool)
    shape = None if oke is None else find_shape(oke.shape)
    return "NVIDIA" if shape is None else shape.chip.maker


def _plugin_missing(seen: Seen, pool: GPUNodePool, maker: str) -> Finding | None:
    """None if one is there."""
    about, addon = pool_name(pool), _addon(seen.oracle.get(pool.metadata.name))
    if isinstance(seen.plugins, NotSeen):
        if addon == "ACTIVE" and maker == "NVIDIA":
            return Finding(Check.DEVICE_PLUGIN, about, Level.OK, f"add-on {ADDON} is active")
        return unseen(Check.DEVICE_PLUGIN, about, seen.plugins)
    if _plugins(seen.plugins, maker):
        return None
    state = f"; the cluster's add-on {ADDON} is {addon}" if addon else ""
    said = f"no DaemonSet shows the GPUs of {maker} to Kubernetes{state}: nodes would cost and run nothing"
    if maker != "NVIDIA":
        return Finding(Check.DEVICE_PLUGIN, about, Level.FAULT, said, "Install AMD's device plugin.")
    return Finding(
        Check.DEVICE_PLUGIN,
        about,
        Level.FAULT,
        said,
        "Install Oracle's add-on with a version that you choose (enhanced clusters), or NVIDIA's plugin, not both.",
        (_install_addon(seen, pool),),
    )


def _install_addon(seen: Seen, pool: GPUNodePool) -> str:
    oke = seen.oracle_pool(pool)
    cluster = "<OCID of the OKE cluster>" if oke is None else oke.cluster_id
    return f"oci ce cluster install-addon --addon-name {ADDON} --cluster-id {cluster} --version <version>"


def _addon(view: OracleView | None) -> str | None:
    """Its state, if it is installed and the add-ons could be seen."""
    cluster = None if view is None else view.cluster
    return None if cluster is None or isinstance(cluster, NotSeen) else cluster.addons.get(ADDON)


def _plugins(plugins: Sequence[SeenPlugin], maker: str) -> list[SeenPlugin]:
    return [plugin for plugin in plugins if plugin.maker == maker]


def _plugin_name(seen: Seen, maker: str) -> str:
    found = () if isinstance(seen.plugins, NotSeen) else _plugins(seen.plugins, maker)
    return f"DaemonSet {found[0].namespace}/{found[0].name}" if found else f"a plugin for {maker}"


Version = tuple[int, ...]
LEAST_OF_CUDA: Mapping[int, Version] = {12: (525, 60, 13), 13: (580,)}
"""Of any toolkit of that major version, by minor version compatibility:
https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"""
FULL_OF_CUDA: Mapping[tuple[int, int], Version] = {(12, 8): (570,), (13, 0): (580,)}
"""The branch that came with the toolkit; with an older one what is compiled as it runs may fail."""
LAST_BRANCH_FOR_VOLTA = 580
"""https://docs.nvidia.com/datacenter/tesla/drivers/cuda-toolkit-driver-and-architecture-matrix.html"""


def version_of(text: str) -> Version | None:
    """550.90.07 as numbers."""
    return tuple(map(int, text.split("."))) if re.fullmatch(r"\d+(\.\d+)*", text) else None


def judge_driver(driver: str, chip: Gpu, image: TrainerImage) -> tuple[Level, str]:
    """What is to be thought of it, and why, as the end of a sentence."""
    version = version_of(driver)
    if version is None:
        return Level.UNKNOWN, "cannot be read as a version"
    cuda = ".".join(map(str, image.cuda))
    least = max(LEAST_OF_CUDA[image.cuda[0]], version_of(chip.driver or "") or (0,))
    full = FULL_OF_CUDA[image.cuda]
    if version < least:
        return Level.FAULT, f"is too old for CUDA {cuda} on this GPU, which takes {_dotted(least)} or newer"
    if chip.capability == (7, 0) and version[0] > LAST_BRANCH_FOR_VOLTA:
        return Level.FAULT, f"no longer drives a V100: branch {LAST_BRANCH_FOR_VOLTA} is the last one that does"
    if version < full:
        return Level.WARNING, f"runs CUDA {cuda} by minor version compatibility only; {_dotted(full)} came with it"
    return Level.OK, f"is new enough for CUDA {cuda}"


def _dotted(version: Version) -> str:
    return ".".join(f"{part:02}" if place else str(part) for place, part in enumerate(version))


def _drivers(seen: Seen, pool: GPUNodePool) -> Iterator[Finding]:
    about, oke = pool_name(pool), seen.oracle_pool(pool)
    shape = None if oke is None else find_shape(oke.shape)
    image = None if shape is None else image_for(shape.chip)
    if oke is None or shape is None or image is None:
        # What is wrong with the shape is said among the prices; of one that nobody knows nothing can be said.
        return
    nodes = seen.nodes_of(pool)
    plugins = () if isinstance(seen.plugins, NotSeen) else seen.plugins
    if has_no_driver(oke.image) and not _plugins(plugins, DRIVER_INSTALLER) and not any(node.gpus for node in nodes):
        advice = "Choose one of Oracle's images with Gen2-GPU in the name, or let NVIDIA's GPU Operator install one."
        said = f"image {oke.image} has no NVIDIA driver, and nothing in the cluster installs one"
        yield Finding(Check.DRIVERS, about, Level.FAULT, said, advice)
        return
    by_driver = defaultdict[str | None, list[SeenNode]](list)
    for node in nodes:
        by_driver[node.driver].append(node)
    for those in by_driver.values():
        yield _driver(about, those, shape.chip, image, oke.image)
    if not nodes:
        cuda = ".".join(map(str, image.cuda))
        said = f"no node of image {oke.image} stands, so its driver is not seen; CUDA {cuda} takes one"
        said += f" from {_dotted(LEAST_OF_CUDA[image.cuda[0]])} on"
        yield Finding(Check.DRIVERS, about, Level.UNKNOWN, said, "Look again while a job runs there.")


def _driver(about: str, nodes: Sequence[SeenNode], chip: Gpu, image: TrainerImage, source: str) -> Finding:
    """Of nodes with one driver, which came with the node pool's image `source`."""
    names, driver = ", ".join(node.name for node in nodes), nodes[0].driver
    if driver is None:
        said = f"{names}: no label names the driver of image {source}"
        advice = "Install NVIDIA's GPU feature discovery, or ask a pod that runs there."
        command = "kubectl exec <pod with a GPU on that node> -- nvidia-smi --query-gpu=driver_version --format=csv"
        return Finding(Check.DRIVERS, about, Level.UNKNOWN, said, advice, (command,))
    level, reason = judge_driver(driver, chip, image)
    advice = (
        "" if level is Level.OK else "Choose an image with another driver for the node pool, and replace the nodes."
    )
    return Finding(Check.DRIVERS, about, level, f"{names}: driver {driver} of image {source} {reason}", advice)


def _storage(seen: Seen, pool: GPUNodePool, storage: StorageNeeds) -> Finding:
    """The image is unpacked on the same disk as the pods' data."""
    about, nodes = pool_name(pool), seen.nodes_of(pool)
    if isinstance(seen.nodes, NotSeen):
        return unseen(Check.STORAGE, about, seen.nodes)
    measured = [node for node in nodes if node.allocatable_bytes is not None]
    needed = storage.image_gib + storage.data_gib
    needs = f"{needed:g} GiB are needed: {storage.image_gib:g} for the image, {storage.data_gib:g} for data and cache"
    if not measured:
        said = "no node stands" if not nodes else "the nodes report no ephemeral-storage"
        return Finding(Check.STORAGE, about, Level.UNKNOWN, f"{said}; {needs}")
    small = [node for node in measured if (node.allocatable_bytes or 0) < needed * GIB]
    if not small:
        least = min(node.allocatable_bytes or 0 for node in measured) / GIB
        return Finding(Check.STORAGE, about, Level.OK, f"at least {least:.0f} GiB on each node; {needs}")
    have = ", ".join(f"{node.name} {(node.allocatable_bytes or 0) / GIB:.0f} GiB" for node in small)
    advice = "Give the node pool a larger boot volume and grow it in cloud-init, or say what you need: --data-gib."
    return Finding(Check.STORAGE, about, Level.FAULT, f"too small: {have}; {needs}", advice)
