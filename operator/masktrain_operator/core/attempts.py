"""Which attempt is the current one, and how far its gang is.

The number is the highest seen anywhere: a Job that was created without the status being written counts, and so does a
status whose Job is gone.
"""

from dataclasses import dataclass

from masktrain_operator.api.v1alpha1 import MaskTrainingJob

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

    def all_workers_started(self, nodes: int) -> bool:
        return len({pods.node_rank(pod) for pod in self.pods if pods.has_started(pod)}) >= nodes

    def all_workers_scheduled(self, nodes: int) -> bool:
        return len({pods.node_rank(pod) for pod in self.pods if pods.is_scheduled(pod)}) >= nodes


def current_attempt(job: MaskTrainingJob, observed: Observed) -> Attempt | None:
    """The newest attempt, None before the first."""
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
    return all(map(jobs.is_finished, observed.jobs)) and all(map(pods.is_terminal, observed.pods))
