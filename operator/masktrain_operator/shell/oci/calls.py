"""The SDK's side: how requests are signed, and the calls themselves, which block.

Each call may be repeated: an etag guards a resize, and a removal names its node.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from oci.auth.signers import InstancePrincipalsSecurityTokenSigner, get_oke_workload_identity_resource_principal_signer
from oci.circuit_breaker import CircuitBreakerStrategy
from oci.config import validate_config
from oci.container_engine import ContainerEngineClient
from oci.container_engine.models import UpdateNodePoolDetails, UpdateNodePoolNodeConfigDetails
from oci.exceptions import InvalidConfig, InvalidPrivateKey, ServiceError
from oci.retry import BACKOFF_DECORRELATED_JITTER_VALUE, RetryStrategyBuilder
from oci.signer import Signer

from masktrain_operator.api.pool_spec import PoolAuth
from masktrain_operator.core.pools.oke import Instance, OkeError, OkeNode, OkePool, WorkRequest

from .access import OciAccess, OciError, OciErrorKind, require_api_key
from .errors import translate, translated

logger = logging.getLogger(__name__)

# The SDK's own 10 and 60 s would, with retries, outlast the 60 s that a whole call is given.
TIMEOUTS_SECONDS = (5.0, 20.0)
"""Of the connection, and of each read from it."""
# The SDK's default, 8 attempts within 10 minutes, would keep a pool's reconcile for as long.
ATTEMPTS = 3
LAST_RETRY_SECONDS = 8
FAILING_SERVICE: dict[int, list[str]] = {429: [], 500: [], 502: [], 503: [], 504: []}
"""Unlike the SDK's default without 409: a pool that is busy for minutes says nothing about the service."""


def retry_strategy() -> Any:
    """Again after timeouts, lost connections, 429 and 5xx, with jitter, while less than 8 s have gone by."""
    return RetryStrategyBuilder(
        max_attempts=ATTEMPTS,
        total_elapsed_time_seconds=LAST_RETRY_SECONDS,
        # Not 409, as the SDK has it: a pool that is being changed stays so for minutes, and is looked at again anyway.
        service_error_retry_config={429: []},
        service_error_retry_on_any_5xx=True,
        retry_base_sleep_time_seconds=0.5,
        retry_exponential_growth_factor=2,
        retry_max_wait_between_calls_seconds=4,
        decorrelated_jitter=1,
        backoff_type=BACKOFF_DECORRELATED_JITTER_VALUE,
    ).get_retry_strategy()


def circuit_breaker() -> CircuitBreakerStrategy:
    """Ten failures in a row keep the next calls of that client at home for half a minute."""
    return CircuitBreakerStrategy(failure_threshold=10, recovery_timeout=30, failure_statuses_and_codes=FAILING_SERVICE)


NAMES_IN_SECRET = {"key_file": "key", "key_content": "key"}


@dataclass(frozen=True)
class Login:
    """What the SDK's clients take. `config` always names the region; the key of `signer` may be renewed by itself."""

    config: dict[str, str] = field(repr=False)
    signer: Any = field(repr=False)


def log_in(access: OciAccess) -> Login:
    """Raises OciError. Of an instance or workload this asks for a first token, and so takes a network round trip."""
    if access.auth is PoolAuth.CONFIG_SECRET:
        return _with_api_key(access.api_key, access.region)
    sign_in = SIGNERS[access.auth]
    try:
        return Login({"region": access.region}, sign_in())
    except Exception as error:  # besides the SDK's errors those of certificates and tokens, which share no base class
        raise _refused(error, access.auth) from error


def _instance_principal() -> Any:
    strategy = retry_strategy()
    return InstancePrincipalsSecurityTokenSigner(retry_strategy=strategy, federation_client_retry_strategy=strategy)


def _workload_identity() -> Any:
    """The region it knows is that of an environment variable which OKE does not set; Login.config makes up for it."""
    return get_oke_workload_identity_resource_principal_signer(retry_strategy=retry_strategy())


SIGNERS: dict[PoolAuth, Callable[[], Any]] = {
    PoolAuth.INSTANCE_PRINCIPAL: _instance_principal,
    PoolAuth.WORKLOAD_IDENTITY: _workload_identity,
}
SIGN_IN_ADVICE = {
    PoolAuth.INSTANCE_PRINCIPAL: "the operator's node has to be an OCI instance of a dynamic group, and its pods have "
    "to reach the metadata service at 169.254.169.254; else choose another spec.auth.type",
    PoolAuth.WORKLOAD_IDENTITY: "the cluster has to be an enhanced OKE cluster, and the operator's pods need the token "
    "of their ServiceAccount; else choose another spec.auth.type",
}


def _refused(error: Exception, auth: PoolAuth) -> OciError:
    found = translate(error, f"sign in to Oracle as {auth}")
    reason, _, _ = found.sentence.rpartition("; ")
    return OciError(found.kind, f"{reason}; {SIGN_IN_ADVICE[auth]}.", found.request_id)


def _with_api_key(secret: Mapping[str, str], region: str) -> Login:
    require_api_key(secret)
    config = {
        "tenancy": secret["tenancy"].strip(),
        "user": secret["user"].strip(),
        "fingerprint": secret["fingerprint"].strip(),
        "region": region,
        # Secrets made from files end in a line feed.
        "key_content": secret["key"].strip(),
    }
    _validate(config)
    return Login(config, _api_key_signer(config, secret.get("passphrase")))


def _validate(config: dict[str, str]) -> None:
    try:
        validate_config(config)
    except InvalidConfig as error:
        wrong = ", ".join(sorted({repr(NAMES_IN_SECRET.get(name, name)) for name in error.errors}))
        raise _unusable(f"{wrong} of the Secret of spec.auth.configSecretRef is malformed; correct it") from None


def _api_key_signer(config: Mapping[str, str], passphrase: str | None) -> Any:
    """The cause is left out of what is raised: it may hold the key itself."""
    try:
        return Signer(
            tenancy=config["tenancy"],
            user=config["user"],
            fingerprint=config["fingerprint"],
            private_key_file_location=None,
            pass_phrase=passphrase,
            private_key_content=config["key_content"],
        )
    except (InvalidPrivateKey, ValueError, TypeError):
        raise _unusable(
            "'key' of the Secret of spec.auth.configSecretRef is no private key in PEM that its 'passphrase' opens; "
            "put the API key's private half there"
        ) from None


def _unusable(reason: str) -> OciError:
    return OciError(OciErrorKind.INVALID, f"Cannot sign in to Oracle: {reason}.")


def pool_of(model: Any, etag: str) -> OkePool:
    """From oci.container_engine.models.NodePool. Raises OciError if the pool is of the kind that has no size."""
    settings = model.node_config_details
    if settings is None or settings.size is None:
        raise OciError(
            OciErrorKind.INVALID,
            f"Cannot scale node pool {model.id}: it counts its nodes per subnet; create one that has a node count.",
        )
    return OkePool(
        id=model.id,
        name=model.name or "",
        cluster_id=model.cluster_id,
        compartment_id=model.compartment_id,
        lifecycle_state=model.lifecycle_state,
        lifecycle_details=model.lifecycle_details or "",
        size=settings.size,
        etag=etag,
        shape=model.node_shape,
        preemptible=any(placement.preemptible_node_config for placement in settings.placement_configs or ()),
        nodes=tuple(node_of(node) for node in model.nodes or ()),
    )


def node_of(model: Any) -> OkeNode:
    """From oci.container_engine.models.Node."""
    return OkeNode(
        instance_id=model.id or None,
        name=model.name or "",
        lifecycle_state=model.lifecycle_state,
        availability_domain=model.availability_domain or "",
        error=_error_of(model.node_error),
    )


def work_request_of(model: Any, errors: tuple[OkeError, ...] = ()) -> WorkRequest:
    """From oci.container_engine.models.WorkRequest, or its summary."""
    return WorkRequest(
        id=model.id,
        operation=model.operation_type,
        status=model.status,
        resources=tuple(resource.identifier for resource in model.resources or () if resource.identifier),
        accepted=model.time_accepted,
        finished=model.time_finished,
        errors=errors,
    )


def work_request_error_of(model: Any) -> OkeError:
    """From oci.container_engine.models.WorkRequestError."""
    return OkeError(code=model.code or "", message=model.message or "")


def instance_of(model: Any) -> Instance:
    """From oci.core.models.Instance."""
    return Instance(
        id=model.id,
        time_created=model.time_created,
        lifecycle_state=model.lifecycle_state,
        availability_domain=model.availability_domain,
        shape=model.shape,
        preemptible=model.preemptible_instance_config is not None,
    )


def _error_of(model: Any) -> OkeError | None:
    if model is None or not (model.code or model.message):
        return None
    return OkeError(code=model.code or "", message=model.message or "", request_id=model.opc_request_id)


WORK_REQUESTS = 100
"""The newest ones of a pool; each removal of a node is one."""
MAY_BE_DONE = frozenset({HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND})
FOR_GOOD = {"is_decrement_size": True, "is_force_deletion_after_override_grace_duration": True}
"""The defaults would drain for an hour, give up after it and, in some versions, replace the node."""
GOING_OR_GONE = frozenset({"DELETING", "DELETED"})


class Calls:
    """Both clients of one access. They may be used by several threads, as the SDK's own upload manager does."""

    def __init__(self, access: OciAccess) -> None:
        """Sign in. Raises OciError."""
        login = log_in(access)
        self._config = login.config
        self._options = {
            "signer": login.signer,
            "service_endpoint": access.endpoint,
            "timeout": TIMEOUTS_SECONDS,
            "retry_strategy": retry_strategy(),
        }
        self._compute: Any = None
        self._container_engine = self._client(ContainerEngineClient)

    def close(self) -> None:
        """Close idle connections."""
        for client in (self._container_engine, self._compute):
            if client is not None:
                client.base_client.session.close()

    def get_pool(self, pool_id: str, *, with_work_requests: bool) -> OkePool:
        with translated(f"read node pool {pool_id}"):
            answer = self._container_engine.get_node_pool(pool_id)
        etag = str(answer.headers.get("etag", ""))
        pool = pool_of(answer.data, etag)
        if not with_work_requests:
            return pool
        try:
            return replace(pool, work_requests=self._work_requests(answer.data))
        except OciError as error:
            # Nodes and size are what most is decided by; a missing right must not keep idle ones running.
            return replace(pool, unread=error.sentence)

    def resize(self, pool_id: str, size: int, etag: str) -> str | None:
        """Nothing but the size is sent: a pool whose placement is sent along replaces all its nodes."""
        details = UpdateNodePoolDetails(node_config_details=UpdateNodePoolNodeConfigDetails(size=size))
        with translated(f"set the size of node pool {pool_id} to {size}"):
            answer = self._container_engine.update_node_pool(pool_id, details, if_match=etag)
        return _work_request_id(answer)

    def delete_node(self, pool_id: str, instance_id: str, drain_seconds: int) -> str | None:
        options = {**FOR_GOOD, "override_eviction_grace_duration": _duration(drain_seconds)}
        with translated(f"remove node {instance_id} from node pool {pool_id}"):
            try:
                answer = self._container_engine.delete_node(pool_id, instance_id, **options)
            except ServiceError as error:
                if error.status in MAY_BE_DONE and self._is_going_or_gone(pool_id, instance_id):
                    return None
                raise
        return _work_request_id(answer)

    def get_instance(self, instance_id: str) -> Instance | None:
        with translated(f"read instance {instance_id}"):
            try:
                answer = self._compute_client().get_instance(instance_id)
            except ServiceError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return None
                raise
        return instance_of(answer.data)

    def get_work_request(self, work_request_id: str) -> WorkRequest:
        with translated(f"read work request {work_request_id}"):
            model = self._container_engine.get_work_request(work_request_id).data
        return work_request_of(model, self._errors(model) if model.status == "FAILED" else ())

    def _is_going_or_gone(self, pool_id: str, instance_id: str) -> bool:
        """Oracle's refusal says either "busy with something else" or "done already"; only the pool tells which."""
        nodes = self.get_pool(pool_id, with_work_requests=False).nodes
        states = [node.lifecycle_state for node in nodes if node.instance_id == instance_id]
        return all(state in GOING_OR_GONE for state in states)

    def _work_requests(self, pool: Any) -> tuple[WorkRequest, ...]:
        with translated(f"list the work requests of node pool {pool.id}"):
            models = self._container_engine.list_work_requests(
                pool.compartment_id,
                cluster_id=pool.cluster_id,
                resource_id=pool.id,
                resource_type="NODEPOOL",
                sort_by="TIME_ACCEPTED",
                sort_order="DESC",
                limit=WORK_REQUESTS,
            ).data
        # Of that one alone: each failure's errors cost a call, and only the newest is ever told.
        newest_failed = next((model.id for model in models if model.status == "FAILED"), None)
        return tuple(
            work_request_of(model, self._errors(model) if model.id == newest_failed else ()) for model in models
        )

    def _errors(self, work_request: Any) -> tuple[OkeError, ...]:
        """None where they cannot be read: that it has failed is known all the same."""
        try:
            with translated(f"read the errors of work request {work_request.id}"):
                answer = self._container_engine.list_work_request_errors(work_request.compartment_id, work_request.id)
        except OciError as error:
            logger.warning("%s", error.sentence)
            return ()
        return tuple(work_request_error_of(model) for model in answer.data)

    def _compute_client(self) -> Any:
        if self._compute is None:
            from oci.core import ComputeClient  # noqa: PLC0415 - takes as long as all the rest, and is rarely needed

            self._compute = self._client(ComputeClient)
        return self._compute

    def _client(self, client_class: Any) -> Any:
        with translated("make a client of Oracle's API"):
            return client_class(self._config, circuit_breaker_strategy=circuit_breaker(), **self._options)


def _duration(seconds: int) -> str:
    """ISO 8601, as Container Engine wants it: PT0M to PT60M."""
    return f"PT{seconds}S" if seconds else "PT0M"


def _work_request_id(answer: Any) -> str | None:
    work_request_id = answer.headers.get("opc-work-request-id")
    return None if work_request_id is None else str(work_request_id)
