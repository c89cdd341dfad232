"""`result.json`: what says that a job is complete. No torch here: restoring reads it."""

from datetime import datetime

from masktrain_trainer.config import CheckpointRef, Contract
from masktrain_trainer.stores import Store
from masktrain_trainer.stores.errors import ObjectMissing

from .keys import RESULT_FILE, JobKeys


class Result(Contract):
    """Written when all outputs are in place. `metrics` are those that best.pt says of itself."""

    uid: str
    best: CheckpointRef
    metrics: dict[str, float]
    outputs: list[str]
    completed_at: datetime


def read_result(store: Store, keys: JobKeys) -> Result | None:
    """The result of this very job, not of an earlier one of the same name; its best.pt may be gone since."""
    try:
        result = Result.model_validate_json(store.read(keys.output(RESULT_FILE)))
    except (ObjectMissing, ValueError):
        return None
    return result if result.uid == keys.uid else None
