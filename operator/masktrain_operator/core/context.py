"""The context of one plan: the job, what was observed, the time and the settings."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from masktrain_operator.api.status import MaskTrainingJobStatus
from masktrain_operator.api.v1alpha1 import MaskTrainingJob

from .attempts import Attempt, current_attempt
from .manifests.metadata import is_controlled_by
from .types import Manifest, Observed, PlanSettings


@dataclass(frozen=True)
class Context:
    job: MaskTrainingJob
    observed: Observed
    now: datetime
    """In whole seconds, like every time in a status."""
    settings: PlanSettings

    @property
    def status(self) -> MaskTrainingJobStatus:
        """As last written."""
        return self.job.status

    @cached_property
    def attempt(self) -> Attempt | None:
        """The newest attempt, None before the first."""
        return current_attempt(self.job, self.observed)

    @property
    def attempt_is_accounted(self) -> bool:
        """Whether the end of the newest attempt stands in the status, so that the next one may follow."""
        failure = self.status.restarts.last_failure
        return self.attempt is not None and failure is not None and failure.attempt >= self.attempt.number

    @property
    def is_service_ours(self) -> bool:
        """Whether the Service of the job's name is the job's own, or may become it because there is none."""
        return self._may_write(self.observed.service)

    @property
    def is_network_policy_ours(self) -> bool:
        """As for the Service."""
        return self._may_write(self.observed.network_policy)

    def _may_write(self, existing: Manifest | None) -> bool:
        return existing is None or is_controlled_by(existing, self.job.metadata.uid)
