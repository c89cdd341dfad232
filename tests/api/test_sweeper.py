"""`masktrain-operator sweep` as its CronJob runs it: a process with the rights of the sweeper's ServiceAccount."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from devcluster.cluster import Cluster
from devcluster.oracle.clock import SystemClock
from devcluster.oracle.running import FakeOci, running
from devcluster.oracle.signing import Credentials
from devcluster.waiting import wait_until
from tests.api import chart
from tests.api.abandoned_pool import QUICK, AbandonedPool
from tests.api.namespace import ApiNamespace
from tests.api.operator_process import OperatorProcess
from tests.unit.chart.rendering import NAME, OPERATOR_NAMESPACE

pytestmark = pytest.mark.api

LONG_AGO = timedelta(minutes=10)
Sweep = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def fake(oci_credentials: Credentials) -> Iterator[FakeOci[SystemClock]]:
    with running((QUICK,), SystemClock(), oci_credentials) as started:
        yield started


@pytest.fixture
def pool(namespace: ApiNamespace, fake: FakeOci[SystemClock]) -> Iterator[AbandonedPool]:
    found = AbandonedPool(namespace, fake)
    found.create()
    yield found
    found.remove()


@pytest.fixture
def sweep(installed: Cluster, fake: FakeOci[SystemClock], tmp_path: Path) -> Sweep:
    kubeconfig = chart.service_account_kubeconfig(installed, tmp_path / "kubeconfig", f"{NAME}-sweeper")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "KUBECONFIG": str(kubeconfig),
        "MASKTRAIN_OPERATOR_OCI_ENDPOINT": fake.endpoint,
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "masktrain_operator", "sweep", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        assert "forbidden" not in done.stderr, done.stderr
        return done

    return run


def test_only_the_idle_node_that_the_operator_added_is_removed(
    pool: AbandonedPool, sweep: Sweep, installed: Cluster
) -> None:
    pool.renew_lease(LONG_AGO)

    done = sweep()

    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"GPUNodePool gpu: Removed node {pool.added.name}: idle since ")
    assert pool.standing == {pool.busy.name, pool.by_hand.name}
    assert pool.changes == ["delete_node"]
    assert {node["name"]: node["state"] for node in pool.status["nodes"]} == {
        pool.busy.name: "Busy",
        pool.by_hand.name: "Idle",
    }
    told = [event["involvedObject"]["uid"] for event in ApiNamespace(installed, "default").events("NodeRemoved")]
    assert told.count(pool.uid) == 1


def test_nothing_is_touched_while_the_operator_lives(pool: AbandonedPool, sweep: Sweep) -> None:
    pool.renew_lease(timedelta(seconds=20))

    done = sweep()

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The operator is alive, its Lease was renewed 2")
    assert (pool.changes, pool.cordoned) == ([], [])


def test_an_operator_that_lives_and_stands_still_is_gone_for_the_pool(pool: AbandonedPool, sweep: Sweep) -> None:
    pool.renew_lease(timedelta(0), looked=timedelta(minutes=11))

    done = sweep()

    assert done.returncode == 0, done.stderr
    assert pool.standing == {pool.busy.name, pool.by_hand.name}


def test_an_operator_that_has_just_looked_keeps_the_sweeper_away(pool: AbandonedPool, sweep: Sweep) -> None:
    pool.renew_lease(timedelta(0), looked=timedelta(minutes=9))

    done = sweep()

    assert done.stdout.startswith("The operator is alive"), done.stderr
    assert (pool.changes, pool.cordoned) == ([], [])


def test_what_a_living_operator_cannot_do_either_is_no_failed_run(
    pool: AbandonedPool, sweep: Sweep, fake: FakeOci[SystemClock]
) -> None:
    pool.renew_lease(timedelta(0), looked=timedelta(minutes=11))
    fake.control.withhold_rights()

    done = sweep()

    assert (done.returncode, done.stderr) == (0, "")
    assert "GPUNodePool gpu: " in done.stdout


def test_an_operator_that_comes_back_takes_over_what_was_begun(pool: AbandonedPool, sweep: Sweep) -> None:
    pool.renew_lease(LONG_AGO)
    with ThreadPoolExecutor() as threads:
        running_sweep = threads.submit(sweep)
        wait_until(lambda: pool.cordoned == [pool.added.name], "the first step of the removal", seconds=60)
        pool.renew_lease(timedelta(0))
        done = running_sweep.result()

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The operator is alive")
    assert pool.changes == []


def test_an_operator_without_a_lease_is_gone_where_it_once_looked_after_a_pool(
    pool: AbandonedPool, sweep: Sweep
) -> None:
    done = sweep()

    assert done.returncode == 0, done.stderr
    assert pool.standing == {pool.busy.name, pool.by_hand.name}


def test_a_pool_that_no_operator_has_looked_after_is_left_alone(pool: AbandonedPool, sweep: Sweep) -> None:
    pool.forget_status()

    done = sweep()

    assert (done.returncode, done.stdout) == (0, "")
    assert (pool.changes, pool.cordoned) == ([], [])


def test_a_paused_pool_stays_as_it_is(pool: AbandonedPool, sweep: Sweep) -> None:
    pool.pause()
    pool.renew_lease(LONG_AGO)

    done = sweep()

    assert (done.returncode, done.stdout) == (0, "")
    assert (pool.changes, pool.cordoned) == ([], [])


def test_what_oracle_refuses_is_told_in_one_sentence(
    pool: AbandonedPool, sweep: Sweep, fake: FakeOci[SystemClock]
) -> None:
    pool.renew_lease(LONG_AGO)
    fake.control.withhold_rights()

    done = sweep()

    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("GPUNodePool gpu: ")


def test_the_operators_own_lease_keeps_the_sweeper_away(
    operator: OperatorProcess, installed: Cluster, sweep: Sweep
) -> None:
    system = ApiNamespace(installed, OPERATOR_NAMESPACE)
    wait_until(lambda: system.names("leases") == [NAME], "the operator's Lease", seconds=30)

    done = sweep()

    assert done.stdout.startswith("The operator is alive"), done.stderr
