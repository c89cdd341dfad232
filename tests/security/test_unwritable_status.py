"""Attacks on limits of time and money by a job so large that nothing can be added to it: they are kept in its status.

A real API server takes a MaskTrainingJob with 1.5 MB of labels, and then refuses each larger status of it.
"""

import pytest

from masktrain_operator.shell.work_queue import ReconcileError
from tests.unit.operator.manifests import UID
from tests.unit.operator.shell.answers import refusal
from tests.unit.operator.shell.test_reconcile import Operator, operator  # noqa: F401 (a fixture)
from tests.unit.operator.world import World, running


def without_status() -> World:
    """Of two workers that run; the first status of its job was refused, too."""
    world = running()
    world.body["status"] = {}
    return world


TOO_LARGE = refusal(500, message="etcdserver: request is too large")


async def test_a_job_without_an_account_does_not_go_on(operator: Operator) -> None:  # noqa: F811
    """Attack: workers that never start. `startTimeoutSeconds` began anew at each look, and nodes were kept for ever."""
    operator.shows(without_status())
    operator.answers.errors["status"] = [TOO_LARGE]
    with pytest.raises(ReconcileError, match="too large"):
        await operator.reconcile(UID)
    assert operator.answers.asked[-1] == "delete Job masks-0"


async def test_a_job_without_an_account_gets_no_nodes(operator: Operator) -> None:  # noqa: F811
    operator.has_a_pool()
    uid = operator.submit("theirs", "radar")
    operator.answers.errors["status"] = [TOO_LARGE]
    with pytest.raises(ReconcileError):
        await operator.reconcile(uid)
    await operator.reconcile(uid)
    (condition,) = [found for found in operator.answers.statuses[-1]["conditions"] if found["type"] == "Reconciling"]
    assert condition["reason"] == "WriteRefused"
    assert "too large" in condition["message"]


async def test_another_failure_of_a_write_ends_nothing(operator: Operator) -> None:  # noqa: F811
    operator.shows(without_status())
    operator.answers.errors["status"] = [refusal(500, message="etcd has no leader")]
    with pytest.raises(ReconcileError):
        await operator.reconcile(UID)
    assert "delete Job masks-0" not in operator.answers.asked
