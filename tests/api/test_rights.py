"""What the chart's ServiceAccount may not do, by the API server's own judgement."""

import pytest

from tests.api.namespace import ApiNamespace
from tests.devcluster.cluster import ClusterError
from tests.unit.chart.rendering import NAME, OPERATOR_NAMESPACE

pytestmark = pytest.mark.api

ACCOUNT = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{NAME}"


def may(namespace: ApiNamespace, verb: str, resource: str, account: str = ACCOUNT) -> bool:
    try:
        namespace.kubectl("auth", "can-i", verb, resource, f"--as={account}", "--quiet")
    except ClusterError:
        return False
    return True


@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("patch", "jobs"),
        ("patch", "masktrainingjobs"),
        ("delete", "masktrainingjobs"),
        ("list", "nodes"),
        ("create", "serviceaccounts/token"),
    ],
)
def test_the_operator_has_no_right_that_it_does_not_need(namespace: ApiNamespace, verb: str, resource: str) -> None:
    assert not may(namespace, verb, resource)


def test_the_judgement_is_not_always_no(namespace: ApiNamespace) -> None:
    assert may(namespace, "create", "jobs")
