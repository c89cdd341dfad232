"""The volumes of a trainer pod: its root file system is read-only."""

from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_trainer.config import CHECKPOINT_CREDENTIALS, DATASET_CREDENTIALS, WORKSPACE, StoreSpec

from .types import Manifest

_READABLE_BY_GROUP = 0o440


def volumes(job: MaskTrainingJob) -> list[Manifest]:
    shared_memory = {"medium": "Memory", "sizeLimit": job.spec.compute.shared_memory}
    return [
        {"name": "workspace", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": shared_memory},
        *(_secret_volume(name, secret) for name, secret, _ in _credentials(job)),
        *(
            {"name": f"claim-{i}", "persistentVolumeClaim": {"claimName": claim.claim_name}}
            for i, claim in enumerate(job.spec.compute.persistent_volume_claims)
        ),
    ]


def volume_mounts(job: MaskTrainingJob) -> list[Manifest]:
    return [
        {"name": "workspace", "mountPath": WORKSPACE},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own folder
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - DataLoader workers and NCCL look for it there
        *({"name": name, "mountPath": path, "readOnly": True} for name, _, path in _credentials(job)),
        *(
            {"name": f"claim-{i}", "mountPath": claim.mount_path, "readOnly": claim.read_only}
            for i, claim in enumerate(job.spec.compute.persistent_volume_claims)
        ),
    ]


def _credentials(job: MaskTrainingJob) -> list[tuple[str, str, str]]:
    """(volume, Secret, mount path) of each store that names a Secret."""
    stores = (
        ("dataset-credentials", job.spec.dataset.store, DATASET_CREDENTIALS),
        ("checkpoint-credentials", job.spec.checkpoint.store, CHECKPOINT_CREDENTIALS),
    )
    return [(name, secret, path) for name, store, path in stores if (secret := _secret_name(store)) is not None]


def _secret_name(store: StoreSpec | None) -> str | None:
    reference = store.credentials_secret_ref if store else None
    return reference.name if reference else None


def _secret_volume(name: str, secret: str) -> Manifest:
    """Optional: a missing Secret becomes a sentence from the trainer instead of a pod that never starts."""
    return {"name": name, "secret": {"secretName": secret, "optional": True, "defaultMode": _READABLE_BY_GROUP}}
