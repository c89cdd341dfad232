"""Attacks on the operator's memory by what it has to keep: a team's own jobs and pods, as large as they may be."""

import json
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from masktrain_operator.core.gangs import gang_of
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import PODS, TRAINING_JOBS
from masktrain_operator.shell.observe import Observer
from masktrain_operator.shell.work_queue import RetryAfter
from tests.unit.operator.manifests import UID, job_body, pod

MOST_BYTES = 10_000
WIDE = "\N{SNAKE}" * 4096
"""Of each variable's value as much as the schema takes; in memory each character is four bytes."""


def large_job() -> dict[str, Any]:
    env = [{"name": f"V{number}", "value": WIDE} for number in range(64)]
    body = job_body(compute={"nodes": 2, "gpusPerNode": 4, "nodeSelector": {"zone": "1"}, "env": env})
    body["metadata"]["resourceVersion"] = "1"
    return body


def test_a_job_of_a_megabyte_is_not_kept_whole_and_asks_for_the_same_nodes() -> None:
    """Attack: 500 such jobs took half a gigabyte, which is all that the chart gives the operator."""
    known, large = KnownObjects(), large_job()
    known.put(TRAINING_JOBS, large)
    (kept,) = known.training_jobs
    assert len(json.dumps(kept)) < MOST_BYTES
    assert gang_of(kept, (), (), 0) == gang_of(large, (), (), 0)
    assert known.training_jobs.slim(kept) == kept


async def test_whoever_looks_at_a_large_job_reads_all_of_it() -> None:
    known, large = KnownObjects(), large_job()
    known.put(TRAINING_JOBS, large)
    (kept,) = known.training_jobs
    client = Mock(get=AsyncMock(return_value=large))
    observer = Observer(known, client, Mock(), Mock())
    assert await observer.whole(kept) == large

    client.get.return_value = {**large, "metadata": {**large["metadata"], "uid": "of-another"}}
    with pytest.raises(RetryAfter):
        await observer.whole(kept)
    assert len(known.training_jobs) == 0


def test_a_pod_that_asks_for_a_hundred_thousand_things_is_counted_and_not_kept() -> None:
    """Attack: 1.5 MB of extended resources, 20 MB as dictionaries, in each pod of the team's own job."""
    known, large = KnownObjects(), pod()
    known.put(TRAINING_JOBS, {**job_body(), "metadata": {**job_body()["metadata"], "resourceVersion": "1"}})
    things: dict[str, str] = {f"theirs.example/r{number}": "1" for number in range(100_000)}
    large["metadata"]["resourceVersion"] = "2"
    large["spec"]["containers"] = [{"name": "c", "resources": {"limits": {**things, "nvidia.com/gpu": "3"}}}]
    known.put(PODS, large)
    (kept,) = known.pods.owned_by(UID)
    assert len(json.dumps(kept)) < MOST_BYTES
    assert kept["spec"]["containers"] == [{"resources": {"limits": {"nvidia.com/gpu": 3}}}]
