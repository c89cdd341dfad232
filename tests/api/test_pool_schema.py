"""What the API server accepts of a GPUNodePool, and the words a person reads when it does not."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from devcluster.cluster import ClusterError
from devcluster.layout import REPOSITORY
from tests.api.namespace import ApiNamespace

pytestmark = pytest.mark.api

SPEC: dict[str, Any] = {"nodePoolId": "ocid1.nodepool.oc1.iad.one", "region": "us-ashburn-1", "maxNodes": 4}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no node pool": ({"nodePoolId": "masks"}, "spec.nodePoolId"),
    "no region": ({"region": "Ashburn"}, "spec.region"),
    "more at least than at most": ({"minNodes": 5}, "minNodes must not be larger than maxNodes"),
    "a price in words": ({"hourlyPrice": "five"}, "spec.hourlyPrice"),
    "no time to start": ({"startTimeoutSeconds": 30}, "spec.startTimeoutSeconds"),
    "a year to start": ({"startTimeoutSeconds": 31_536_000}, "spec.startTimeoutSeconds"),
    "no node for anybody": ({"namespaceLimits": {"nodes": 0}}, "spec.namespaceLimits.nodes"),
    "a limit in words": ({"namespaceLimits": {"monthlyCost": "little"}}, "spec.namespaceLimits.monthlyCost"),
    "a selector that nobody knows": (
        {"allowedNamespaces": {"matchExpressions": [{"key": "team", "operator": "Like", "values": ["a"]}]}},
        "spec.allowedNamespaces.matchExpressions",
    ),
    "no key": ({"auth": {"type": "ConfigSecret"}}, "auth.configSecretRef belongs to auth.type ConfigSecret"),
    "a key nobody uses": (
        {"auth": {"type": "InstancePrincipal", "configSecretRef": {"name": "key"}}},
        "auth.configSecretRef belongs to auth.type ConfigSecret",
    ),
}


@pytest.fixture
def pool_name(namespace: ApiNamespace) -> Iterator[str]:
    """Of a pool that is gone after the test, whoever holds it."""
    yield namespace.name
    namespace.kubectl("delete", "gnp", namespace.name, "--ignore-not-found")


def pool(name: str, changes: dict[str, Any]) -> str:
    metadata = {"name": name}
    body = {"apiVersion": "masktrain.dev/v1alpha1", "kind": "GPUNodePool", "metadata": metadata, "spec": SPEC | changes}
    return json.dumps(body)


def test_defaults_are_filled_in(namespace: ApiNamespace, pool_name: str) -> None:
    namespace.kubectl("apply", "--filename=-", text=pool(pool_name, {}))
    spec = json.loads(namespace.kubectl("get", "gnp", pool_name, "--output=json"))["spec"]
    assert (spec["minNodes"], spec["idleSeconds"], spec["auth"]["type"]) == (0, 120, "WorkloadIdentity")
    later = {"startTimeoutSeconds", "namespaceLimits", "allowedNamespaces", "allowedPriorityClasses"}
    assert spec.keys().isdisjoint(later), "an operator of before would refuse a pool with them after a roll-back"
    assert spec["scaleDown"] == {"drainSeconds": 30, "enabled": True, "maxRemovalsPerMinute": 10}


def test_namespaces_and_classes_are_chosen_as_kubernetes_does(namespace: ApiNamespace, pool_name: str) -> None:
    expression = {"key": "team", "operator": "In", "values": ["a", "b"]}
    chosen = {
        "allowedNamespaces": {"matchLabels": {"gpu": "yes"}, "matchExpressions": [expression]},
        "namespaceLimits": {"nodes": 2, "monthlyCost": "100.50"},
        "allowedPriorityClasses": [],
    }
    namespace.kubectl("apply", "--filename=-", text=pool(pool_name, chosen))
    spec = json.loads(namespace.kubectl("get", "gnp", pool_name, "--output=json"))["spec"]
    assert {key: spec[key] for key in chosen} == chosen


def test_the_example_is_accepted(namespace: ApiNamespace) -> None:
    namespace.kubectl("apply", "--dry-run=server", "--filename", str(REPOSITORY / "examples" / "node-pool.yaml"))


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused(namespace: ApiNamespace, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        namespace.kubectl("create", "--filename=-", text=pool(namespace.name, changes))


@pytest.mark.parametrize("field", ["nodePoolId", "region"])
def test_a_pool_stays_the_one_it_is(namespace: ApiNamespace, pool_name: str, field: str) -> None:
    namespace.kubectl("apply", "--filename=-", text=pool(pool_name, {}))
    other = {"nodePoolId": "ocid1.nodepool.oc1.iad.two", "region": "eu-frankfurt-1"}[field]
    with pytest.raises(ClusterError, match=f"{field} cannot change"):
        namespace.kubectl("apply", "--filename=-", text=pool(pool_name, {field: other}))
