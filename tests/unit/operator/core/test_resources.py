"""What a pod asks for together, and the quotas of a namespace, which are asked about a whole gang."""

from decimal import Decimal
from typing import Any

import pytest

from masktrain_operator.core.resources import LARGEST_QUANTITY, amount, pod_amounts, quota_objection

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


QUANTITIES = {
    "0": "0",
    "2": "2",
    "1k": "1000",
    "500m": "0.5",
    "100n": "1e-7",
    "1.5Gi": "1610612736",
    "2e3": "2000",
    "-1": "-1",
    "1e999999999": str(LARGEST_QUANTITY),
    "-1e999999999": str(-LARGEST_QUANTITY),
}


@pytest.mark.parametrize(("written", "number"), QUANTITIES.items())
def test_a_quantity_is_a_number_however_it_is_written(written: str, number: str) -> None:
    assert amount(written) == Decimal(number)


@pytest.mark.parametrize("written", ["", "many", "NaN", "1ki", "1e999999999E", None, {}])
def test_what_is_no_quantity_is_a_value_error(written: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        amount(written)


def container(**requests: str) -> dict[str, Any]:
    return {"resources": {"requests": requests}}


def limited(limits: dict[str, str], **requests: str) -> dict[str, Any]:
    return {"resources": {"requests": requests, "limits": limits}}


def sidecar(**requests: str) -> dict[str, Any]:
    return container(**requests) | {"restartPolicy": "Always"}


def spec(*containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **fields: Any) -> dict[str, Any]:
    return {"containers": list(containers), "initContainers": list(init), **fields}


LIMITED = limited({"memory": "2Gi", "cpu": "2"}, cpu="500m")
SUMS = {
    "nothing": (spec(), "requests", {}),
    "a container that asks for nothing": (spec({"name": "c"}), "requests", {}),
    "containers add up": (spec(container(cpu="500m"), container(cpu="1")), "requests", {"cpu": "1.5"}),
    "the API server's own way to write 1000": (spec(container(gpu="1k")), "requests", {"gpu": "1000"}),
    "init containers take turns": (
        spec(container(cpu="1"), init=(container(cpu="2"), container(cpu="3"))),
        "requests",
        {"cpu": "3"},
    ),
    "and count less than what follows": (
        spec(container(cpu="4"), init=(container(cpu="3"),)),
        "requests",
        {"cpu": "4"},
    ),
    "sidecars stay": (spec(container(cpu="1"), init=(sidecar(cpu="1"), sidecar(cpu="2"))), "requests", {"cpu": "4"}),
    "a sidecar runs beside later init containers": (
        spec(container(cpu="1"), init=(sidecar(cpu="2"), container(cpu="5"))),
        "requests",
        {"cpu": "7"},
    ),
    "and not beside earlier ones": (
        spec(container(cpu="1"), init=(container(cpu="5"), sidecar(cpu="2"))),
        "requests",
        {"cpu": "5"},
    ),
    "what only an init container asks for": (spec(init=(container(memory="1Ki"),)), "requests", {"memory": "1024"}),
    "a limit is a request where there is none": (spec(LIMITED), "requests", {"cpu": "0.5", "memory": "2147483648"}),
    "a request is no limit": (spec(LIMITED, container(cpu="9")), "limits", {"cpu": "2", "memory": "2147483648"}),
    "overhead adds to requests": (
        spec(container(cpu="1"), overhead={"cpu": "250m", "memory": "1k"}),
        "requests",
        {"cpu": "1.25", "memory": "1000"},
    ),
    "and to limits that there are": (
        spec(limited({"cpu": "1"}), overhead={"cpu": "250m", "memory": "1k"}),
        "limits",
        {"cpu": "1.25"},
    ),
    "what the pod says for all of them": (
        spec(container(cpu="1", gpu="1"), resources={"requests": {"cpu": "3"}}, overhead={"cpu": "1"}),
        "requests",
        {"cpu": "4", "gpu": "1"},
    ),
}


@pytest.mark.parametrize(("made", "section", "sums"), SUMS.values(), ids=SUMS)
def test_what_a_pod_asks_for_is_summed_up_as_kubernetes_does(
    made: dict[str, Any], section: str, sums: dict[str, str]
) -> None:
    """`PodRequests` and `PodLimits` in k8s.io/component-helpers/resource."""
    assert pod_amounts(made, section) == {name: Decimal(number) for name, number in sums.items()}


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


def test_pods_to_come_of_other_gangs_count() -> None:
    """Each dry run is asked alone: two gangs, each within the quota, would both get nodes."""
    found = quota({f"requests.{GPU}": "8"})
    assert quota_objection(pod(), 2, [found], {f"requests.{GPU}": 4}) is None
    said = quota_objection(pod(), 3, [found], {f"requests.{GPU}": 4})
    assert said is not None
    assert f"requests.{GPU}=6, used: requests.{GPU}=0 and 4 by jobs that start" in said
