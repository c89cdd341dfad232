"""One rank of a training, started by torchrun.

It exits 0 whenever it has said in its outcome file how things ended; what the pod's exit code is, the supervisor
decides.
"""

import argparse
import logging
import os
import sys
import traceback
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.errors import record

from masktrain_trainer.config import (
    CONFIG_VARIABLE,
    PEER_LOST,
    FailureReason,
    Outcome,
    RunConfig,
    TrainingSpec,
)
from masktrain_trainer.data.cpu_limit import cpu_limit, loader_workers
from masktrain_trainer.data.dataset import TrainDataset
from masktrain_trainer.data.loader import TrainLoader
from masktrain_trainer.data.prepared import load_prepared
from masktrain_trainer.errors import UserError
from masktrain_trainer.files import reserve, write_reserved
from masktrain_trainer.heartbeat import Activity, HangLimits, Heartbeat, register_stack_dump
from masktrain_trainer.model.precision import choose_format
from masktrain_trainer.run_directory import RunDirectory

from .advice import advice_on_run
from .checkpoints import require_shared_memory
from .distributed import process_groups
from .gpu_memory import choose_batch_size, explain_out_of_memory, untried
from .initialise import initial_state
from .loop import Training
from .state import Context, TrainingState

log = logging.getLogger(__name__)

_TIMEOUT_RESERVE_SECONDS = 120
"""Collectives give up only after the supervisor's hang detection would have ended the attempt: it has the stacks."""

_GLOO_TRANSPORT = "gloo/transport"
"""The source folder that gloo names in the plain RuntimeError it raises for a closed, reset or broken connection."""


# With it torchrun reports this rank's traceback, and not its exit code alone.
@record
def main() -> None:
    options = _options()
    run, local_rank = RunDirectory(options.run_directory), int(os.environ["LOCAL_RANK"])
    _set_up_logging(rank=int(os.environ["RANK"]))
    # Before anything else, so that a rank that is stuck while starting can be asked where, too.
    register_stack_dump(run, local_rank)
    # While there is some: how a training ended has to be said even if the disk is full by then.
    reserve(run.outcome(local_rank))
    config = RunConfig.model_validate_json(os.environ[CONFIG_VARIABLE])
    # The groups outlive the outcome's writing: to leave them may take as long as the slowest rank, or never end.
    with Heartbeat(run.heartbeat(local_rank)) as heartbeat, ExitStack() as groups:
        heartbeat.beat(Activity.CONNECTING)  # before anything slow: until then the rendezvous' longer limit holds
        try:
            outcome = _train(config, run, options, heartbeat, groups)
        # The same on all ranks, so that they end by themselves and torchrun has nobody to end.
        except UserError as error:
            outcome = Outcome.user_error(error.reason, str(error))
        except Exception as error:
            write_reserved(run.outcome(local_rank), _crash(error).to_json())
            # torchrun ends the other ranks only if this one fails.
            raise
        write_reserved(run.outcome(local_rank), outcome.to_json())


def _train(
    config: RunConfig, run: RunDirectory, options: argparse.Namespace, heartbeat: Heartbeat, groups: ExitStack
) -> Outcome:
    """`groups` takes the process groups, for the caller to leave."""
    limits = HangLimits(config.hang_timeout_seconds)
    timeout = timedelta(seconds=limits.of(Activity.SAVING) + _TIMEOUT_RESERVE_SECONDS)
    ranks = groups.enter_context(process_groups(timeout, run.rank_store))
    heartbeat.beat(Activity.STARTING)
    dtype = choose_format(config.training.precision, ranks.device)
    context = choose_batch_size(
        Context(config, load_prepared(options.data), ranks, run, options.spool, heartbeat, dtype)
    )
    with _open_loader(context) as loader:
        state = initial_state(context)
        # The state is known only now, and with it how much a snapshot takes.
        require_shared_memory(context, state)
        # With image weights the order of an epoch follows from the last validation, so it is not known yet.
        if not (state.ended or context.training.image_weights):
            loader.start(state.position.epoch, state.position.batch)
        _log_setup(context, state, loader)
        return _run(context, state, loader)


def _run(context: Context, state: TrainingState, loader: TrainLoader) -> Outcome:
    try:
        return Training(context, state, loader).run()
    except torch.OutOfMemoryError as error:
        # Before the trials: the other ranks stand still meanwhile, and whoever ends them ends this one, too.
        _say_too_large(context, untried(context))
        reserve(context.run.outcome(context.ranks.local_rank))
        _say_too_large(context, explain_out_of_memory(context, state, error))
        # The other ranks wait in a collective that this one never joins, and a tidy end would wait for them: torchrun
        # ends them when it sees this one fail. No clean-up handlers, which destroy the process group.
        os._exit(1)


def _say_too_large(context: Context, message: str) -> None:
    outcome = Outcome.user_error(FailureReason.INVALID_CONFIGURATION, message)
    write_reserved(context.run.outcome(context.ranks.local_rank), outcome.to_json())


def _open_loader(context: Context) -> TrainLoader:
    spec, ranks = context.training, context.ranks
    on_gpu = ranks.device.type == "cuda"
    workers = spec.workers
    if workers is None:
        workers = loader_workers(ranks.local_world_size, cpu_limit(), for_gpu=on_gpu)
    if spec.gpu_augmentation and not on_gpu:
        log.info("training.gpuAugmentation has no effect on CPUs: the loader processes augment")
    return TrainLoader(
        TrainDataset(context.prepared, spec.image_size, context.hyperparameters, spec.seed),
        batch_size=spec.batch_size,
        rank=ranks.rank,
        world_size=ranks.world_size,
        workers=workers,
        device=ranks.device,
        render_on_gpu=spec.gpu_augmentation and on_gpu,
        weighted=spec.image_weights,
    )


def _log_setup(context: Context, state: TrainingState, loader: TrainLoader) -> None:
    prepared, ranks, spec = context.prepared, context.ranks, context.training
    log.info("classes: %s", ", ".join(f"{index} {name}" for index, name in enumerate(prepared.names)))
    log.info(
        "%s, %s parameters, on %d rank(s) of %s, %s, %d thread(s) each",
        context.config.model.architecture.value,
        f"{sum(parameter.numel() for parameter in state.model.parameters()):,}",
        ranks.world_size,
        ranks.device_name,
        str(context.format).removeprefix("torch."),
        torch.get_num_threads(),
    )
    log.info("hyperparameters: %s", _in_force(spec))
    log.info(
        "%d training images in %d batches of %d at %d px, %d validation images",
        len(prepared.train.images),
        loader.batches_per_epoch,
        spec.batch_size,
        spec.image_size,
        len(prepared.val.images),
    )
    if ranks.leads:
        for line in advice_on_run(context.config, prepared, ranks.world_size):
            log.info("advice: %s", line)


def _in_force(spec: TrainingSpec) -> str:
    values = spec.hyperparameters.model_dump(by_alias=True)
    return f"preset {spec.preset.value}: " + ", ".join(f"{name} {value:g}" for name, value in values.items())


def _crash(error: Exception) -> Outcome:
    """PEER_LOST if the cause is another rank's, so that the supervisor looks for it there."""
    traceback.print_exc()
    # Errors of CUDA and gloo go on for pages, and a status has room for a line.
    text = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    lost = isinstance(error, torch.distributed.DistError) or _GLOO_TRANSPORT in text
    return Outcome.crashed(PEER_LOST if lost else type(error).__name__, text)


def _set_up_logging(rank: int) -> None:
    """Rank 0 logs the training; the others log only what is wrong."""
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING,
        format="%(asctime)s %(message)s" if rank == 0 else f"%(asctime)s rank {rank}: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stdout,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m masktrain_trainer.train.worker")
    parser.add_argument("--run-directory", type=Path, required=True, help="files between this pod's processes")
    parser.add_argument("--data", type=Path, required=True, help="the prepared data set")
    parser.add_argument("--spool", type=Path, required=True, help="where checkpoints are handed over, in memory")
    return parser.parse_args()


if __name__ == "__main__":
    main()
