"""Which attempt is the current one, how far its gang is, and what its rank 0 said last.

The number is the highest seen anywhere: a Job that was created without the status being written counts, and so does a
status whose Job is gone. Rank 0 speaks for its attempt: it answers `/progress`, and its termination message is a
`Progress` as JSON. That message is a hint only: it vanishes with the pod, and after a crash it is the end of the log.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from masktrain_operator.api.status import read_leniently
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_trainer.config import Progress

from . import jobs, pods
from .types import Manifest, Observed


@dataclass(frozen=True)
class Attempt:
    """One try: a Job, if it still exists, and its pods."""

    number: int
    job: Manifest | None
    pods: tuple[Manifest, ...]

    @property
    def is_complete(self) -> bool:
        return self.job is not None and jobs.is_complete(self.job)

    @property
    def has_failed(self) -> bool:
        return self.job is not None and bool(jobs.failure(self.job))

    @property
    def is_answering(self) -> bool:
        """Whether its rank 0 is there to be asked how far it is."""
        pod = newest_rank_zero(self.pods)
        return pod is not None and pods.is_ready(pod) and not pods.is_terminal(pod)

    def all_workers_started(self, nodes: int) -> bool:
        # Ranks and not pods are counted: a Job that was made again has a second pod of the same rank.
        return len({pods.node_rank(pod) for pod in self.pods if pods.has_started(pod)}) >= nodes

    def all_workers_scheduled(self, nodes: int) -> bool:
        return len({pods.node_rank(pod) for pod in self.pods if pods.is_scheduled(pod)}) >= nodes


def current_attempt(job: MaskTrainingJob, observed: Observed) -> Attempt | None:
    """The newest attempt, None before the first."""
    # Not of pods: those of an attempt whose Job was deleted may outlive it, and make it no newer.
    numbers = [jobs.attempt_number(manifest) for manifest in observed.jobs]
    if job.status.attempt is not None:
        numbers.append(job.status.attempt)
    newest = max(numbers, default=-1)
    return find_attempt(observed, newest) if newest >= 0 else None


def find_attempt(observed: Observed, number: int) -> Attempt:
    job = next((manifest for manifest in observed.jobs if jobs.attempt_number(manifest) == number), None)
    return Attempt(number, job, pods_of_attempt(observed, number))


def pods_of_attempt(observed: Observed, number: int) -> tuple[Manifest, ...]:
    return tuple(pod for pod in observed.pods if jobs.attempt_number(pod) == number)


def gang_is_gone(observed: Observed) -> bool:
    """Whether a new gang may start: no Job can start a pod any more, and no pod can still write or hold a GPU."""
    # Both: a new Job has no pods yet, and the pods of a deleted Job outlive it.
    return all(map(jobs.is_over, observed.jobs)) and all(map(pods.is_terminal, observed.pods))


def rank_zero_pod(observed: Observed) -> Manifest | None:
    """Rank 0's pod of the newest attempt that has pods; a live one before a terminal one of the same attempt."""
    newest = max(map(jobs.attempt_number, (*observed.jobs, *observed.pods)), default=-1)
    return newest_rank_zero(pod for pod in observed.pods if jobs.attempt_number(pod) == newest)


def newest_rank_zero(candidates: Iterable[Manifest]) -> Manifest | None:
    """Among pods of one attempt there can be two when its Job was deleted and made again."""
    of_rank_zero = [pod for pod in candidates if pods.node_rank(pod) == 0]
    return max(of_rank_zero, key=_liveliness, default=None)


def _liveliness(pod: Manifest) -> tuple[bool, str, str]:
    # Kubernetes writes creation times in UTC and without fractions: as text they sort like times.
    return not pods.is_terminal(pod), pod["metadata"].get("creationTimestamp", ""), pods.name(pod)


def parse_final_progress(message: str) -> Progress | None:
    """A termination message; None if it is something else, like the end of a log."""
    try:
        return read_leniently(Progress, json.loads(message))
    # Broken JSON and what pydantic refuses are ValueErrors; brackets a thousand deep are no mistake of a trainer.
    except (ValueError, RecursionError):
        return None


def newest_progress(attempt: Attempt, observed: Observed) -> Progress | None:
    """What rank 0 of the attempt said last: in its termination message, else in its last answer."""
    pod = newest_rank_zero(attempt.pods)
    ended = pods.termination(pod) if pod else None
    # The termination message first: the last answer to a question is from before the end.
    said = [parse_final_progress(ended.message) if ended else None, observed.progress]
    # The pod that was asked may be of an older attempt, while this one's is not seen yet.
    return next((progress for progress in said if progress and progress.attempt == attempt.number), None)
