"""Who an attempt's pods are to the stores of their data and checkpoints, and what they get for it: files, and the
ways out of the pod that it takes.

Whoever may be left unsaid: `store.auth` has no default in the schema, because the API server would put it into stored
jobs as well, which sign as their node (docs/adr/0011). A job that no operator has seen before gets the present default,
and its status keeps that.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.types import Manifest, PlanSettings
from masktrain_trainer.config import (
    CHECKPOINT_CREDENTIALS,
    DATASET_CREDENTIALS,
    DATASET_URL,
    EVALUATION_CREDENTIALS,
    WEIGHTS_MIRROR_VARIABLE,
    WEIGHTS_URL,
    WORKLOAD_IDENTITY,
    CheckpointSpec,
    DatasetSpec,
    EvaluationSpec,
    SecretKeyRef,
    StoreAuth,
    StoreSpec,
    TrainingSpec,
)

# Enough for the trainer, which is in the fsGroup; the default of 0644 is for everybody.
_READABLE_BY_GROUP = 0o440
_TOKEN_SECONDS = 3600
"""The kubelet renews the file when four fifths of it are over."""
METADATA_SERVICES = ("169.254.169.254/32", "fd00:c1::a9fe:a9fe/128")
"""Where an instance of Oracle's gets its keys."""
_ON_THE_NODE = {"0.0.0.0/0": ("169.254.0.0/16",), "::/0": ("fe80::/10", METADATA_SERVICES[1])}
"""Of each family all addresses, and those that mean the node's own services: its keys, and the iSCSI targets of bare
metal, 169.254.0.2 for the boot volume and 169.254.2.0/24 for the others."""
NODE_LOCAL_DNS = "169.254.20.10/32"
"""NodeLocal DNSCache, where a cluster has it."""


@dataclass(frozen=True)
class _Use:
    """A store that the pods open: its place in the spec, and the URIs that are read or written through it."""

    field: str
    uris: tuple[str, ...]
    spec: StoreSpec | None
    volume: str
    path: str

    @property
    def is_oracles(self) -> bool:
        return any(uri.startswith("oci://") for uri in self.uris)

    @property
    def says_who(self) -> bool:
        return self.spec is not None and (self.spec.auth or self.spec.credentials_secret_ref) is not None


def _uses(job: MaskTrainingJob) -> list[_Use]:
    dataset, checkpoint, evaluation = job.spec.dataset, job.spec.checkpoint, job.spec.evaluation
    weights = (checkpoint.uri, job.spec.model.weights)
    uses = [
        _Use("dataset.store", (dataset.uri or "",), dataset.store, "dataset-credentials", DATASET_CREDENTIALS),
        _Use("checkpoint.store", weights, checkpoint.store, "checkpoint-credentials", CHECKPOINT_CREDENTIALS),
    ]
    if evaluation is not None:
        uris, volume = tuple(evaluation.sources), "evaluation-credentials"
        uses.append(_Use("evaluation.store", uris, evaluation.store, volume, EVALUATION_CREDENTIALS))
    return uses


def default_auth(job: MaskTrainingJob) -> StoreAuth | None:
    """Who signs to Oracle where a job does not say; None: whoever the pods find, in the end their node.

    The answer for a new job has to be written into its status, or it is no new job any more. None, too, if the job
    leaves nothing unsaid.
    """
    if not any(use.is_oracles and not use.says_who for use in _uses(job)):
        return None
    is_new = job.status.observed_generation is None
    return StoreAuth.WORKLOAD_IDENTITY if is_new or job.status.store_auth == StoreAuth.WORKLOAD_IDENTITY else None


def _auth(job: MaskTrainingJob, use: _Use) -> StoreAuth | None:
    if use.spec is not None and use.says_who:
        return use.spec.auth or StoreAuth.SECRET
    return default_auth(job) if use.is_oracles else None


def _signs_as_workload(job: MaskTrainingJob) -> bool:
    return any(_auth(job, use) is StoreAuth.WORKLOAD_IDENTITY for use in _uses(job))


def pod_sections(job: MaskTrainingJob) -> tuple[DatasetSpec, CheckpointSpec, EvaluationSpec | None]:
    """What the pods are told of data set, checkpoints and sample media: with the auth that is in force.

    Only where an image that does not know the field would do something else: so an older one goes on reading the rest.
    """
    dataset, checkpoint, *evaluation = (_pod_store(job, use) for use in _uses(job))
    media = job.spec.evaluation
    return (
        job.spec.dataset.model_copy(update={"store": dataset}),
        job.spec.checkpoint.model_copy(update={"store": checkpoint}),
        media.model_copy(update={"store": evaluation[0]}) if media is not None else None,
    )


def _pod_store(job: MaskTrainingJob, use: _Use) -> StoreSpec | None:
    if _auth(job, use) is StoreAuth.WORKLOAD_IDENTITY:
        return (use.spec or StoreSpec()).model_copy(update={"auth": StoreAuth.WORKLOAD_IDENTITY})
    return None if use.spec is None else use.spec.model_copy(update={"auth": None})


# What stands in the way


_VERSION = re.compile(r":v?(\d+)\.(\d+)(?:\.\d+)?(?:[-+].*)?$")
_KNOWS_IDENTITY = (0, 2)
"""The first version of the trainer that knows `store.auth` and the fields of `_later_field`."""


def missing_region(job: MaskTrainingJob) -> str | None:
    """A sentence if the pods could not sign in for want of a region, which nobody can add to an existing job."""
    for use in _uses(job):
        spec = use.spec or StoreSpec()
        if _auth(job, use) is StoreAuth.WORKLOAD_IDENTITY and spec.region is None and spec.endpoint is None:
            return (
                f"{use.field}.region is not set, which workload identity needs: create the job anew with the bucket's "
                f"region, or with {use.field}.auth InstancePrincipal to sign as the node."
            )
    return None


def outdated_image(job: MaskTrainingJob) -> str | None:
    """A sentence if the tag of `compute.image` is a version that does not know what this job needs.

    Other tags and digests tell nothing; such an image refuses the key itself, with a sentence.
    """
    image = job.spec.compute.image
    found = _VERSION.search(image) if image is not None else None
    if found is None or (int(found[1]), int(found[2])) >= _KNOWS_IDENTITY:
        return None
    needed = "store.auth WorkloadIdentity" if _signs_as_workload(job) else _later_field(job)
    if needed is None:
        return None
    first = ".".join(map(str, _KNOWS_IDENTITY))
    return f"compute.image {image} does not know {needed}, which this job needs: create it anew with {first} or later."


def _later_field(job: MaskTrainingJob) -> str | None:
    """The field, if there is one, that earlier trainers do not know: they end at a key that they are told of it."""
    dataset, training = job.spec.dataset, job.spec.training
    fields = {
        "dataset.uriSecretRef": dataset.uri_secret_ref is not None,
        "dataset.uri https://": (dataset.uri or "").startswith("https://"),
        "dataset.allowUnlabelledValidation": dataset.allow_unlabelled_validation,
        "export": job.spec.export is not None,
        "evaluation": job.spec.evaluation is not None,
        "model.weightsSecretRef": job.spec.model.weights_secret_ref is not None,
        "training.requireFitness": training.require_fitness,
        "training.decodedCacheGib": training.decoded_cache_gib != TrainingSpec().decoded_cache_gib,
    }
    return next((field for field, is_needed in fields.items() if is_needed), None)


def closed_mirror(job: MaskTrainingJob, settings: PlanSettings) -> str | None:
    """A sentence if nothing says how to log in where the mirror of the official weights is."""
    mirror, checkpoints = settings.weights_mirror, job.spec.checkpoint.uri
    scheme = mirror.partition("://")[0]
    own = any(variable.name == WEIGHTS_MIRROR_VARIABLE for variable in job.spec.compute.env)
    if own or not job.spec.model.from_official or scheme not in ("s3", "oci") or checkpoints.startswith(f"{scheme}://"):
        return None
    return (
        f"The cluster's mirror of the official weights, {mirror}, is read with checkpoint.store, but checkpoint.uri is "
        f"no {scheme}:// URI: create the job anew with model.weights scratch or a URI of your own, or when the chart's "
        "trainer.weightsMirror is an https:// prefix."
    )


# Files and variables


def credential_volumes(job: MaskTrainingJob) -> list[Manifest]:
    return [volume for volume, _ in _mounted(job)]


def credential_mounts(job: MaskTrainingJob) -> list[Manifest]:
    return [{"name": volume["name"], "mountPath": path, "readOnly": True} for volume, path in _mounted(job)]


def _mounted(job: MaskTrainingJob) -> list[tuple[Manifest, str]]:
    """Each volume and where it is mounted."""
    found = [
        (_secret_volume(use.volume, use.spec.credentials_secret_ref.name), use.path)
        for use in _uses(job)
        if use.spec is not None and use.spec.credentials_secret_ref is not None
    ]
    found += [*_mounted_link("weights-url", job.spec.model.weights_secret_ref, WEIGHTS_URL)]
    found += [*_mounted_link("dataset-url", job.spec.dataset.uri_secret_ref, DATASET_URL)]
    if _signs_as_workload(job):
        found.append((_identity_volume(), WORKLOAD_IDENTITY))
    return found


def _mounted_link(volume: str, secret: SecretKeyRef | None, path: str) -> Iterator[tuple[Manifest, str]]:
    """One key of a Secret as the file `path`."""
    if secret is not None:
        file = PurePosixPath(path)
        yield _secret_volume(volume, secret.name, items=[{"key": secret.key, "path": file.name}]), str(file.parent)


def _secret_volume(name: str, secret: str, **more: list[Manifest]) -> Manifest:
    """Optional: a missing Secret becomes a sentence from the trainer instead of a pod that never starts."""
    return {
        "name": name,
        "secret": {"secretName": secret, "optional": True, "defaultMode": _READABLE_BY_GROUP, **more},
    }


def _identity_volume() -> Manifest:
    """What Oracle's exchange of tokens takes: a token for the API server's own audience, and who vouches for it.

    The token opens the Kubernetes API as well, as a ServiceAccount that should have no rights there.
    """
    token = {"path": "token", "expirationSeconds": _TOKEN_SECONDS}
    authority = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    sources: list[Manifest] = [{"serviceAccountToken": token}, {"configMap": authority}]
    return {"name": "workload-identity", "projected": {"defaultMode": _READABLE_BY_GROUP, "sources": sources}}


# The network


def store_egress_rules(job: MaskTrainingJob) -> list[Manifest]:
    """Egress rules of a NetworkPolicy for the job's pods: everywhere but to what only their node is to reach.

    Pods of the cluster are named apart, because some networks do not count them among addresses.
    """
    addresses = [{"ipBlock": {"cidr": all_of, "except": [*own]}} for all_of, own in _ON_THE_NODE.items()]
    names = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    rules: list[Manifest] = [
        {"to": [{"namespaceSelector": {}}, *addresses]},
        {"to": [_block(NODE_LOCAL_DNS)], "ports": names},
    ]
    if _signs_as_node(job):
        rules.append({"to": [*map(_block, METADATA_SERVICES)], "ports": [{"port": 80, "protocol": "TCP"}]})
    return rules


def _block(cidr: str) -> Manifest:
    return {"ipBlock": {"cidr": cidr}}


def _signs_as_node(job: MaskTrainingJob) -> bool:
    """Said so, or stored by a version whose jobs did it unasked."""
    auths = [_auth(job, use) for use in _uses(job) if use.is_oracles]
    return StoreAuth.INSTANCE_PRINCIPAL in auths or None in auths
