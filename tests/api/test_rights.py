"""What the chart's ServiceAccounts may not do, by the API server's own judgement."""

import pytest

from devcluster.cluster import Cluster, ClusterError
from tests.api.namespace import ApiNamespace
from tests.unit.chart.rendering import NAME, OPERATOR_NAMESPACE

pytestmark = pytest.mark.api

OPERATOR = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{NAME}"
SWEEPER = f"{OPERATOR}-sweeper"
FORBIDDEN_TO_BOTH: list[tuple[str, ...]] = [
    ("get", "secrets"),
    ("list", "secrets"),
    ("create", "pods", "--subresource=exec"),
    ("update", "resourcequotas"),
    ("patch", "namespaces"),
    ("patch", "jobs"),
    ("patch", "masktrainingjobs"),
    ("delete", "masktrainingjobs"),
    ("create", "nodes"),
    ("delete", "nodes"),
    ("patch", "nodes", "--subresource=status"),
    ("create", "gpunodepools"),
    ("delete", "gpunodepools"),
    ("create", "leases"),
    ("create", "serviceaccounts", "--subresource=token"),
]
FORBIDDEN_TO_THE_SWEEPER: list[tuple[str, ...]] = [
    ("create", "jobs"),
    ("create", "pods"),
    ("delete", "pods"),
    ("list", "namespaces"),
    ("list", "resourcequotas"),
    ("patch", "gpunodepools"),
    ("patch", "masktrainingjobs", "--subresource=status"),
    ("list", "services"),
]


@pytest.fixture
def elsewhere(installed: Cluster) -> ApiNamespace:
    """A namespace that is neither the operator's own nor the one that events of the cluster go to."""
    return ApiNamespace(installed, "kube-public")


def may(namespace: ApiNamespace, account: str, *request: str) -> bool:
    """`request` is in the words of `kubectl auth can-i`, for which a resource with a slash is an object's name."""
    try:
        namespace.kubectl("auth", "can-i", *request, f"--as={account}", "--quiet")
    except ClusterError:
        return False
    return True


@pytest.mark.parametrize(
    ("account", "words"),
    [(account, request) for account in (OPERATOR, SWEEPER) for request in FORBIDDEN_TO_BOTH]
    + [(SWEEPER, request) for request in FORBIDDEN_TO_THE_SWEEPER],
)
def test_no_account_has_a_right_that_it_does_not_need(
    elsewhere: ApiNamespace, account: str, words: tuple[str, ...]
) -> None:
    assert not may(elsewhere, account, *words)


@pytest.mark.parametrize("account", [OPERATOR, SWEEPER])
def test_secrets_are_read_in_the_operators_namespace_and_never_listed(installed: Cluster, account: str) -> None:
    system = ApiNamespace(installed, OPERATOR_NAMESPACE)

    assert may(system, account, "get", "secret/oci-api-key")
    assert not may(system, account, "list", "secrets")


def test_the_sweeper_cannot_renew_the_lease_that_it_judges_by(installed: Cluster) -> None:
    system = ApiNamespace(installed, OPERATOR_NAMESPACE)

    assert may(system, OPERATOR, "patch", f"lease/{NAME}")
    assert may(system, SWEEPER, "get", f"lease/{NAME}")
    assert not may(system, SWEEPER, "patch", f"lease/{NAME}")


def test_the_judgement_is_not_always_no(elsewhere: ApiNamespace) -> None:
    assert may(elsewhere, OPERATOR, "create", "jobs")
    assert may(elsewhere, OPERATOR, "create", "pods"), "for show: with dryRun=All, before nodes come"
    assert may(elsewhere, OPERATOR, "patch", "masktrainingjobs", "--subresource=status")
    assert may(elsewhere, SWEEPER, "list", "jobs")
    assert may(elsewhere, SWEEPER, "patch", "gpunodepools", "--subresource=status")
