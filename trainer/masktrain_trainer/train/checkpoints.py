"""Checkpoints as training sees them: when one is due, whether memory has room for it, and handing it over.

The state is copied to shared memory, and another process stores it.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from masktrain_trainer.checkpoint.snapshot import write_snapshot
from masktrain_trainer.checkpoint.spool import SnapshotMeta
from masktrain_trainer.config import Optimizer
from masktrain_trainer.errors import InvalidConfiguration

from .state import Context, TrainingState

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
    except OSError as error:  # a full tmpfs: the pod's limit, or another rank's loader took the rest
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


SMOOTH_SNAPSHOTS = 2
"""One with the uploader and one being written; with room for one only, a checkpoint waits for the one before it."""
MOMENTS = {Optimizer.SGD: 1, Optimizer.ADAM: 2, Optimizer.ADAMW: 2}
"""Tensors that an optimizer keeps for each weight."""
OTHER_BYTES = 1 << 20
"""Generators, results.csv and the tree of the snapshot."""
MEBIBYTE = 1 << 20
STEP_MEBIBYTES = 256
"""People write round sizes."""


def require_shared_memory(context: Context, state: TrainingState) -> None:
    """Raises UserError, on all ranks alike, if not even one snapshot fits; warns if a second one does not."""
    problem: str | None = None
    # Snapshots lie on rank 0's node only.
    if context.ranks.leads:
        snapshot, free = snapshot_bytes(state, context.training.optimizer), free_bytes(context.spool)
        sentence = _sentence(snapshot, free, context.spool)
        problem = sentence if free < snapshot else None
        if problem is None and free < SMOOTH_SNAPSHOTS * snapshot:
            log.warning("%s", sentence)
    # To all, because a rank that went on alone would wait for rank 0 until the timeout.
    problem = context.ranks.broadcast(problem)
    if problem is not None:
        # Now and not in the first checkpoint: a training that cannot store anything is not worth its hours.
        raise InvalidConfiguration(problem)


def snapshot_bytes(state: TrainingState, optimizer: Optimizer) -> int:
    """Of a snapshot late in the training, with moments and the best weights (float16) beside model and average."""
    model = _bytes(state.model.state_dict().values())
    average = _bytes(state.ema.module.state_dict().values())
    moments = MOMENTS[optimizer] * _bytes(p for group in state.optimizer.param_groups for p in group["params"])
    return model + average + moments + model // 2 + OTHER_BYTES


def free_bytes(folder: Path) -> int:
    """In the file system that `folder` will lie in."""
    # The folder is made with the first snapshot.
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    found = os.statvfs(existing)
    return found.f_bavail * found.f_frsize  # f_bfree counts blocks that only root may use


def _sentence(snapshot: int, free: int, spool: Path) -> str:
    need = SMOOTH_SNAPSHOTS * snapshot
    return (
        # The volume is two folders above: that is what the user has given a size.
        f"The shared memory at {spool.parents[1]} has {_mebibytes(free)} MiB free, but {SMOOTH_SNAPSHOTS} checkpoints "
        f"of {_mebibytes(snapshot)} MiB pass through it, {_mebibytes(need)} MiB together: set compute.sharedMemory to "
        f"{math.ceil(need / MEBIBYTE / STEP_MEBIBYTES) * STEP_MEBIBYTES}Mi or more."
    )


def _mebibytes(count: int) -> int:
    return math.ceil(count / MEBIBYTE)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
