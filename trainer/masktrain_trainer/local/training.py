"""`masktrain train` from the plan to the last sentence."""

from collections.abc import Callable

from masktrain_trainer.checkpoint.keys import JobKeys
from masktrain_trainer.config import FailureReason, Outcome, OutcomeKind, Progress, RunConfig
from masktrain_trainer.train.errors import UserError
from masktrain_trainer.train.outcome import exit_code

from .attempt import run_attempt
from .job import Request, local_path, plan_job
from .scratch import scratch_folder

Say = Callable[[str], None]


def train_locally(request: Request, say: Say) -> int:
    """The exit code: 0 complete, 75 stopped with a checkpoint stored, else something failed that may work next time.

    Raises UserError, InvalidDataset or StoreError if the training cannot work as it is asked for.
    """
    with scratch_folder() as scratch:
        job = plan_job(request, scratch)
        for line in (*job.notes, f"Results go to {results_folder(job.config)}."):
            say(line)
        outcome, progress = run_attempt(job, scratch)
    if outcome.kind is OutcomeKind.USER_ERROR:
        raise UserError(FailureReason(outcome.reason), outcome.message)
    for line in closing_lines(outcome, progress):
        say(line)
    return exit_code(outcome)


def results_folder(config: RunConfig) -> str:
    keys = JobKeys(config.namespace, config.name, config.uid)
    return local_path(f"{config.checkpoint.uri.rstrip('/')}/{keys.output('')}")


def closing_lines(outcome: Outcome, progress: Progress) -> list[str]:
    """How it ended, what to do next, and where the results lie."""
    if outcome.kind is OutcomeKind.COMPLETE:
        return [outcome.message, *(f"  {local_path(uri)}" for uri in progress.outputs)]
    if outcome.kind is OutcomeKind.STOPPED:
        return [outcome.message, "The same command goes on from there."]
    return [f"{outcome.reason}: {outcome.message}", "The same command tries again from the last checkpoint."]
