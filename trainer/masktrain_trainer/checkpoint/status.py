"""What the uploader tells the supervisor, by a file. No torch here: the supervisor reads it."""

from pydantic import Field

from masktrain_trainer.config import CheckpointRef, Contract


class UploaderStatus(Contract):
    """`pending` counts snapshots that wait or are being stored."""

    best: CheckpointRef | None = None
    last: CheckpointRef | None = None
    store_error: str | None = None
    pending: int = 0
    uploaded: int = 0
    outputs: list[str] = Field(default=[])
    finished: bool = False
