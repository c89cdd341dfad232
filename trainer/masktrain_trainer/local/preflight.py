"""`masktrain preflight`: everything that can fail before the first step, without a training."""

from collections.abc import Callable
from pathlib import Path

from masktrain_trainer.config import RunConfig
from masktrain_trainer.data.cpu_limit import cpu_limit
from masktrain_trainer.data.prepare import MOST_WARNINGS, SKIPPED, prepare
from masktrain_trainer.data.prepared import load_prepared
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.train.advice import advice_on_run
from masktrain_trainer.train.initialise import transfer
from masktrain_trainer.weights.load import fetch_weights
from masktrain_trainer.weights.sources import SCRATCH

from .datasets import scratch_folder
from .job import JobOptions, LocalJob, plan_job

Say = Callable[[str], None]


def check_job(request: JobOptions, say: Say) -> None:
    """Fetch and check data and weights as a pod would, and comment on the settings.

    Raises UserError, InvalidDataset or StoreError.
    """
    with scratch_folder() as scratch:
        job = plan_job(request, scratch)
        for note in job.notes:
            say(note)
        prepared = scratch / "workspace" / "data"
        prepare(job.config, prepared, processes=cpu_limit())
        for sentence in _unshown_skips(prepared):
            say(sentence)
        say(f"weights: {_weights(job.config, len(load_prepared(prepared).names), scratch)}")
        _advise(job, prepared, say)
    say("Nothing stands in the way of a training.")


def _unshown_skips(prepared: Path) -> list[str]:
    """Preparing shows the first warnings only."""
    skipped = (prepared / SKIPPED).read_text(encoding="utf-8").splitlines()
    return skipped if len(skipped) > MOST_WARNINGS else []


def _weights(config: RunConfig, classes: int, scratch: Path) -> str:
    if config.model.weights == SCRATCH:
        return "none, the training starts from scratch"
    file = fetch_weights(config.model, config.checkpoint.store, None, scratch / "weights.pt")
    return transfer(build_yolo(config.model.architecture, classes), file.state_dict)


def _advise(job: LocalJob, prepared: Path, say: Say) -> None:
    for line in advice_on_run(job.config, load_prepared(prepared), job.ranks):
        say(f"advice: {line}")
