"""Device plugin, drivers and disks."""

from dataclasses import replace
from datetime import timedelta

import pytest

from masktrain_operator.core.doctor.findings import Check, Finding, Level, NotSeen
from masktrain_operator.core.doctor.nodes import (
    DRIVER_INSTALLER,
    FULL_OF_CUDA,
    LEAST_OF_CUDA,
    brings_driver,
    driver_of,
    judge_driver,
    plugin_maker,
)
from masktrain_operator.core.doctor.seen import GIB, SeenCluster, SeenNode, SeenPlugin, StorageNeeds
from masktrain_operator.core.shapes import GPUS, IMAGES
from tests.unit.operator.core.doctor.healthy import (
    GPU_IMAGE,
    NAME,
    NODE,
    NOW,
    ORACLE_POOL,
    PLAIN_IMAGE,
    faults,
    found,
    view,
)

UNSEEN = NotSeen("the API server refuses", "list daemonsets in all namespaces")


def of(check: Check, findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.check is check]


def test_a_node_without_gpus_is_named() -> None:
    (finding,) = faults(nodes=(NODE, replace(NODE, name="oke-2", gpus=0)))

    assert (finding.check, finding.said) == (Check.DEVICE_PLUGIN, "oke-2 is ready and shows no nvidia.com/gpu")
    assert "spec.nodeName=oke-2" in finding.paste[0]


def test_a_node_that_has_just_joined_is_given_time() -> None:
    young = replace(NODE, gpus=0, ready_changed=NOW - timedelta(minutes=2))

    assert faults(nodes=(young,)) == []
    assert [finding.check for finding in found(Level.WARNING, nodes=(young,))] == [Check.DEVICE_PLUGIN]


def test_a_node_that_is_not_ready_says_nothing_about_plugins() -> None:
    assert faults(nodes=(replace(NODE, gpus=0, ready=False),)) == []


@pytest.mark.parametrize("nodes", [(), (replace(NODE, gpus=0),)])
def test_without_a_plugin_the_add_on_is_to_be_installed(nodes: tuple[SeenNode, ...]) -> None:
    (finding,) = faults(nodes=nodes, plugins=(), oracle={NAME: view(cluster=SeenCluster(True, {}))})

    assert "no DaemonSet shows the GPUs of NVIDIA" in finding.said
    assert finding.paste[0].startswith(
        f"oci ce cluster install-addon --addon-name NvidiaGpuPlugin --cluster-id {ORACLE_POOL.cluster_id}"
    )


def test_the_add_on_is_believed_where_daemonsets_may_not_be_seen() -> None:
    assert faults(nodes=(), plugins=UNSEEN) == []
    (finding,) = of(Check.DEVICE_PLUGIN, found(Level.OK, nodes=(), plugins=UNSEEN))
    assert finding.said == "add-on NvidiaGpuPlugin is active"


def test_without_both_it_is_unknown_and_the_right_is_named() -> None:
    blind = view(cluster=NotSeen("Cannot read cluster", "read clusters"))
    (finding,) = of(Check.DEVICE_PLUGIN, found(Level.UNKNOWN, nodes=(), plugins=UNSEEN, oracle={NAME: blind}))

    assert "list daemonsets in all namespaces" in finding.advice


@pytest.mark.parametrize(
    ("name", "images", "maker"),
    [
        ("nvidia-gpu-device-plugin", ["iad.ocir.io/oke/plugin:1"], "NVIDIA"),
        ("nvidia-device-plugin-daemonset", ["nvcr.io/nvidia/k8s-device-plugin:v0.17"], "NVIDIA"),
        ("gpus", ["nvcr.io/nvidia/k8s-device-plugin:v0.17"], "NVIDIA"),
        ("amdgpu-device-plugin-daemonset", ["rocm/k8s-device-plugin"], "AMD"),
        ("kube-proxy", ["kube-proxy:1"], None),
    ],
)
def test_plugins_are_known_by_name_or_image(name: str, images: list[str], maker: str | None) -> None:
    assert plugin_maker(name, images) == maker


def test_the_driver_of_the_gpu_operator_is_known() -> None:
    assert brings_driver("nvidia-driver-daemonset")
    assert not brings_driver("nvidia-device-plugin-daemonset")


@pytest.mark.parametrize(
    ("labels", "driver"),
    [
        ({"nvidia.com/cuda.driver-version.full": "570.133.20"}, "570.133.20"),
        (
            {
                "nvidia.com/cuda.driver.major": "550",
                "nvidia.com/cuda.driver.minor": "90",
                "nvidia.com/cuda.driver.rev": "07",
            },
            "550.90.07",
        ),
        ({"nvidia.com/cuda.driver-version.major": "580"}, "580"),
        ({"nvidia.com/gpu.present": "true"}, None),
    ],
)
def test_the_driver_is_read_from_the_labels_of_old_and_new_feature_discovery(
    labels: dict[str, str], driver: str | None
) -> None:
    assert driver_of(labels) == driver


@pytest.mark.parametrize(
    ("driver", "cuda", "gpu", "level"),
    [
        ("525.60.12", (12, 8), "V100", Level.FAULT),
        ("525.60.13", (12, 8), "V100", Level.WARNING),
        ("550.90.07", (12, 8), "A100", Level.WARNING),
        ("569.99", (12, 8), "A100", Level.WARNING),
        ("570", (12, 8), "A100", Level.OK),
        ("590.44.01", (12, 8), "A100", Level.OK),
        ("580.95.05", (12, 8), "V100", Level.OK),
        ("590.44.01", (12, 8), "V100", Level.FAULT),
        ("570.124.06", (12, 8), "B200", Level.FAULT),
        ("570.133.20", (12, 8), "B200", Level.OK),
        ("579.99", (13, 0), "A100", Level.FAULT),
        ("580.65.06", (13, 0), "A100", Level.OK),
        ("none", (12, 8), "A100", Level.UNKNOWN),
    ],
)
def test_drivers_are_judged_by_what_cuda_and_the_gpu_take(
    driver: str, cuda: tuple[int, int], gpu: str, level: Level
) -> None:
    assert judge_driver(driver, GPUS[gpu], replace(IMAGES[0], cuda=cuda))[0] is level


def test_every_image_is_built_with_a_cuda_that_is_known_here() -> None:
    for image in IMAGES:
        assert image.cuda[0] in LEAST_OF_CUDA
        assert image.cuda in FULL_OF_CUDA


def test_nodes_with_one_driver_stand_together_and_name_their_image() -> None:
    old = [replace(NODE, name=name, driver="520.61.05") for name in ("oke-2", "oke-3")]

    (finding,) = faults(nodes=(NODE, *old))
    assert finding.said.startswith(f"oke-2, oke-3: driver 520.61.05 of image {GPU_IMAGE} is too old for CUDA 12.8")


def test_a_node_without_labels_is_unknown_with_a_command_to_see_it() -> None:
    (finding,) = of(Check.DRIVERS, found(Level.UNKNOWN, nodes=(replace(NODE, driver=None),)))

    assert "nvidia-smi" in finding.paste[0]


def test_an_image_of_oracle_without_a_driver_is_a_fault_unless_something_installs_one() -> None:
    plain = {NAME: view(replace(ORACLE_POOL, image=PLAIN_IMAGE))}
    installer = SeenPlugin("nvidia-driver-daemonset", "gpu-operator", DRIVER_INSTALLER)
    plugin = SeenPlugin("nvidia-device-plugin-daemonset", "gpu-operator", "NVIDIA")

    (finding,) = faults(nodes=(), oracle=plain)
    assert (finding.check, PLAIN_IMAGE in finding.said) == (Check.DRIVERS, True)
    assert faults(nodes=(), oracle=plain, plugins=(plugin, installer)) == []


def test_a_node_that_is_too_small_is_named_with_what_is_needed() -> None:
    small = replace(NODE, name="oke-2", allocatable_bytes=20 * GIB)

    (finding,) = faults(nodes=(NODE, small))
    assert finding.said == "too small: oke-2 20 GiB; 22 GiB are needed: 12 for the image, 10 for data and cache"
    assert faults(StorageNeeds(data_gib=5), nodes=(NODE, small)) == []


def test_a_kubelet_that_reports_no_disk_leaves_it_unknown() -> None:
    (finding,) = of(Check.STORAGE, found(Level.UNKNOWN, nodes=(replace(NODE, allocatable_bytes=None),)))
    assert finding.said.startswith("the nodes report no ephemeral-storage")


def test_nodes_that_may_not_be_seen_are_unknown_and_end_blind() -> None:
    unseen = NotSeen("the API server refuses", "list nodes in all namespaces")

    assert faults(nodes=unseen) == []
    assert any(finding.blind for finding in found(Level.UNKNOWN, nodes=unseen))
