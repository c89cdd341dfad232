"""The GPUNodePool resource, version v1alpha1, cluster-scoped."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from .pool_spec import GPUNodePoolSpec
from .pool_status import GPUNodePoolStatus
from .v1alpha1 import ObjectMetadata


class GPUNodePool(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    metadata: ObjectMetadata
    spec: GPUNodePoolSpec
    status: GPUNodePoolStatus = GPUNodePoolStatus()

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """From the JSON of the API server. Raises pydantic.ValidationError if the object does not fit this version."""
        return cls.model_validate(dict(body))
