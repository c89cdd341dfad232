"""Where a training starts: at a stored checkpoint, at given weights, or at random ones; the same on every rank."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from masktrain_trainer.checkpoint.state_files import load_state
from masktrain_trainer.config import CHECKPOINT_CREDENTIALS, FailureReason
from masktrain_trainer.model.yolo import Yolo, build_yolo
from masktrain_trainer.stores.errors import StoreDenied
from masktrain_trainer.weights.detector import DetectorWeights
from masktrain_trainer.weights.load import InvalidWeights, fetch_weights
from masktrain_trainer.weights.sources import SCRATCH

from .anchors import suit_anchors
from .context import Context
from .distributed import Ranks
from .early_stopping import EarlyStopping
from .ema import ModelEma
from .errors import UserError
from .optimizer import build_optimizer
from .precision import build_scaler
from .preparation import freeze, synchronise_batch_norms
from .run_directory import read_document
from .stage_result import RestoreResult
from .state import TrainingState, restore_state

log = logging.getLogger(__name__)
_HEAD_BIAS = "model.{}.m.0.bias"


@dataclass(frozen=True)
class _Start:
    """What rank 0 found; at most one of the two."""

    checkpoint: dict[str, Any] | None = None
    weights: dict[str, Tensor] | None = None


def initial_state(context: Context) -> TrainingState:
    """The state to train on from. Raises UserError, on all ranks alike, if the given weights cannot be used."""
    start = agreed(context.ranks, lambda: _find_start(context))
    torch.manual_seed(context.training.seed)
    model = build_yolo(context.config.model.architecture, len(context.prepared.names))
    if start.weights is not None:
        log.info("%s", transfer(model, start.weights))
    if context.training.auto_anchor and start.checkpoint is None:
        suit_anchors(model, context.prepared, context.training, context.ranks)
    model.to(device=context.ranks.device).to(memory_format=torch.channels_last)
    state = _fresh_state(context, model)
    torch.manual_seed(context.training.seed + 1 + context.ranks.rank)
    if start.checkpoint is not None:
        restore_state(start.checkpoint, state, context.ranks)
        log.info("going on from the checkpoint of epoch %d, step %d", state.position.epoch, state.position.step)
    return state


def agreed(ranks: Ranks, find: Callable[[], _Start]) -> _Start:
    """Rank 0's answer on every rank; its UserError too, so that no rank waits for one that has given up."""
    answer: _Start | UserError | None = None
    if ranks.leads:
        try:
            answer = find()
        except UserError as error:
            answer = error
    result = ranks.broadcast((answer.reason, str(answer)) if isinstance(answer, UserError) else answer)
    if isinstance(result, tuple):
        raise UserError(*result)
    assert result is not None
    return result


def transfer(model: Yolo, weights: dict[str, Tensor]) -> str:
    """Take over what fits by name and shape, as YOLOv5 does; a sentence about it.

    Raises UserError if nothing fits.
    """
    own = model.state_dict()
    fitting = {
        name: tensor.to(own[name].dtype)
        for name, tensor in weights.items()
        if name in own and own[name].shape == tensor.shape
    }
    if not fitting:
        raise UserError(
            FailureReason.INVALID_WEIGHTS,
            "None of the given weights fits the model: model.architecture must be the one that they were trained with.",
        )
    model.load_state_dict(fitting, strict=False)
    taken = f"{len(fitting)} of {len(own)} tensors taken over"
    return taken if _HEAD_BIAS.format(len(model.model) - 1) in fitting else f"{taken}; new head for {_classes(model)}"


def _classes(model: Yolo) -> str:
    return "1 class" if model.num_classes == 1 else f"{model.num_classes} classes"


def _fresh_state(context: Context, model: Yolo) -> TrainingState:
    h, training = context.hyperparameters, context.training
    ema = ModelEma(model, h.ema_decay, h.ema_ramp_steps)
    freeze(model, training.freeze)
    if training.sync_batch_norm:
        synchronise_batch_norms(model, context.ranks)
    return TrainingState(
        model=model,
        ema=ema,
        optimizer=build_optimizer(model, h, training.batch_size, training.optimizer),
        scaler=build_scaler(context.ranks.device, context.format),
        early_stopping=EarlyStopping(training.patience),
        loss_sums_3=torch.zeros(3, device=context.ranks.device),
    )


def _find_start(context: Context) -> _Start:
    restored = read_document(context.run.restore_result, RestoreResult)
    if restored is not None and restored.file is not None:
        return _Start(checkpoint=load_state(Path(restored.file)))
    if context.config.model.weights == SCRATCH:
        return _Start()
    return _Start(weights=_read_weights(context).state_dict)


def _read_weights(context: Context) -> DetectorWeights:
    """By way of the workspace: the rest of a pod is read-only. Raises UserError if the given weights cannot be used."""
    config = context.config
    with tempfile.TemporaryDirectory(dir=context.run.root) as folder:
        try:
            credentials = Path(CHECKPOINT_CREDENTIALS)
            return fetch_weights(config.model, config.checkpoint.store, credentials, Path(folder) / "weights.pt")
        except StoreDenied as error:
            raise UserError(FailureReason.STORE_DENIED, str(error)) from error
        except InvalidWeights as error:
            raise UserError(FailureReason.INVALID_WEIGHTS, str(error)) from error
