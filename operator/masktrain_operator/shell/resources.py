"""The kinds of objects that the operator touches: where the API serves them."""

from dataclasses import dataclass
from typing import Final

from masktrain_operator.api import labels


@dataclass(frozen=True)
class ResourceKind:
    """One namespaced kind. `selector` limits what is listed and watched to objects of ours."""

    group: str
    version: str
    kind: str
    plural: str
    selector: str = ""
    subresources: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


OWNED: Final = labels.JOB_UID_LABEL
TRAINING_JOBS: Final = ResourceKind(labels.GROUP, labels.VERSION, labels.KIND, labels.PLURAL, subresources=("status",))
JOBS: Final = ResourceKind("batch", "v1", "Job", "jobs", OWNED)
PODS: Final = ResourceKind("", "v1", "Pod", "pods", OWNED)
SERVICES: Final = ResourceKind("", "v1", "Service", "services", OWNED)
EVENTS: Final = ResourceKind("", "v1", "Event", "events")

WATCHED: Final = (TRAINING_JOBS, JOBS, PODS, SERVICES)
BY_NAME: Final = {(kind.api_version, kind.kind): kind for kind in (*WATCHED, EVENTS)}
