"""Who reaches a job's pods, by the NetworkPolicy that chart and operator make together.

No network of these tests enforces policies: what they say is matched against the pods and ports that the operator
makes, by the rules of the NetworkPolicy API.
"""

import json
from typing import Any

import pytest

from masktrain_operator.core.manifests.job import job_manifest, network_policy_manifest
from masktrain_operator.core.types import Manifest, PlanSettings
from masktrain_operator.shell.settings import Settings
from tests.unit.chart.rendering import NAME, OPERATOR_NAMESPACE, one, render
from tests.unit.operator.manifests import NAMESPACE, training_job
from tests.unit.operator.world import World

PROGRESS, RENDEZVOUS, CHOSEN_BY_NCCL = 8080, 29500, 43211
PROMETHEUS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
Pod = tuple[str, dict[str, str]]
"""Namespace and labels."""


def settings(*options: str) -> PlanSettings:
    """As the operator reads them from the chart's Deployment."""
    (container,) = one(render(*options), "Deployment")["spec"]["template"]["spec"]["containers"]
    variables = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    written = json.loads(variables.get("MASKTRAIN_OPERATOR_PROGRESS_CLIENTS", "[]"))
    return Settings(trainer_image="masktrain-trainer:dev", progress_clients=written).for_plan


def pod_of_job(**options: Any) -> Pod:
    job = training_job(**options)
    template = job_manifest(job, 0, settings())["spec"]["template"]
    return job.metadata.namespace, template["metadata"]["labels"]


def operator() -> Pod:
    template = one(render(), "Deployment")["spec"]["template"]
    return OPERATOR_NAMESPACE, template["metadata"]["labels"]


def allows(policy: Manifest, source: Pod, target: Pod, port: int) -> bool:
    """For policies without ipBlock, named ports and matchExpressions."""
    spec = policy["spec"]
    if target[0] != policy["metadata"]["namespace"] or not selected(spec["podSelector"], target[1]):
        return True  # not its business
    assert "Ingress" in spec["policyTypes"]
    return any(
        any(is_peer(peer, source, target[0]) for peer in rule["from"])
        and (not rule.get("ports") or port in [entry["port"] for entry in rule["ports"]])
        for rule in spec["ingress"]
    )


def is_peer(peer: Manifest, source: Pod, policy_namespace: str) -> bool:
    namespaces, pods = peer.get("namespaceSelector"), peer.get("podSelector")
    name_label = {"kubernetes.io/metadata.name": source[0]}
    in_namespace = source[0] == policy_namespace if namespaces is None else selected(namespaces, name_label)
    return in_namespace and (pods is None or selected(pods, source[1]))


def selected(selector: Manifest, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


VICTIM = pod_of_job()
SAME_LABELS_ELSEWHERE = ("team-b", VICTIM[1])
NEIGHBOUR = (NAMESPACE, {**VICTIM[1], "masktrain.dev/job-uid": "another-uid"})
STRANGER = ("team-b", {"app": "curious"})
SCRAPER = ("monitoring", {"app": "prometheus"})
CALLED_LIKE_THE_OPERATOR = ("team-b", operator()[1])


@pytest.mark.parametrize(
    ("source", "ports"),
    [
        (VICTIM, {PROGRESS, RENDEZVOUS, CHOSEN_BY_NCCL}),
        (operator(), {PROGRESS}),
        (SAME_LABELS_ELSEWHERE, set()),
        (CALLED_LIKE_THE_OPERATOR, set()),
        (NEIGHBOUR, set()),
        (STRANGER, set()),
        (SCRAPER, set()),
    ],
    ids=["own gang", "operator", "forged labels", "forged operator", "other job", "stranger", "scraper not named"],
)
def test_a_jobs_pods_are_reached_by_their_gang_and_asked_by_the_operator(source: Pod, ports: set[int]) -> None:
    policy = network_policy_manifest(training_job(), settings())
    reached = {port for port in (PROGRESS, RENDEZVOUS, CHOSEN_BY_NCCL) if allows(policy, source, VICTIM, port)}
    assert reached == ports


def test_who_reads_metrics_is_named_in_the_chart_and_reaches_nothing_else() -> None:
    chosen = settings(f"--set-json=jobNetworkPolicy.progressFrom={json.dumps([PROMETHEUS])}")
    policy = network_policy_manifest(training_job(), chosen)
    assert allows(policy, SCRAPER, VICTIM, PROGRESS)
    assert not allows(policy, SCRAPER, VICTIM, RENDEZVOUS)
    assert not allows(policy, STRANGER, VICTIM, PROGRESS)
    assert allows(policy, operator(), VICTIM, PROGRESS)


def protected_world() -> World:
    world = World()
    world.settings = settings()
    return world


def test_the_policy_comes_with_the_first_attempt_and_belongs_to_the_job() -> None:
    world = protected_world()
    decided = world.reconcile()
    assert [manifest["kind"] for manifest in decided.apply] == ["Service", "NetworkPolicy"]
    assert world.network_policy is not None
    (owner,) = world.network_policy["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (world.body["metadata"]["uid"], True)
    assert world.run_operator().apply == ()


def test_a_policy_that_somebody_loosened_is_repaired() -> None:
    world = protected_world()
    world.run_operator()
    assert world.network_policy is not None
    world.network_policy["spec"]["ingress"] = [{}]
    world.reconcile()
    assert world.network_policy["spec"]["ingress"] != [{}]


def test_without_the_setting_nothing_is_written() -> None:
    world = World()
    world.settings = settings("--set=jobNetworkPolicy.enabled=false")
    assert [manifest["kind"] for manifest in world.reconcile().apply] == ["Service"]


def test_a_refused_policy_is_said_as_every_refusal() -> None:
    world = protected_world()
    world.refused_writes = {("apply", "NetworkPolicy")}
    world.run_operator()
    refusal = world.condition("WriteRefused")
    assert (refusal["status"], refusal["reason"]) == ("True", "Forbidden")
    assert refusal["message"].startswith("NetworkPolicy masks could not be updated: ")
    world.refused_writes = set()
    world.wait(60)
    world.run_operator()
    assert world.network_policy is not None
    assert not world.is_true("WriteRefused")


def test_somebody_elses_policy_of_that_name_is_left_alone_and_said() -> None:
    world = protected_world()
    theirs = {"metadata": {"name": "masks", "namespace": NAMESPACE, "uid": "theirs"}}
    world.network_policy = theirs
    decided = world.reconcile()
    assert (decided.create, [manifest["kind"] for manifest in decided.apply]) == ((), ["Service"])
    assert world.condition("Stalled")["reason"] == "NetworkPolicyNotOurs"
    assert world.network_policy is theirs


def test_an_expired_job_takes_its_policy_along() -> None:
    world = protected_world()
    world.body["spec"]["limits"] = {"ttlSecondsAfterFinished": 60}
    world.run_operator()
    world.create_pods()
    world.run_operator()
    world.end_all(0)
    world.run_operator()
    world.wait(120)
    world.run_operator()
    assert (world.service, world.network_policy) == (None, None)


def test_the_operator_has_a_right_on_policies_only_where_it_writes_them() -> None:
    def verbs(*options: str) -> list[list[str]]:
        role = one(render(*options), "ClusterRole", NAME)
        return [rule["verbs"] for rule in role["rules"] if "networkpolicies" in rule["resources"]]

    assert verbs() == [["get", "list", "watch", "create", "patch", "delete"]]
    assert verbs("--set=jobNetworkPolicy.enabled=false") == []
