"""What the chart renders, for the values that people set."""

import re
from typing import Any

import pytest
import yaml

from devcluster.layout import REPOSITORY
from masktrain_operator.api.labels import CRD_NAME, NODE_POOL_LABEL, POOL_CRD_NAME
from masktrain_operator.shell.settings import Settings
from tests.unit.chart.rendering import CHART, NAME, OPERATOR_NAMESPACE, helm, one, render, render_tests, template

DOCTOR = f"{NAME}-doctor"


def container(*options: str) -> dict[str, Any]:
    (found,) = one(render(*options), "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def environment(*options: str) -> dict[str, str]:
    """Variables with a value of their own."""
    return {variable["name"]: variable["value"] for variable in container(*options)["env"] if "value" in variable}


def roles(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [found for found in objects if found["kind"] in ("Role", "ClusterRole")]


def bound_roles(objects: list[dict[str, Any]], account: str) -> set[tuple[str, str]]:
    """Namespace, or "" for the whole cluster, and name of the roles that the account holds."""
    bindings = [found for found in objects if found["kind"] in ("RoleBinding", "ClusterRoleBinding")]
    return {
        (found["metadata"].get("namespace", ""), found["roleRef"]["name"])
        for found in bindings
        if [subject["name"] for subject in found["subjects"]] == [account]
    }


def sweeper(*options: str) -> dict[str, Any]:
    job = one(render(*options), "CronJob", f"{NAME}-sweeper")["spec"]
    return {**job, "pod": job["jobTemplate"]["spec"]["template"]["spec"]}


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


def test_no_role_holds_a_wildcard_and_secrets_are_only_got_in_the_operators_namespace() -> None:
    for role in roles(render("--set=watchNamespaces={vision}")) + roles(render()):
        for rule in role["rules"]:
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            if "secrets" in rule["resources"]:
                assert (role["metadata"].get("namespace"), rule["verbs"]) == (OPERATOR_NAMESPACE, ["get"])


def test_without_node_pools_the_operator_has_a_role_in_each_watched_namespace_and_none_beyond() -> None:
    options = ("--set=watchNamespaces={vision,speech}", "--set=nodePools.enabled=false")
    objects = render(*options)

    assert bound_roles(objects, NAME) == {("vision", NAME), ("speech", NAME)}
    assert not [found for found in objects if found["kind"] in ("ClusterRoleBinding", "CronJob")]
    assert environment(*options)["MASKTRAIN_OPERATOR_WATCH_NAMESPACES"] == "vision,speech"
    assert environment(*options)["MASKTRAIN_OPERATOR_NODE_POOLS"] == "false"


def test_node_pools_take_rights_on_the_cluster_whatever_namespaces_are_watched() -> None:
    pools = f"{NAME}-node-pools"

    assert bound_roles(render(), NAME) == {("", NAME), ("", pools), (OPERATOR_NAMESPACE, pools)}
    assert bound_roles(render("--set=watchNamespaces={vision}"), NAME) == {
        ("vision", NAME),
        ("", pools),
        (OPERATOR_NAMESPACE, pools),
        ("default", f"{pools}-events"),
    }


def test_no_right_on_the_cluster_goes_beyond_nodes_pools_and_the_sight_of_what_holds_gpus() -> None:
    role = one(render(), "ClusterRole", f"{NAME}-node-pools")

    verbs = {
        (rule["apiGroups"][0], resource): rule["verbs"] for rule in role["rules"] for resource in rule["resources"]
    }
    assert verbs == {
        ("masktrain.dev", "gpunodepools"): ["get", "list", "watch", "patch"],
        ("masktrain.dev", "gpunodepools/status"): ["patch"],
        ("", "nodes"): ["get", "list", "watch", "patch"],
        ("", "pods"): ["list"],
        ("", "namespaces"): ["list", "watch"],
        ("scheduling.k8s.io", "priorityclasses"): ["list", "watch"],
    }


def test_the_sweeper_is_the_operators_image_with_rights_of_its_own() -> None:
    objects, pod = render(), sweeper("--set=sweeper.staleSeconds=600")["pod"]
    (program,) = pod["containers"]

    assert program["image"] == container()["image"]
    assert program["args"] == ["sweep", "--stale-seconds=600"]
    assert pod["serviceAccountName"] == f"{NAME}-sweeper"
    assert bound_roles(objects, f"{NAME}-sweeper") == {
        ("", f"{NAME}-sweeper"),
        (OPERATOR_NAMESPACE, f"{NAME}-sweeper"),
        ("default", f"{NAME}-sweeper-events"),
    }


def test_the_sweeper_meets_pod_security_restricted_as_the_operator_does() -> None:
    pod, operator = sweeper()["pod"], one(render(), "Deployment")["spec"]["template"]["spec"]

    assert pod["securityContext"] == operator["securityContext"]
    assert pod["containers"][0]["securityContext"] == operator["containers"][0]["securityContext"]


def test_sweepers_never_overlap_and_never_run_on_the_nodes_they_remove() -> None:
    found = sweeper()
    affinity = found["pod"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = affinity["nodeSelectorTerms"]

    assert found["concurrencyPolicy"] == "Forbid"
    assert {"key": NODE_POOL_LABEL, "operator": "DoesNotExist"} in term["matchExpressions"]


def test_the_operators_service_and_deployment_do_not_select_the_sweeper() -> None:
    selector = one(render(), "Deployment")["spec"]["selector"]["matchLabels"]
    labels = sweeper()["jobTemplate"]["spec"]["template"]["metadata"]["labels"]

    assert not selector.items() <= labels.items()


@pytest.mark.parametrize("option", ["--set=sweeper.enabled=false", "--set=nodePools.enabled=false"])
def test_the_sweeper_can_be_left_out(option: str) -> None:
    assert not [found for found in render(option) if found["metadata"]["name"].startswith(f"{NAME}-sweeper")]


def test_the_sweeper_asks_where_the_operator_does() -> None:
    option = "--set=oci.endpoint=https://oke.example.com"
    (program,) = sweeper(option)["pod"]["containers"]

    names = ("MASKTRAIN_OPERATOR_NAMESPACE", "MASKTRAIN_OPERATOR_OCI_ENDPOINT")
    own = [variable for variable in program["env"] if variable["name"] in names]
    assert own == [variable for variable in container(option)["env"] if variable["name"] in names]
    assert len(own) == 2


def test_the_doctor_lists_and_nothing_else_and_exists_during_the_test_only() -> None:
    objects = render_tests()
    rules = [rule for role in roles(objects) for rule in role["rules"]]

    assert {verb for rule in rules for verb in rule["verbs"]} == {"list"}
    assert {name for rule in rules for name in rule["resources"]} == {
        *("gpunodepools", "masktrainingjobs", "nodes", "daemonsets")
    }
    assert bound_roles(objects, DOCTOR) == {("", DOCTOR)}
    assert {found["kind"] for found in objects} == {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Pod"}
    assert not [found for found in render() if "doctor" in found["metadata"]["name"]]
    for found in objects:
        assert found["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"


def test_what_the_doctor_runs_as_is_there_before_it() -> None:
    weights = {f["kind"]: int(f["metadata"]["annotations"].get("helm.sh/hook-weight", 0)) for f in render_tests()}

    assert weights.pop("Pod") > max(weights.values())


def test_the_doctor_reads_only_the_secrets_that_are_named() -> None:
    objects = render_tests("--set=doctor.secrets={oci-api-key}")
    role = one(objects, "Role", DOCTOR)

    assert role["metadata"]["namespace"] == OPERATOR_NAMESPACE
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["oci-api-key"], "verbs": ["get"]}
    ]
    assert bound_roles(objects, DOCTOR) == {("", DOCTOR), (OPERATOR_NAMESPACE, DOCTOR)}


def test_the_doctor_is_a_command_of_the_operators_image_with_its_accounts_and_place() -> None:
    options = ("--set=nodeSelector.system=yes", "--set=oci.endpoint=https://oke.example.com")
    pod = one(render_tests(*options, "--set=doctor.arguments={--data-gib=50}"), "Pod", DOCTOR)["spec"]
    (program,) = pod["containers"]
    environment = {variable["name"]: variable.get("value") for variable in program["env"]}

    assert (program["command"], program["args"]) == (["masktrain", "doctor"], ["--data-gib=50"])
    assert program["image"] == container()["image"]
    assert (pod["serviceAccountName"], pod["nodeSelector"]) == (DOCTOR, {"system": "yes"})
    assert environment["MASKTRAIN_OPERATOR_SERVICE_ACCOUNTS"] == f"{NAME},{NAME}-sweeper"
    assert environment["MASKTRAIN_OPERATOR_OCI_ENDPOINT"] == "https://oke.example.com"
    assert program["securityContext"] == container()["securityContext"]


@pytest.mark.parametrize("option", ["--set=doctor.enabled=false", "--set=nodePools.enabled=false"])
def test_the_doctor_can_be_left_out(option: str) -> None:
    assert render_tests(option) == []


@pytest.mark.parametrize("name", [CRD_NAME, POOL_CRD_NAME])
def test_the_definitions_are_the_generated_ones_and_stay_unless_told_otherwise(name: str) -> None:
    plural, _, group = name.partition(".")
    generated = yaml.safe_load((REPOSITORY / "crds" / f"{group}_{plural}.yaml").read_text())
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


@pytest.mark.parametrize(
    "mirror", ["s3://weights", "oci://weights@axvision/v7.0", "https://mirror.example.com:8443/a/"]
)
def test_the_operator_is_told_of_a_mirror_of_the_official_weights(mirror: str) -> None:
    name = "MASKTRAIN_OPERATOR_WEIGHTS_MIRROR"
    assert environment(f"--set=trainer.weightsMirror={mirror}")[name] == mirror
    assert name not in environment()


def test_every_setting_of_the_operator_that_the_chart_sets_exists() -> None:
    prefix = "MASKTRAIN_OPERATOR_"
    options = ("--set=oci.endpoint=https://oke.example.com", "--set=trainer.weightsMirror=oci://weights@axvision/v7.0")
    names = [variable["name"] for variable in container(*options)["env"]]
    written = {name.removeprefix(prefix).lower() for name in names if name.startswith(prefix)}
    assert written <= set(Settings.model_fields)


def test_the_metrics_are_closed_to_all_but_whom_the_chart_names() -> None:
    """Attack: any pod of the cluster read the names, states and costs of all teams' jobs."""
    objects = render()
    policy = one(objects, "NetworkPolicy", f"{NAME}-metrics")["spec"]
    deployment = one(objects, "Deployment")["spec"]["template"]
    ports = {port["name"] for port in deployment["spec"]["containers"][0]["ports"]}

    assert policy["podSelector"]["matchLabels"].items() <= deployment["metadata"]["labels"].items()
    assert policy["policyTypes"] == ["Ingress"]
    assert {rule["ports"][0]["port"]: rule.get("from") for rule in policy["ingress"]} == {
        "health": None,
        "metrics": [{"namespaceSelector": {"matchLabels": {"metrics": "enabled"}}}],
    }
    assert ports == {"health", "metrics"}


def test_metrics_for_nobody_are_no_metrics_for_everybody() -> None:
    policy = one(render("--set-json=metrics.networkPolicy.from=[]"), "NetworkPolicy", f"{NAME}-metrics")["spec"]
    assert policy["ingress"] == [{"ports": [{"port": "health"}]}]


def test_pods_are_created_for_show_only_where_nodes_may_come_for_them() -> None:
    def verbs(*options: str) -> set[str]:
        rules = one(render(*options), "ClusterRole")["rules"]
        return {verb for rule in rules if rule["resources"] == ["pods"] for verb in rule["verbs"]}

    assert verbs() - verbs("--set=nodePools.enabled=false") == {"create"}


def test_metrics_can_be_switched_off() -> None:
    objects = render("--set=metrics.enabled=false")

    assert not [found for found in objects if found["kind"] in ("Service", "NetworkPolicy")]
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
        ("--set=sweeper.staleSeconds=5", "staleSeconds"),
        ("--set=oci.endpoint=oke.example.com", "endpoint"),
        ("--set=trainer.weightsMirror=http://mirror.example.com", "weightsMirror"),
        ("--set=trainer.weightsMirror=https://me:word@mirror.example.com/v7.0", "weightsMirror"),
        ("--set=trainer.weightsMirror=https://mirror.example.com/v7.0?signature=a", "weightsMirror"),
        ("--set=trainer.weightsMirror=https://mirror.example.com/p/key/n/ns/b/weights/o", "weightsMirror"),
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
