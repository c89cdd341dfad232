"""A MaskTrainingJob's manifest as a training on this machine understands it: the same file that kubectl applies.

What is trained is the shared contract. Of `compute` and `limits` only what has a meaning without a cluster is read; the
names of the rest are known, so that a misspelt one is still told apart from one that has no effect here.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from masktrain_trainer.config import (
    DATASET_URL_VARIABLE,
    DATASET_WITH_QUERY,
    DEVICE_VARIABLE,
    ENDPOINT_WITH_LOGIN,
    RESERVED_VARIABLES,
    WEIGHTS_WITH_QUERY,
    CheckpointSpec,
    Contract,
    DatasetSpec,
    EvaluationSpec,
    ExportSpec,
    JobModelSpec,
    RunConfig,
    TrainingSpec,
    holds_secret,
    is_signed,
)
from masktrain_trainer.config.explain import explain
from masktrain_trainer.data.source.yaml_file import BoundedLoader
from masktrain_trainer.errors import InvalidConfiguration, UserError
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores.web import whole_link

from .datasets import as_archive, linked_dataset, refuse_key
from .results import keep_apart, keep_apart_in_data, results_uri

KIND = "MaskTrainingJob"
GROUP = "masktrain.dev/"
# The cluster's rule, so that a file that trains here can be applied there.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?")
_ANY = Field(default=None)
_OF_THE_CLUSTER = ("auth", "credentialsSecretRef")
"""Fields of a store that only a cluster has a meaning for; here the usual variables and config files count."""


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
    model: JobModelSpec = JobModelSpec()
    dataset: DatasetSpec = Field(description="What to train on.")
    training: TrainingSpec = TrainingSpec()
    checkpoint: CheckpointSpec = Field(description="Where checkpoints and results go.")
    export: ExportSpec | None = None
    evaluation: EvaluationSpec | None = None
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
class Overrides:
    """What the command line puts over the manifest: URIs, the S3 endpoint, and `path.to.field=value` assignments."""

    dataset: str | None = None
    results: str | None = None
    endpoint: str | None = None
    assignments: Sequence[str] = ()


def read_manifest(path: Path, changes: Overrides) -> Manifest:
    """Raises UserError with one line for everything that is wrong with the file."""
    document = _the_job(path)
    spec, metadata = document.get("spec"), document.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    name = metadata.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _invalid(
            f"{path}: metadata.name must be 1 to 50 lower-case letters, digits and '-', starting with a letter."
        )
    if not isinstance(spec, dict):
        raise _invalid(f"{path} has no spec; it needs at least spec.dataset.")
    for assignment in changes.assignments:
        _assign(spec, assignment)
    ignored = list(_ignored(spec, changes))
    return Manifest(
        str(metadata.get("namespace", "default")), name, _validated(path, _localised(spec, changes)), ignored
    )


def _the_job(path: Path) -> dict[str, Any]:
    # kubectl applies files that hold other objects, too.
    jobs = [document for document in _documents(path) if document.get("kind") == KIND]
    if len(jobs) > 1:
        raise _invalid(f"{path} holds {len(jobs)} documents of kind {KIND}; keep one job in a file.")
    if not jobs:
        kinds = ", ".join(sorted({str(document.get("kind", "no kind")) for document in _documents(path)}))
        raise _invalid(f"{path} holds no {KIND} but {kinds or 'nothing'}; give the manifest of a training job.")
    version = str(jobs[0].get("apiVersion", ""))
    if not version.startswith(GROUP):
        raise _invalid(f"{path}: apiVersion is {version!r}; a {KIND} has {GROUP}v1alpha1.")
    return jobs[0]


def _documents(path: Path) -> list[dict[str, Any]]:
    try:
        documents = list(yaml.load_all(path.read_text(encoding="utf-8-sig"), BoundedLoader))
    except FileNotFoundError:
        raise _invalid(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(f"{path} cannot be read as text: {error}.") from None
    except ValueError as error:
        raise _invalid(f"{path} has a value that cannot be read ({error}); quote it.") from None
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        where = f" (line {mark.line + 1}: {getattr(error, 'problem', '')})" if mark else ""
        raise _invalid(f"{path} is not valid YAML{where}; repair it.") from None
    unusable = [document for document in documents if document is not None and not isinstance(document, dict)]
    if unusable:
        raise _invalid(f"{path} must hold a manifest, but holds a {type(unusable[0]).__name__}.")
    return [document for document in documents if document is not None]


def _assign(spec: dict[str, Any], assignment: str) -> None:
    path, equals, text = assignment.partition("=")
    *sections, field = path.removeprefix("spec.").split(".")
    if not equals or not field:
        raise _invalid(f"--set {assignment!r} must look like training.epochs=3.")
    section = spec
    for name in sections:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            raise _invalid(f"--set {assignment!r}: {name} is no section of the job.")
    try:
        # As YAML, so that numbers, lists and booleans are what they would be in the manifest.
        section[field] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise _invalid(f"--set {assignment!r}: {text!r} is not a YAML value.") from None


def _ignored(spec: dict[str, Any], changes: Overrides) -> Iterator[str]:
    checkpoint = _section(spec, "checkpoint")
    if "uri" in checkpoint and checkpoint["uri"] != changes.results:
        yield "checkpoint.uri"
    sections = ("dataset", "checkpoint", "evaluation") if changes.dataset is None else ("checkpoint", "evaluation")
    for section in sections:
        store = _section(_section(spec, section), "store")
        yield from (f"{section}.store.{name}" for name in _OF_THE_CLUSTER if name in store)
    for section, model in (("compute", LocalCompute), ("limits", LocalLimits)):
        unread = {field.alias for field in model.model_fields.values() if field.annotation is Any}
        given = _section(spec, section).items()
        # One node is what this machine is.
        yield from (f"{section}.{name}" for name, value in given if name in unread and (name, value) != ("nodes", 1))
    for variable in _section(spec, "compute").get("env") or []:
        if isinstance(variable, dict) and "valueFrom" in variable:
            yield f"compute.env[{variable.get('name')}].valueFrom"


def _localised(spec: dict[str, Any], changes: Overrides) -> dict[str, Any]:
    """The spec with the command line's places in it, and without Secrets, which only a cluster has."""
    dataset, checkpoint = _section(spec, "dataset"), _section(spec, "checkpoint")
    if changes.dataset is not None:
        # Without the manifest's sha256 and store, which are those of another data set.
        kept = {name: value for name, value in dataset.items() if name == "allowUnlabelledValidation"}
        dataset = {"uri": changes.dataset, **kept}
    if changes.results is not None:
        checkpoint = checkpoint | {"uri": changes.results}
    places = {"dataset": dataset, "checkpoint": checkpoint, "evaluation": _section(spec, "evaluation")}
    found = {name: _with_store(place, changes.endpoint) for name, place in places.items() if place}
    return {**spec, **found}


def _with_store(place: dict[str, Any], endpoint: str | None) -> dict[str, Any]:
    store = {name: value for name, value in _section(place, "store").items() if name not in _OF_THE_CLUSTER}
    if endpoint is not None:
        store["endpoint"] = endpoint
    return place | {"store": store} if store else {name: value for name, value in place.items() if name != "store"}


def _validated(path: Path, spec: dict[str, Any]) -> LocalJobSpec:
    try:
        found = LocalJobSpec.model_validate(spec)
    except ValidationError as error:
        raise _invalid("\n".join(f"{path}: {sentence}" for sentence in explain(error, LocalJobSpec))) from None
    wrong = list(_contradictions(found))
    if wrong:
        raise _invalid("\n".join(f"{path}: {sentence}" for sentence in wrong))
    return found


def _contradictions(spec: LocalJobSpec) -> Iterator[str]:
    """What the API server refuses with rules over several fields."""
    training, stride = spec.training, spec.model.architecture.max_stride
    if training.image_size % stride:
        yield f"training.imageSize must be a multiple of {stride} for {spec.model.architecture.value}."
    if training.compile and training.multi_scale:
        yield "training.compile and training.multiScale exclude each other: a compiled model trains at one size."
    yield from _secrets_in_clear(spec)
    for variable in spec.compute.env:
        if variable.name in RESERVED_VARIABLES:
            yield f"compute.env must not name {variable.name}, which the launch itself sets."


def _secrets_in_clear(spec: LocalJobSpec) -> Iterator[str]:
    if is_signed(spec.model.weights):
        yield WEIGHTS_WITH_QUERY
    yield from _data_in_clear(spec.dataset)
    if spec.model.weights_secret_ref is not None:
        yield (
            "model.weightsSecretRef names a Secret, which only a cluster has: download the file and give "
            "--set model.weightsSecretRef=null --set model.weights=file:///path/to/it.pt."
        )
    stores = (spec.dataset.store, spec.checkpoint.store)
    if any(store is not None and store.endpoint is not None and holds_secret(store.endpoint) for store in stores):
        yield ENDPOINT_WITH_LOGIN


def _data_in_clear(dataset: DatasetSpec) -> Iterator[str]:
    if dataset.uri_secret_ref is not None and dataset.uri is None:
        yield (
            "dataset.uriSecretRef names a Secret, which only a cluster has: put the link into the environment variable "
            f"{DATASET_URL_VARIABLE}, or give the data set with --data."
        )
    elif (dataset.uri is None) == (dataset.uri_secret_ref is None):
        yield "dataset needs either uri or uriSecretRef: say where the data set lies."
    elif dataset.uri is not None and is_signed(dataset.uri) and whole_link(dataset.uri) == dataset.uri:
        yield DATASET_WITH_QUERY


def _section(spec: dict[str, Any], name: str) -> dict[str, Any]:
    found = spec.get(name)
    return found if isinstance(found, dict) else {}


def _invalid(message: str) -> UserError:
    return InvalidConfiguration(message)


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
class JobOptions:
    """What the command line asks for; `results` is a folder or a URI."""

    manifest: Path
    data: str | None = None
    results: str | None = None
    endpoint: str | None = None
    assignments: tuple[str, ...] = ()


def plan_job(request: JobOptions, scratch: Path) -> LocalJob:
    """Read the manifest and fit it to this machine. Raises UserError or InvalidDataset.

    A folder of data becomes a zip in `scratch`, as a store would hold it.
    """
    results, data, linked = results_uri(request.manifest, request.results), request.data, None
    if not data:
        data = linked = linked_dataset()
    if data:
        keep_apart(results, data)
    notes: list[str] = []
    archive = local_archive(data, scratch, notes.append) if data else None
    changes = Overrides(
        dataset=archive.as_uri() if archive else data,
        results=results,
        endpoint=request.endpoint,
        assignments=request.assignments,
    )
    manifest = read_manifest(request.manifest, changes)
    if data:
        keep_apart_in_data(results, data, f"{manifest.namespace}/{manifest.name}")
    environment = _environment(manifest)
    ranks, more_notes = _ranks(manifest, environment)
    notes += more_notes
    if manifest.ignored:
        notes.insert(0, f"Without a cluster these have no effect: {', '.join(manifest.ignored)}.")
    if linked:
        notes.insert(0, f"The data set comes from the link in {DATASET_URL_VARIABLE}, {linked}.")
    return LocalJob(_run_config(manifest, archive), ranks, environment, notes)


def local_archive(data: str, scratch: Path, say: Callable[[str], None]) -> Path | None:
    """The zip of a folder or file; None for what lies in a store or behind a link. Raises UserError."""
    if "://" not in data:
        return as_archive(Path(data), scratch, say)
    refuse_key(data)
    return None


def _run_config(manifest: Manifest, archive: Path | None) -> RunConfig:
    spec = manifest.spec
    # A folder is packed anew under another path each time; only its content says whether it is the same data.
    identity = sha256_of(archive) if archive else spec.dataset.sha256 or spec.dataset.shown
    return RunConfig(
        namespace=manifest.namespace,
        name=manifest.name,
        uid=_uid(manifest, identity),
        # Always: on one machine nobody counts attempts, and runs tell the tries apart.
        attempt=0,
        model=spec.model.for_pods(),
        dataset=spec.dataset,
        training=spec.training,
        checkpoint=spec.checkpoint,
        hang_timeout_seconds=spec.limits.hang_timeout_seconds,
        stop_grace_seconds=spec.limits.stop_grace_seconds,
        export=spec.export,
        evaluation=spec.evaluation,
    )


def _uid(manifest: Manifest, dataset: str) -> str:
    """The same model, data and training go on from their checkpoints; anything else starts anew, beside them.

    requireFitness changes how a training ends and nothing of what is trained: without it one that failed completes.
    """
    spec = manifest.spec
    training = spec.training.model_dump_json(by_alias=True, exclude_none=True, exclude={"require_fitness"})
    document = [spec.model.to_json(), training, dataset]
    return sha256_of(json.dumps(document).encode())[:12]


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
        raise InvalidConfiguration(
            f"training.batchSize {training.batch_size} must be a multiple of the {ranks} ranks that share it.",
        )
    return ranks, notes


def cuda_devices() -> int:
    import torch  # noqa: PLC0415 - seconds that a job on CPUs by its manifest need not wait

    return torch.cuda.device_count()
