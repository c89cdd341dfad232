"""The quotas of a namespace are asked about a whole gang: a dry run asks about one pod, and reserves nothing."""

from typing import Any

import pytest

from masktrain_operator.shell.pools.gang_check import first_pod, quota_objection

GPU = "nvidia.com/gpu"


def pod(priority: str | None = None, **requests: str) -> dict[str, Any]:
    amounts = {GPU: "2", "cpu": "500m", **requests}
    spec: dict[str, Any] = {"containers": [{"resources": {"requests": amounts, "limits": {GPU: "2", "memory": "1Gi"}}}]}
    return {"spec": spec | ({"priorityClassName": priority} if priority else {})}


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    status = {"hard": hard, "used": dict.fromkeys(hard, "0") | (used or {})}
    return {"metadata": {"name": "team"}, "spec": spec, "status": status}


def class_scope(operator: str, *values: str) -> dict[str, Any]:
    expression = {"scopeName": "PriorityClass", "operator": operator, "values": list(values)}
    return {"scopeSelector": {"matchExpressions": [expression]}}


FULL = {"pods": "0"}
CASES = {
    "room for all": (quota({f"requests.{GPU}": "6"}), False),
    "room for one of three": (quota({f"requests.{GPU}": "5"}), True),
    "others have used it": (quota({f"requests.{GPU}": "7"}, {f"requests.{GPU}": "2"}), True),
    "the API server's own way to write 1000": (quota({f"requests.{GPU}": "1k"}), False),
    "zero": (quota({f"requests.{GPU}": "0"}), True),
    "CPU in thousandths": (quota({"cpu": "1400m"}), True),
    "CPU in the long name": (quota({"requests.cpu": "1500m"}), False),
    "memory of limits": (quota({"limits.memory": "2.9Gi"}), True),
    "pods": (quota({"pods": "2"}), True),
    "objects counted": (quota({"count/pods": "3", "count/jobs.batch": "0"}), True),
    "what the gang has none of": (quota({"requests.storage": "0", "count/secrets": "0"}), False),
    "best effort is not what it is": (quota(FULL, scopes=["BestEffort"]), False),
    "not best effort": (quota(FULL, scopes=["NotBestEffort", "NotTerminating"]), True),
    "pods that end by themselves": (quota(FULL, scopes=["Terminating"]), False),
    "of another class": (quota(FULL, **class_scope("In", "low")), False),
    "of its class": (quota(FULL, **class_scope("In", "high")), True),
    "of all but its class": (quota(FULL, **class_scope("NotIn", "high")), False),
    "of all classes": (quota(FULL, **class_scope("Exists")), True),
    "of none": (quota(FULL, **class_scope("DoesNotExist")), False),
    "not counted yet": ({"metadata": {"name": "new"}, "spec": {"hard": FULL}}, False),
}


@pytest.mark.parametrize(("found", "objects"), CASES.values(), ids=CASES)
def test_a_quota_is_asked_about_the_whole_gang(found: dict[str, Any], objects: bool) -> None:
    said = quota_objection(pod("high"), 3, [found])
    assert (said is not None) == objects
    assert said is None or said.startswith("exceeded quota: team, requested for all 3 pods: ")


def test_one_of_several_quotas_is_enough() -> None:
    assert quota_objection(pod(), 2, [quota({"pods": "9"}), quota({"pods": "1"})]) is not None


def test_init_containers_run_before_the_others() -> None:
    made = pod()
    made["spec"]["initContainers"] = [{"resources": {"requests": {"cpu": "2"}}}]
    assert quota_objection(made, 1, [quota({"cpu": "2"})]) is None
    assert quota_objection(made, 1, [quota({"cpu": "1999m"})]) is not None


def test_the_first_pod_is_the_jobs_template_under_its_name() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
    made = first_pod({"metadata": {"name": "masks-0", "namespace": "vision"}, "spec": {"template": template}})
    assert made["metadata"] == {"labels": {"a": "b"}, "generateName": "masks-0-0-", "namespace": "vision"}
    assert made["spec"] == {"containers": []}


def test_pods_to_come_of_other_gangs_count() -> None:
    """Each dry run is asked alone: two gangs, each within the quota, would both get nodes."""
    found = quota({f"requests.{GPU}": "8"})
    assert quota_objection(pod(), 2, [found], {f"requests.{GPU}": 4}) is None
    said = quota_objection(pod(), 3, [found], {f"requests.{GPU}": 4})
    assert said is not None
    assert f"requests.{GPU}=6, used: requests.{GPU}=0 and 4 by jobs that start" in said
