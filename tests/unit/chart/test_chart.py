"""What the chart renders, for the values that people set."""

import re
from typing import Any

import pytest
import yaml

from masktrain_operator.shell.settings import Settings
from tests.devcluster.layout import REPOSITORY
from tests.unit.chart.rendering import CHART, NAME, helm, one, render, template


def container(*options: str) -> dict[str, Any]:
    (found,) = one(render(*options), "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def environment(*options: str) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container(*options)["env"]}


def roles(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [found for found in objects if found["kind"] in ("Role", "ClusterRole")]


def test_the_chart_passes_helms_own_check() -> None:
    done = helm("lint", "--strict", str(CHART))

    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_only_one_operator_runs_at_a_time() -> None:
    deployment = one(render(), "Deployment")["spec"]

    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})


def test_the_pod_meets_pod_security_restricted_with_a_root_it_cannot_write() -> None:
    pod = one(render(), "Deployment")["spec"]["template"]["spec"]
    (operator,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert operator["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in operator["volumeMounts"]] == ["/tmp"]


def test_no_role_reads_secrets_or_holds_a_wildcard() -> None:
    for role in roles(render("--set=watchNamespaces={vision}")) + roles(render()):
        for rule in role["rules"]:
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            assert "secrets" not in rule["resources"]


def test_the_operator_has_a_role_in_each_watched_namespace_and_none_beyond() -> None:
    objects = render("--set=watchNamespaces={vision,speech}")

    bound = [found["metadata"]["namespace"] for found in objects if found["kind"] == "RoleBinding"]
    assert bound == ["vision", "speech"]
    assert not [found for found in objects if found["kind"] == "ClusterRoleBinding"]
    assert (
        environment("--set=watchNamespaces={vision,speech}")["MASKTRAIN_OPERATOR_WATCH_NAMESPACES"] == "vision,speech"
    )


def test_the_definition_is_the_generated_one_and_stays_unless_told_otherwise() -> None:
    generated = yaml.safe_load((REPOSITORY / "crds" / "masktrain.dev_masktrainingjobs.yaml").read_text())
    name = "masktrainingjobs.masktrain.dev"
    kept = one(render(), "CustomResourceDefinition", name)

    assert kept["spec"] == generated["spec"]
    assert kept["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    released = one(render("--set=crds.keep=false"), "CustomResourceDefinition", name)
    assert "helm.sh/resource-policy" not in released["metadata"].get("annotations", {})
    assert not [found for found in render("--set=crds.enabled=false") if found["kind"] == "CustomResourceDefinition"]


def test_images_take_the_charts_version_unless_told_otherwise() -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]

    assert container()["image"] == f"masktrain-operator:{version}"
    assert environment()["MASKTRAIN_OPERATOR_TRAINER_IMAGE"] == f"masktrain-trainer:{version}"
    assert environment("--set=trainer.image.tag=dev")["MASKTRAIN_OPERATOR_TRAINER_IMAGE"] == "masktrain-trainer:dev"


def test_every_setting_of_the_operator_that_the_chart_sets_exists() -> None:
    prefix = "MASKTRAIN_OPERATOR_"
    written = {name.removeprefix(prefix).lower() for name in environment() if name.startswith(prefix)}
    assert written <= set(Settings.model_fields)


def test_metrics_can_be_switched_off() -> None:
    objects = render("--set=metrics.enabled=false")

    assert not [found for found in objects if found["kind"] == "Service"]
    assert environment("--set=metrics.enabled=false")["MASKTRAIN_OPERATOR_METRICS_PORT"] == "0"


def test_another_release_name_stands_in_every_name_that_could_clash() -> None:
    names = {
        found["metadata"]["name"] for found in render(release="gpu") if found["kind"] != "CustomResourceDefinition"
    }

    assert all(name.startswith(f"gpu-{NAME}") for name in names)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--set=replicas=3", "replicas"),
        ("--set=image.pullPolicy=Sometimes", "pullPolicy"),
        ("--set=crds.kep=true", "kep"),
        ("--set=watchNamespaces={Not_A_Name}", "watchNamespaces"),
        ("--set=serviceAccount.create=false", "serviceAccount.name is needed"),
        ("--set=progressIntervalSeconds=0", "progressIntervalSeconds"),
    ],
)
def test_a_wrong_value_is_refused_by_name(option: str, words: str) -> None:
    done = template(option)

    assert done.returncode != 0
    assert words in done.stderr


def test_the_readme_lists_every_value() -> None:
    readme = (CHART / "README.md").read_text().partition("## Values")[2].partition("##")[0]
    listed = set(re.findall(r"^\| `([^`]+)`", readme, re.MULTILINE))

    assert listed == _paths(yaml.safe_load((CHART / "values.yaml").read_text()))


def _paths(values: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted paths of the leaves; an empty mapping is one."""
    found: set[str] = set()
    for key, value in values.items():
        path = f"{prefix}{key}"
        found |= _paths(value, f"{path}.") if isinstance(value, dict) and value and key != "resources" else {path}
    return found
