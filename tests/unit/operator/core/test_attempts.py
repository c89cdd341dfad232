"""Which pod is asked for progress, and whose it is."""

import pytest

from masktrain_operator.core.attempts import rank_zero_pod
from masktrain_operator.core.jobs import attempt_number
from masktrain_operator.core.pods import node_rank
from masktrain_operator.core.types import Manifest, Observed
from tests.unit.operator.manifests import batch_job, ended_pod, pod


def renamed(manifest: Manifest, name: str) -> Manifest:
    return {**manifest, "metadata": {**manifest["metadata"], "name": name}}


@pytest.mark.parametrize(
    ("jobs", "pods", "name"),
    [
        ((), (), None),
        ((), (pod(1), pod(0)), "masks-0-0-abcde"),
        ((), (pod(1),), None),
        ((), (pod(0, 0), pod(0, 1)), "masks-1-0-abcde"),
        ((), (pod(0, 9), pod(0, 10)), "masks-10-0-abcde"),
        ((batch_job(1),), (pod(0, 0),), None),
        ((), (renamed(ended_pod(0, code=1), "z"), renamed(pod(0), "a")), "a"),
    ],
    ids=[
        "no pods",
        "by its index",
        "rank 0 is not there",
        "of the newest attempt",
        "attempts are numbers",
        "the newest attempt has no pods yet",
        "the living one of two",
    ],
)
def test_rank_zero(jobs: tuple[Manifest, ...], pods: tuple[Manifest, ...], name: str | None) -> None:
    found = rank_zero_pod(Observed(jobs=jobs, pods=pods))
    assert (found["metadata"]["name"] if found else None) == name


@pytest.mark.parametrize("written", ["x", "", "-1", "²", "9" * 60])
def test_a_label_that_somebody_wrote_over_is_no_rank_and_no_attempt(written: str) -> None:
    odd = pod()
    odd["metadata"]["labels"] |= {"batch.kubernetes.io/job-completion-index": written, "masktrain.dev/attempt": written}
    assert (node_rank(odd), attempt_number(odd)) == (None, -1)


def test_the_annotation_of_an_older_controller_names_the_rank() -> None:
    older = pod()
    older["metadata"]["annotations"] = {
        "batch.kubernetes.io/job-completion-index": older["metadata"]["labels"].pop(
            "batch.kubernetes.io/job-completion-index"
        )
    }
    assert node_rank(older) == 0
