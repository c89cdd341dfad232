"""A MaskTrainingJob's manifest as a training on this machine understands it: the same file that kubectl applies.

What is trained is the shared contract. Of `compute` and `limits` only what has a meaning without a cluster is read; the
names of the rest are known, so that a misspelt one is still told apart from one that has no effect here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from masktrain_trainer.config import (
    RESERVED_VARIABLES,
    CheckpointSpec,
    Contract,
    DatasetSpec,
    FailureReason,
    ModelSpec,
    TrainingSpec,
)
from masktrain_trainer.config.explain import explain
from masktrain_trainer.train.errors import UserError

KIND = "MaskTrainingJob"
GROUP = "masktrain.dev/"
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")
_ANY = Field(default=None)


class EnvironmentVariable(Contract):
    name: str
    value: str | None = None
    value_from: Any = _ANY


class LocalCompute(Contract):
    """The `compute` section; only the first two fields count here."""

    gpus_per_node: int = Field(default=1, ge=1, le=16, description="Ranks.")
    env: list[EnvironmentVariable] = Field(default=[], description="More environment variables of the training.")
    nodes: Any = _ANY
    gpu_resource: Any = _ANY
    node_pool_ref: Any = _ANY
    image: Any = _ANY
    image_pull_secrets: Any = _ANY
    resources: Any = _ANY
    node_selector: Any = _ANY
    tolerations: Any = _ANY
    priority_class_name: Any = _ANY
    service_account_name: Any = _ANY
    shared_memory: Any = _ANY
    persistent_volume_claims: Any = _ANY


class LocalLimits(Contract):
    """The `limits` section; only the first two fields count here."""

    hang_timeout_seconds: int = Field(default=300, ge=10, le=86_400)
    stop_grace_seconds: int = Field(default=120, ge=10, le=3600)
    max_restarts_without_progress: Any = _ANY
    start_deadline_seconds: Any = _ANY
    max_cost: Any = _ANY
    active_deadline_seconds: Any = _ANY
    ttl_seconds_after_finished: Any = _ANY


class LocalJobSpec(Contract):
    model: ModelSpec = ModelSpec()
    dataset: DatasetSpec = Field(description="What to train on.")
    training: TrainingSpec = TrainingSpec()
    checkpoint: CheckpointSpec = Field(description="Where checkpoints and results go.")
    compute: LocalCompute = LocalCompute()
    limits: LocalLimits = LocalLimits()


@dataclass(frozen=True)
class Manifest:
    """`ignored`: dotted names of what was set and has no effect on this machine."""

    namespace: str
    name: str
    spec: LocalJobSpec
    ignored: list[str]


@dataclass(frozen=True)
class Changes:
    """What the command line puts over the manifest: URIs, the S3 endpoint, and `path.to.field=value` assignments."""

    dataset: str | None = None
    results: str | None = None
    endpoint: str | None = None
    assignments: Sequence[str] = ()


def read_manifest(path: Path, changes: Changes) -> Manifest:
    """Raises UserError with one line for everything that is wrong with the file."""
    document = _the_job(path)
    spec, metadata = document.get("spec"), document.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    name = metadata.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _refusal(
            f"{path}: metadata.name must be 1 to 50 lower-case letters, digits and '-', starting with a letter."
        )
    if not isinstance(spec, dict):
        raise _refusal(f"{path} has no spec; it needs at least spec.dataset.")
    for assignment in changes.assignments:
        _assign(spec, assignment)
    ignored = list(_ignored(spec, changes))
    return Manifest(
        str(metadata.get("namespace", "default")), name, _validated(path, _localised(spec, changes)), ignored
    )


def _the_job(path: Path) -> dict[str, Any]:
    jobs = [document for document in _documents(path) if document.get("kind") == KIND]
    if len(jobs) > 1:
        raise _refusal(f"{path} holds {len(jobs)} documents of kind {KIND}; keep one job in a file.")
    if not jobs:
        kinds = ", ".join(sorted({str(document.get("kind", "no kind")) for document in _documents(path)}))
        raise _refusal(f"{path} holds no {KIND} but {kinds or 'nothing'}; give the manifest of a training job.")
    version = str(jobs[0].get("apiVersion", ""))
    if not version.startswith(GROUP):
        raise _refusal(f"{path}: apiVersion is {version!r}; a {KIND} has {GROUP}v1alpha1.")
    return jobs[0]


def _documents(path: Path) -> list[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        raise _refusal(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _refusal(f"{path} cannot be read as text: {error}.") from None
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        where = f" (line {mark.line + 1}: {getattr(error, 'problem', '')})" if mark else ""
        raise _refusal(f"{path} is not valid YAML{where}; repair it.") from None
    unusable = [document for document in documents if document is not None and not isinstance(document, dict)]
    if unusable:
        raise _refusal(f"{path} must hold a manifest, but holds a {type(unusable[0]).__name__}.")
    return [document for document in documents if document is not None]


def _assign(spec: dict[str, Any], assignment: str) -> None:
    path, equals, text = assignment.partition("=")
    *sections, field = path.removeprefix("spec.").split(".")
    if not equals or not field:
        raise _refusal(f"--set {assignment!r} must look like training.epochs=3.")
    section = spec
    for name in sections:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            raise _refusal(f"--set {assignment!r}: {name} is no section of the job.")
    try:
        section[field] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise _refusal(f"--set {assignment!r}: {text!r} is not a YAML value.") from None


def _ignored(spec: dict[str, Any], changes: Changes) -> Iterator[str]:
    checkpoint = _section(spec, "checkpoint")
    if "uri" in checkpoint and checkpoint["uri"] != changes.results:
        yield "checkpoint.uri"
    for section in ("dataset", "checkpoint") if changes.dataset is None else ("checkpoint",):
        if "credentialsSecretRef" in _section(_section(spec, section), "store"):
            yield f"{section}.store.credentialsSecretRef"
    for section, model in (("compute", LocalCompute), ("limits", LocalLimits)):
        unread = {field.alias for field in model.model_fields.values() if field.annotation is Any}
        given = _section(spec, section).items()
        yield from (f"{section}.{name}" for name, value in given if name in unread and (name, value) != ("nodes", 1))
    for variable in _section(spec, "compute").get("env") or []:
        if isinstance(variable, dict) and "valueFrom" in variable:
            yield f"compute.env[{variable.get('name')}].valueFrom"


def _localised(spec: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """The spec with the command line's places in it, and without Secrets, which only a cluster has."""
    dataset, checkpoint = _section(spec, "dataset"), _section(spec, "checkpoint")
    if changes.dataset is not None:
        dataset = {"uri": changes.dataset}
    if changes.results is not None:
        checkpoint = checkpoint | {"uri": changes.results}
    places = {"dataset": dataset, "checkpoint": checkpoint}
    found = {name: _with_store(place, changes.endpoint) for name, place in places.items() if place}
    return {**spec, **found}


def _with_store(place: dict[str, Any], endpoint: str | None) -> dict[str, Any]:
    store = {name: value for name, value in _section(place, "store").items() if name != "credentialsSecretRef"}
    if endpoint is not None:
        store["endpoint"] = endpoint
    return place | {"store": store} if store else {name: value for name, value in place.items() if name != "store"}


def _validated(path: Path, spec: dict[str, Any]) -> LocalJobSpec:
    try:
        found = LocalJobSpec.model_validate(spec)
    except ValidationError as error:
        raise _refusal("\n".join(f"{path}: {sentence}" for sentence in explain(error, LocalJobSpec))) from None
    wrong = list(_contradictions(found))
    if wrong:
        raise _refusal("\n".join(f"{path}: {sentence}" for sentence in wrong))
    return found


def _contradictions(spec: LocalJobSpec) -> Iterator[str]:
    """What the API server refuses with rules over several fields."""
    training, stride = spec.training, spec.model.architecture.max_stride
    if training.image_size % stride:
        yield f"training.imageSize must be a multiple of {stride} for {spec.model.architecture.value}."
    if training.compile and training.multi_scale:
        yield "training.compile and training.multiScale exclude each other: a compiled model trains at one size."
    for variable in spec.compute.env:
        if variable.name in RESERVED_VARIABLES:
            yield f"compute.env must not name {variable.name}, which the launch itself sets."


def _section(spec: dict[str, Any], name: str) -> dict[str, Any]:
    found = spec.get(name)
    return found if isinstance(found, dict) else {}


def _refusal(message: str) -> UserError:
    return UserError(FailureReason.INVALID_CONFIGURATION, message)
