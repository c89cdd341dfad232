"""The resources MaskTrainingJob and GPUNodePool, version v1alpha1, as the API server holds them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from .pool_spec import GPUNodePoolSpec
from .pool_status import GPUNodePoolStatus
from .spec import MaskTrainingJobSpec
from .status import MaskTrainingJobStatus


class ObjectMetadata(BaseModel):
    """The part of ObjectMeta that the operator reads."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: str
    uid: str
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: datetime
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default={})
    annotations: dict[str, str] = Field(default={})
    finalizers: list[str] = Field(default=[])


class Metadata(ObjectMetadata):
    namespace: str


class MaskTrainingJob(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    metadata: Metadata
    spec: MaskTrainingJobSpec
    status: MaskTrainingJobStatus = MaskTrainingJobStatus()

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """From the JSON of the API server. Raises pydantic.ValidationError if its spec does not fit this version.

        The status never stops it: what does not fit there is left out.
        """
        return cls.model_validate({**body, "status": MaskTrainingJobStatus.read(body.get("status", {}))})


class GPUNodePool(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    metadata: ObjectMetadata
    spec: GPUNodePoolSpec
    status: GPUNodePoolStatus = GPUNodePoolStatus()

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """As a job: strict about the spec, lenient about the status."""
        return cls.model_validate({**body, "status": GPUNodePoolStatus.read(body.get("status", {}))})
