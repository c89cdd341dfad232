"""The SDK's models in the operator's own types."""

from typing import Any

from masktrain_operator.core.pools.oke import Instance, OkeError, OkeNode, OkePool, WorkRequest

from .errors import OciError, OciErrorKind


def pool_of(model: Any, etag: str, work_requests: tuple[WorkRequest, ...] = ()) -> OkePool:
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
        work_requests=work_requests,
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
