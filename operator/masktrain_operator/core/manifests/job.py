"""The workload of one attempt: the batch/v1 Job, its pods, the headless Service that gives them host names, and the
NetworkPolicy that keeps strangers out of them.

A pod is one trainer container on a node, within Pod Security's `restricted` profile. The container's environment holds
its configuration and torchrun's static rendezvous; its root file system is read-only, so that whatever it writes goes
to a volume.
"""

from masktrain_operator.api import labels
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.types import Manifest, PlanSettings
from masktrain_trainer.config import (
    CONFIG_VARIABLE,
    POD_UID_VARIABLE,
    PROGRESS_PORT,
    RENDEZVOUS_PORT,
    WEIGHTS_MIRROR_VARIABLE,
    WORKSPACE,
    ExitCode,
    RunConfig,
)

from .credentials import credential_mounts, credential_volumes, pod_sections, store_egress_rules
from .metadata import (
    attempt_labels,
    attempt_name,
    job_labels,
    master_address,
    owner_reference,
    pool_labels,
)

CONTAINER = "trainer"
PREEMPTIBLE_TAINT = "oci.oraclecloud.com/oke-is-preemptible"
NODE_LOSS_SECONDS = 60
"""How long a pod stays bound to a node that is not ready or not reachable (Kubernetes' own default is 300)."""
LEAST_RESOURCES = {"memory": "2Gi"}
"""Requested where the user says nothing: a pod without any is the first to go when its node is full, and counts as
nothing when the scheduler fills the node. Not ephemeral-storage: kubelets may offer none
(`localStorageCapacityIsolation: false`), and no pod that asks for some would ever start there."""
WORKSPACE_LIMIT = "500Gi"
"""The zip, what it unpacks to and the decoded pictures; `limits` of ephemeral-storage replaces it."""
TMP_LIMIT = "10Gi"
# `nonroot` of distroless images, and the user that the trainer's image is built for.
_USER = 65532


def job_manifest(
    job: MaskTrainingJob,
    attempt: int,
    settings: PlanSettings,
    pool: str | None = None,
    deadline_seconds: int | None = None,
) -> Manifest:
    """A whole gang: any lost pod fails the Job, and nothing is replaced in it. `pool`: where it is admitted."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": attempt_name(job.metadata.name, attempt),
            "namespace": job.metadata.namespace,
            "labels": attempt_labels(job, attempt) | pool_labels(pool),
            "ownerReferences": [owner_reference(job)],
        },
        "spec": {
            # Gives each pod a node rank, and a host name that is known before it runs.
            "completionMode": "Indexed",
            "completions": job.spec.compute.nodes,
            "parallelism": job.spec.compute.nodes,
            # Attempts are counted by the operator, which knows what was charged and what was stored.
            "backoffLimit": 0,
            # `TerminatingOrFailed` would start a second writer beside a pod that is still storing its checkpoint.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            **({} if deadline_seconds is None else {"activeDeadlineSeconds": deadline_seconds}),
            "template": pod_template(job, attempt, settings, pool),
        },
    }


def first_pod(batch_job: Manifest) -> Manifest:
    """As the Job controller would create it, but for the owner, which does not exist yet."""
    metadata, template = batch_job["metadata"], batch_job["spec"]["template"]
    named = {"generateName": f"{metadata['name']}-0-", "namespace": metadata["namespace"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], **named}, "spec": template["spec"]}


def _failure_rules() -> list[Manifest]:
    """`backoffLimit: 0` would fail the Job anyway; a rule that matches leaves the cause in the Job's condition."""
    codes = [int(ExitCode.USER_ERROR), int(ExitCode.STOPPED), int(ExitCode.FENCED)]
    on_exit_codes = {"containerName": CONTAINER, "operator": "In", "values": codes}
    return [
        # First: the first rule that matches names the cause, and a trainer that is preempted also exits with 75.
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": on_exit_codes},
    ]


def service_manifest(job: MaskTrainingJob) -> Manifest:
    """Ready or not, every pod is published: the rendezvous takes place before any pod is ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata_of_all_attempts(job),
        "spec": {
            # A virtual address would lead to any pod (and needs a kube-proxy); the rendezvous is at rank 0's own.
            "clusterIP": "None",
            # Ready means that `/progress` answers, which is after the rendezvous.
            "publishNotReadyAddresses": True,
            # Of every attempt: the Jobs' names differ, so that the pods' host names do, too.
            "selector": {labels.JOB_UID_LABEL: job.metadata.uid},
            "ports": [_service_port("http", PROGRESS_PORT), _service_port("rendezvous", RENDEZVOUS_PORT)],
        },
    }


def network_policy_manifest(job: MaskTrainingJob, settings: PlanSettings) -> Manifest:
    """Ranks trust whoever reaches their ports, so only pods of the job reach them: its own, in its own namespace.

    Pods reach everything but their node's own services, its keys above all: data, stores and weights may be anywhere.
    """
    progress = {"from": list(settings.progress_clients), "ports": [{"port": PROGRESS_PORT, "protocol": "TCP"}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata_of_all_attempts(job),
        "spec": {
            "podSelector": _own_pods(job),
            "policyTypes": ["Ingress", "Egress"],
            # All ports, because NCCL and gloo choose theirs.
            "ingress": [{"from": [{"podSelector": _own_pods(job)}]}, progress],
            "egress": store_egress_rules(job),
        },
    }


def _metadata_of_all_attempts(job: MaskTrainingJob) -> Manifest:
    """Of what is made once, and called as the job is."""
    return {
        "name": job.metadata.name,
        "namespace": job.metadata.namespace,
        "labels": job_labels(job),
        "ownerReferences": [owner_reference(job)],
    }


def _own_pods(job: MaskTrainingJob) -> Manifest:
    """Selects the pods of all attempts."""
    return {"matchLabels": {labels.JOB_UID_LABEL: job.metadata.uid}}


def _service_port(name: str, number: int) -> Manifest:
    return {"name": name, "port": number, "targetPort": number, "protocol": "TCP"}


def covers(live: object, wanted: object) -> bool:
    """Whether `live` says all that `wanted` says; what the API server added to it is no difference."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(key in live and covers(live[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(covers, live, wanted))
    return live == wanted


def pod_template(job: MaskTrainingJob, attempt: int, settings: PlanSettings, pool: str | None = None) -> Manifest:
    """`pool`: the GPUNodePool whose nodes the pods are confined to."""
    metadata = {"labels": attempt_labels(job, attempt) | pool_labels(pool)}
    return {"metadata": metadata, "spec": _pod_spec(job, attempt, settings, pool)}


def _pod_spec(job: MaskTrainingJob, attempt: int, settings: PlanSettings, pool: str | None) -> Manifest:
    return {
        # Together with the headless Service: the host names by which ranks find rank 0.
        "subdomain": job.metadata.name,
        # A rank that is restarted alone cannot join a rendezvous that has taken place.
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": job.spec.limits.stop_grace_seconds,
        # The trainer never talks to the API server, and its image may be anybody's.
        "automountServiceAccountToken": False,
        # A namespace with many Services would add thousands of variables to the environment.
        "enableServiceLinks": False,
        "securityContext": _pod_security(),
        "affinity": _one_pod_per_node(job),
        "tolerations": _tolerations(job, pool),
        "containers": [_container(job, attempt, settings)],
        "volumes": volumes(job),
        **_as_the_user_says(job, pool),
    }


def _as_the_user_says(job: MaskTrainingJob, pool: str | None) -> Manifest:
    compute = job.spec.compute
    fields = {
        "nodeSelector": compute.node_selector | pool_labels(pool),
        "priorityClassName": compute.priority_class_name,
        "serviceAccountName": compute.service_account_name,
        "imagePullSecrets": [{"name": secret.name} for secret in compute.image_pull_secrets],
    }
    return {key: value for key, value in fields.items() if value}


def _container(job: MaskTrainingJob, attempt: int, settings: PlanSettings) -> Manifest:
    return {
        "name": CONTAINER,
        "image": job.spec.compute.image or settings.trainer_image,
        "imagePullPolicy": settings.image_pull_policy,
        # Not `command`: the image's entry point may be a wrapper of the user's own.
        "args": ["supervise"],
        "env": environment(job, attempt, settings),
        "ports": [_port("http", PROGRESS_PORT), _port("rendezvous", RENDEZVOUS_PORT)],
        # Every 2 s and not every 10: the operator asks for progress only once rank 0 is ready.
        # No liveness probe: the supervisor tells a hang from a long download, which a probe cannot.
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2, "timeoutSeconds": 2},
        "resources": _resources(job),
        "securityContext": _container_security(),
        # A crash that leaves no message is then explained by the end of its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": volume_mounts(job),
    }


def _port(name: str, number: int) -> Manifest:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _resources(job: MaskTrainingJob) -> Manifest:
    compute = job.spec.compute
    gpus = {compute.gpu_resource: compute.gpus_per_node}
    limits = compute.resources.limits
    # Kubernetes takes a limit for the request where there is none, and a default may be above it.
    least = {name: quantity for name, quantity in LEAST_RESOURCES.items() if name not in limits}
    # Kubernetes takes extended resources only with requests equal to limits.
    return {"requests": {**least, **compute.resources.requests, **gpus}, "limits": {**limits, **gpus}}


def _pod_security() -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        # Volumes belong to root otherwise, and the trainer could not write to them.
        "fsGroup": _USER,
        # Without it the kubelet would change the owner of every file of a claim at each start.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _one_pod_per_node(job: MaskTrainingJob) -> Manifest:
    # By the job and not by the attempt: the pods of the last gang may still hold their GPUs.
    term = {"labelSelector": _own_pods(job), "topologyKey": "kubernetes.io/hostname"}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _tolerations(job: MaskTrainingJob, pool: str | None) -> list[Manifest]:
    """On a pool of preemptible nodes their taint too: losing a node is what attempts are for."""
    users = job.spec.compute.tolerations
    taints = [*_gpu_taints(job), *([PREEMPTIBLE_TAINT] if pool else [])]
    return [
        # Whatever its value: the GPU taint has none on some OKE nodes and `present` on others.
        *({"key": taint, "operator": "Exists", "effect": "NoSchedule"} for taint in taints),
        _until_lost("node.kubernetes.io/not-ready"),
        _until_lost("node.kubernetes.io/unreachable"),
        *(toleration.model_dump(mode="json", by_alias=True, exclude_none=True) for toleration in users),
    ]


def _gpu_taints(job: MaskTrainingJob) -> list[str]:
    """GPU nodes are tainted with their resource's name; slices of NVIDIA GPUs (MIG) keep the taint of the whole."""
    return list(dict.fromkeys(("nvidia.com/gpu", job.spec.compute.gpu_resource)))


def _until_lost(taint: str) -> Manifest:
    return {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_LOSS_SECONDS}


def environment(job: MaskTrainingJob, attempt: int, settings: PlanSettings) -> list[Manifest]:
    users = [variable.model_dump(mode="json", by_alias=True, exclude_none=True) for variable in job.spec.compute.env]
    # Of two variables of one name the last wins: the user's would, but a reader of the pod would see both.
    named_by_user = {variable["name"] for variable in users}
    return [variable for variable in _own(job, attempt, settings) if variable["name"] not in named_by_user] + users


def _own(job: MaskTrainingJob, attempt: int, settings: PlanSettings) -> list[Manifest]:
    """Each option of torchrun is read from a variable `PET_<OPTION>`."""
    return [
        _variable(CONFIG_VARIABLE, _literal(_without_defaults(run_config(job, attempt)))),
        _variable("PET_NNODES", str(job.spec.compute.nodes)),
        _variable("PET_NPROC_PER_NODE", str(job.spec.compute.gpus_per_node)),
        # The annotation and not the label of the same name, which came only with Kubernetes 1.28.
        _variable_from_field("PET_NODE_RANK", f"metadata.annotations['{labels.COMPLETION_INDEX}']"),
        # Static rendezvous: c10d's own may put the store beside another pod, whose end would cut rank 0 off.
        _variable("PET_MASTER_ADDR", master_address(job.metadata.namespace, job.metadata.name, attempt)),
        _variable("PET_MASTER_PORT", str(RENDEZVOUS_PORT)),
        # Decides between two pods that claim the same run number in the store.
        _variable_from_field(POD_UID_VARIABLE, "metadata.uid"),
        _variable("HOME", "/tmp"),  # noqa: S108 - the only home a read-only root file system leaves
        # What is still in a buffer dies with a killed process, and the end of the log is what explains the end.
        _variable("PYTHONUNBUFFERED", "1"),
        *_mirror(job, settings),
    ]


def _mirror(job: MaskTrainingJob, settings: PlanSettings) -> list[Manifest]:
    if not job.spec.model.from_official or not settings.weights_mirror:
        return []
    return [_variable(WEIGHTS_MIRROR_VARIABLE, _literal(settings.weights_mirror))]


def run_config(job: MaskTrainingJob, attempt: int) -> RunConfig:
    dataset, checkpoint, evaluation = pod_sections(job)
    return RunConfig(
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        uid=job.metadata.uid,
        attempt=attempt,
        model=job.spec.model.for_pods(),
        dataset=dataset,
        training=job.spec.training,
        checkpoint=checkpoint,
        hang_timeout_seconds=job.spec.limits.hang_timeout_seconds,
        stop_grace_seconds=job.spec.limits.stop_grace_seconds,
        export=job.spec.export,
        evaluation=evaluation,
    )


def _without_defaults(config: RunConfig) -> str:
    """As JSON. An image that is older than the operator refuses keys that it does not know: it gets those that matter.

    The API server has filled in every default, so that they cannot be told from what the user wrote.
    """
    return config.model_dump_json(by_alias=True, exclude_none=True, exclude_defaults=True)


def _literal(value: str) -> str:
    """Kubernetes expands `$(NAME)` in values of its own accord; `$$` is its way to write a dollar."""
    return value.replace("$", "$$")


def _variable(name: str, value: str) -> Manifest:
    return {"name": name, "value": value}


def _variable_from_field(name: str, path: str) -> Manifest:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def volumes(job: MaskTrainingJob) -> list[Manifest]:
    workspace = job.spec.compute.resources.limits.get("ephemeral-storage", WORKSPACE_LIMIT)
    # A container runtime gives /dev/shm 64 MiB, which the batches of a few DataLoader workers exceed.
    shared_memory = {"medium": "Memory", "sizeLimit": job.spec.compute.shared_memory}
    return [
        {"name": "workspace", "emptyDir": {"sizeLimit": workspace}},
        {"name": "tmp", "emptyDir": {"sizeLimit": TMP_LIMIT}},
        {"name": "shm", "emptyDir": shared_memory},
        *credential_volumes(job),
        *(
            # Numbered, because a claim's name may have 253 characters, and a volume's only 63.
            {"name": f"claim-{i}", "persistentVolumeClaim": {"claimName": claim.claim_name}}
            for i, claim in enumerate(job.spec.compute.persistent_volume_claims)
        ),
    ]


def volume_mounts(job: MaskTrainingJob) -> list[Manifest]:
    return [
        {"name": "workspace", "mountPath": WORKSPACE},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own folder
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - DataLoader workers and NCCL look for it there
        *credential_mounts(job),
        *(
            {"name": f"claim-{i}", "mountPath": claim.mount_path, "readOnly": claim.read_only}
            for i, claim in enumerate(job.spec.compute.persistent_volume_claims)
        ),
    ]
