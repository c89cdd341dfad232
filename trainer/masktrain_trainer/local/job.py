"""From a manifest to one attempt on this machine."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from masktrain_trainer.config import DEVICE_VARIABLE, FailureReason, RunConfig
from masktrain_trainer.train.errors import UserError

from .dataset_zip import as_archive, sha256_of
from .manifest import Changes, Manifest, read_manifest

RUNS = "runs"


@dataclass(frozen=True)
class LocalJob:
    """`environment`: what the training's processes get on top of the command's own. `notes`: what a person should know
    beforehand, a line each.
    """

    config: RunConfig
    ranks: int
    environment: dict[str, str]
    notes: list[str]


@dataclass(frozen=True)
class Request:
    """What the command line asks for; `results` is a folder or a URI."""

    manifest: Path
    data: str | None = None
    results: str | None = None
    endpoint: str | None = None
    assignments: tuple[str, ...] = ()


def plan_job(request: Request, scratch: Path) -> LocalJob:
    """Read the manifest and fit it to this machine. Raises UserError or InvalidDataset.

    A folder of data becomes a zip in `scratch`, as a store would hold it.
    """
    archive = local_archive(request.data, scratch) if request.data else None
    changes = Changes(
        dataset=archive.as_uri() if archive else request.data,
        results=_results_uri(request),
        endpoint=request.endpoint,
        assignments=request.assignments,
    )
    manifest = read_manifest(request.manifest, changes)
    environment = _environment(manifest)
    ranks, notes = _ranks(manifest, environment)
    if manifest.ignored:
        notes.insert(0, f"Without a cluster these have no effect: {', '.join(manifest.ignored)}.")
    return LocalJob(_run_config(manifest, archive), ranks, environment, notes)


def local_archive(data: str, scratch: Path) -> Path | None:
    """The zip of a folder or file; None for what lies in a store. Raises InvalidDataset."""
    return None if "://" in data else as_archive(Path(data), scratch)


def local_path(uri: str) -> str:
    """How a person would write the place: a plain path for file:// URIs."""
    return uri.removeprefix("file://")


def _results_uri(request: Request) -> str:
    """By default a folder beside the manifest."""
    results = request.results or str(request.manifest.parent / RUNS)
    return results if "://" in results else Path(results).resolve().as_uri()


def _run_config(manifest: Manifest, archive: Path | None) -> RunConfig:
    spec = manifest.spec
    identity = sha256_of(archive) if archive else spec.dataset.sha256 or spec.dataset.uri
    return RunConfig(
        namespace=manifest.namespace,
        name=manifest.name,
        uid=_uid(manifest, identity),
        attempt=0,
        model=spec.model,
        dataset=spec.dataset,
        training=spec.training,
        checkpoint=spec.checkpoint,
        hang_timeout_seconds=spec.limits.hang_timeout_seconds,
        stop_grace_seconds=spec.limits.stop_grace_seconds,
    )


def _uid(manifest: Manifest, dataset: str) -> str:
    """The same model, data and training go on from their checkpoints; anything else starts anew, beside them."""
    spec = manifest.spec
    document = [spec.model.to_json(), spec.training.to_json(), dataset]
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()[:12]


def _environment(manifest: Manifest) -> dict[str, str]:
    given = {variable.name: variable.value for variable in manifest.spec.compute.env if variable.value is not None}
    device = os.environ.get(DEVICE_VARIABLE) or given.get(DEVICE_VARIABLE)
    if device is None:
        device = "auto" if cuda_devices() else "cpu"
    return given | {DEVICE_VARIABLE: device}


def _ranks(manifest: Manifest, environment: dict[str, str]) -> tuple[int, list[str]]:
    """As many as the job has on a node, but no more than there are GPUs.

    Raises UserError if they cannot share the batch.
    """
    asked, training = manifest.spec.compute.gpus_per_node, manifest.spec.training
    ranks, notes = asked, []
    if environment[DEVICE_VARIABLE] == "cpu":
        notes.append(f"Training on CPUs with {ranks} rank(s).")
    elif (found := cuda_devices()) < asked:
        ranks = found
        notes.append(f"This machine has {found} GPU(s), compute.gpusPerNode is {asked}: training with {found} rank(s).")
    if training.batch_size % max(ranks, 1) and not training.auto_batch:
        raise UserError(
            FailureReason.INVALID_CONFIGURATION,
            f"training.batchSize {training.batch_size} must be a multiple of the {ranks} ranks that share it.",
        )
    return ranks, notes


def cuda_devices() -> int:
    import torch  # noqa: PLC0415 - seconds that a job on CPUs by its manifest need not wait

    return torch.cuda.device_count()
