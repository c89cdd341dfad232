"""Who an attempt's pods are to the stores of their data and checkpoints, and the files that say so."""

from pathlib import PurePosixPath

from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import CHECKPOINT_CREDENTIALS, DATASET_CREDENTIALS, WEIGHTS_URL

_READABLE_BY_GROUP = 0o440


def credential_volumes(job: MaskTrainingJob) -> list[Manifest]:
    return [volume for volume, _ in _mounted(job)]


def credential_mounts(job: MaskTrainingJob) -> list[Manifest]:
    return [{"name": volume["name"], "mountPath": path, "readOnly": True} for volume, path in _mounted(job)]


def _mounted(job: MaskTrainingJob) -> list[tuple[Manifest, str]]:
    """Each volume and where it is mounted."""
    stores = (
        ("dataset-credentials", job.spec.dataset.store, DATASET_CREDENTIALS),
        ("checkpoint-credentials", job.spec.checkpoint.store, CHECKPOINT_CREDENTIALS),
    )
    found = [
        (_secret_volume(name, store.credentials_secret_ref.name), path)
        for name, store, path in stores
        if store is not None and store.credentials_secret_ref is not None
    ]
    if (weights := job.spec.model.weights_secret_ref) is not None:
        file = PurePosixPath(WEIGHTS_URL)
        items: list[Manifest] = [{"key": weights.key, "path": file.name}]
        found.append((_secret_volume("weights-url", weights.name, items=items), str(file.parent)))
    return found


def _secret_volume(name: str, secret: str, **more: list[Manifest]) -> Manifest:
    """Optional: a missing Secret becomes a sentence from the trainer instead of a pod that never starts."""
    return {
        "name": name,
        "secret": {"secretName": secret, "optional": True, "defaultMode": _READABLE_BY_GROUP, **more},
    }
