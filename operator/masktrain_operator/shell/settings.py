"""The operator's settings, read from its environment once, at the start."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from masktrain_operator.core.types import PlanSettings
from masktrain_trainer.config import mirror_objection

PREFIX = "MASKTRAIN_OPERATOR_"


class ImagePullPolicy(StrEnum):
    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


class CloudSettings(BaseSettings):
    """What the operator shares with the sweeper.

    Each field is the environment variable of the same name in capitals after `MASKTRAIN_OPERATOR_`.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    namespace: str = Field(
        default="masktrain-system", min_length=1, description="Its own, where Secrets of node pools and its Lease are."
    )
    oci_endpoint: str | None = Field(
        default=None, description="Replaces Oracle's regional endpoints, for a private one or for tests."
    )


class Settings(CloudSettings):
    """All of the operator's."""

    trainer_image: str = Field(min_length=1, description="Image of the trainer pods of jobs that name none.")
    image_pull_policy: ImagePullPolicy = ImagePullPolicy.IF_NOT_PRESENT
    # NoDecode, because pydantic-settings reads lists as JSON, which nobody writes into a Deployment.
    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Comma-separated; empty means every namespace."
    )
    node_pools: bool = Field(
        default=True, description="Whether GPUNodePools are managed, which takes rights on the whole cluster."
    )
    liveness_port: int = Field(default=8081, ge=1, le=65535)
    metrics_port: int = Field(default=8082, ge=0, le=65535, description="0 switches the metrics off.")
    log_format: LogFormat = LogFormat.JSON
    log_level: LogLevel = LogLevel.INFO
    progress_clients: tuple[dict[str, Any], ...] = Field(
        default=(),
        description="JSON list of NetworkPolicyPeers that may ask trainer pods for their progress, the operator among "
        "them; without any no NetworkPolicy is written for jobs.",
    )
    weights_mirror: str = Field(
        default="", description="Prefix of a copy of YOLOv5's release (s3://, oci:// or https://); empty means GitHub."
    )
    progress_interval_seconds: float = Field(default=2, ge=1, description="How often a running job is asked.")
    progress_writes_per_second: float = Field(default=20, gt=0, description="Cap over all jobs.")
    resync_seconds: float = Field(default=300, ge=10, description="How often everything is listed and looked at anew.")
    workers: int = Field(default=16, ge=1, description="Jobs reconciled at the same time.")

    @field_validator("weights_mirror")
    @classmethod
    def _without_key(cls, value: str) -> str:
        objection = mirror_objection(value) if value else None
        if objection is not None:
            # Not a ValueError, before whose words pydantic would put its own.
            raise PydanticCustomError("weights_mirror", "{objection}", {"objection": objection})
        return value

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())

    @property
    def for_plan(self) -> PlanSettings:
        return PlanSettings(
            trainer_image=self.trainer_image,
            image_pull_policy=self.image_pull_policy.value,
            progress_clients=self.progress_clients,
            weights_mirror=self.weights_mirror,
            progress_interval_seconds=self.progress_interval_seconds,
        )


def wrong_variables(error: ValidationError) -> str:
    """A line for each environment variable that cannot be used."""
    return "\n".join(f"{PREFIX}{_name(finding['loc'])}: {finding['msg']}." for finding in error.errors())


def _name(location: tuple[int | str, ...]) -> str:
    return "_".join(str(part) for part in location).upper()
