"""When a checkpoint is due, and handing it over: the state is copied to memory, another process stores it."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from masktrain_trainer.checkpoint.snapshot import write_snapshot
from masktrain_trainer.checkpoint.spool import SnapshotMeta

log = logging.getLogger(__name__)


@dataclass
class CheckpointClock:
    """Wall clock of the interval. Any checkpoint, for whatever reason, starts it anew.

    So does the answer that one is due, because the checkpoint then follows a step later.
    """

    interval_seconds: float
    clock: Callable[[], float] = time.monotonic
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def due(self) -> bool:
        if self.clock() - self._last < self.interval_seconds:
            return False
        self.restart()
        return True

    def restart(self) -> None:
        self._last = self.clock()


def is_periodic(epoch: int, save_period: int) -> bool:
    """Whether the checkpoint after `epoch` is kept for good: as in YOLOv5 every save_period-th, epoch 0 too."""
    return save_period > 0 and epoch % save_period == 0


def hand_over(spool: Path, document: dict[str, Any], meta: SnapshotMeta) -> bool:
    """Whether the checkpoint is in the spool. Memory too small for it costs checkpoints, not the training."""
    started = time.monotonic()
    try:
        write_snapshot(spool, document, meta)
    except OSError as error:
        log.warning("no checkpoint at step %d: %s; compute.sharedMemory may be too small", meta.step, error)
        return False
    log.info(
        "checkpoint of epoch %d step %d (%s) handed over in %.2f s",
        meta.epoch,
        meta.step,
        meta.reason,
        time.monotonic() - started,
    )
    return True
