"""The environment of a trainer: its configuration and torchrun's static rendezvous."""

from masktrain_operator.api import labels
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_trainer.config import CONFIG_VARIABLE, POD_UID_VARIABLE, RENDEZVOUS_PORT, RunConfig

from .names import master_address
from .types import Manifest


def environment(job: MaskTrainingJob, attempt: int) -> list[Manifest]:
    users = [variable.model_dump(mode="json", by_alias=True, exclude_none=True) for variable in job.spec.compute.env]
    named_by_user = {variable["name"] for variable in users}
    return [variable for variable in _own(job, attempt) if variable["name"] not in named_by_user] + users


def _own(job: MaskTrainingJob, attempt: int) -> list[Manifest]:
    """Each option of torchrun is read from a variable `PET_<OPTION>`."""
    return [
        _value(CONFIG_VARIABLE, _literal(run_config(job, attempt).to_json())),
        _value("PET_NNODES", str(job.spec.compute.nodes)),
        _value("PET_NPROC_PER_NODE", str(job.spec.compute.gpus_per_node)),
        _field("PET_NODE_RANK", f"metadata.annotations['{labels.COMPLETION_INDEX}']"),
        _value("PET_MASTER_ADDR", master_address(job.metadata.name, attempt)),
        _value("PET_MASTER_PORT", str(RENDEZVOUS_PORT)),
        _field(POD_UID_VARIABLE, "metadata.uid"),
        _value("HOME", "/tmp"),  # noqa: S108 - the only home a read-only root file system leaves
        _value("PYTHONUNBUFFERED", "1"),
    ]


def run_config(job: MaskTrainingJob, attempt: int) -> RunConfig:
    return RunConfig(
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        uid=job.metadata.uid,
        attempt=attempt,
        model=job.spec.model,
        dataset=job.spec.dataset,
        training=job.spec.training,
        checkpoint=job.spec.checkpoint,
        hang_timeout_seconds=job.spec.limits.hang_timeout_seconds,
        stop_grace_seconds=job.spec.limits.stop_grace_seconds,
    )


def _literal(value: str) -> str:
    """Kubernetes expands `$(NAME)` in values of its own accord; `$$` is its way to write a dollar."""
    return value.replace("$", "$$")


def _value(name: str, value: str) -> Manifest:
    return {"name": name, "value": value}


def _field(name: str, path: str) -> Manifest:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
