"""PID 1 of a trainer pod: runs the stages of an attempt one after another and says how it ended.

It imports no torch, so that it starts at once and answers `/progress` from the first second. torchrun is never sent a
signal in a normal stop, because it would kill its workers 30 s later: a stop travels as a file that the workers read.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from masktrain_trainer.checkpoint.spool import UploaderExit, UploaderStatus
from masktrain_trainer.config import DEVICE_VARIABLE, CheckpointRef, Outcome, OutcomeKind, Phase, Progress
from masktrain_trainer.errors import Fenced, NoFitness, NothingToPublish, UserError
from masktrain_trainer.files import reserve
from masktrain_trainer.heartbeat import (
    STACK_SIGNAL,
    Activity,
    Hang,
    HangLimits,
    innermost_own_frame,
    read_heartbeat,
    read_stacks,
    signal_workers,
    wait_for_hang,
)
from masktrain_trainer.run_directory import PrepareResult, RestoreResult, read_document

from .follow_up import FollowUp
from .launch import Launch, Paths, network_interfaces, torchrun_command, worker_environment
from .outcome import exit_code, explain_connection, merge_outcomes, read_outcomes, stage_failure, termination_message
from .processes import ChildProcess, Order, StopRequest, UploaderProcess, race, reap_orphans, wait_for_idle
from .progress import AttemptProgress, serve_progress

log = logging.getLogger(__name__)

COMPLETE_LIMIT_SECONDS = 1800
"""How long a finished pod may hold its GPU for the proof that best.pt is stored."""
REPORT_LIMIT_SECONDS = 180
_TORCHRUN_RESERVE_SECONDS = 5.0
"""Before the grace ends, torchrun gets a SIGTERM; until then its workers may save."""
_DRAIN_RESERVE_SECONDS = 1.5
"""For the termination message and the way out."""
_STAGE_PATIENCE_SECONDS = 2.0
"""A stage holds nothing worth saving."""
_STACK_DUMP_SECONDS = 1.0
"""faulthandler writes in its signal handler, so the stacks are there as soon as the signal is delivered."""


class AttemptEnded(Exception):
    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class Supervisor:
    def __init__(self, launch: Launch, paths: Paths, environment: Mapping[str, str]) -> None:
        self._launch = launch
        self._paths = paths
        self._run = paths.run
        self._environment = environment
        self._stop = StopRequest(launch.config.stop_grace_seconds)
        self._progress = AttemptProgress(launch.config, paths.run)

    def progress(self) -> Progress:
        """The state of the attempt; the same that `GET /progress` serves."""
        return self._progress.progress()

    async def run(self) -> Outcome:
        """Run the attempt to its end, whatever that is, and leave the termination message."""
        self._run.create()
        # At once: the kernel drops a signal for process 1 unless there is a handler.
        self._stop.listen()
        # Elsewhere than in a pod another process is the parent of orphans.
        reaper = asyncio.create_task(reap_orphans()) if os.getpid() == 1 else None
        async with serve_progress(self.progress if self._launch.leads else None, self._paths.progress_port):
            outcome = await self._outcome()
            self._progress.finish(outcome)
            write_termination_message(self._paths.termination_log, termination_message(self.progress()))
        if reaper is not None:
            reaper.cancel()
        return outcome

    async def _outcome(self) -> Outcome:
        try:
            await self._check_devices()
            await self._prepare()
            # Rank 0 alone reads the checkpoint; the others get it in their first broadcast.
            if not self._launch.leads:
                return await self._train()
            return await self._lead(await self._restore())
        except AttemptEnded as end:
            return end.outcome

    async def _check_devices(self) -> None:
        """First: on a GPU that the image has no code for, whatever is downloaded is downloaded in vain."""
        if self._environment.get(DEVICE_VARIABLE) == "cpu":
            return
        self._progress.enter(Phase.PREPARING, "looking at the GPUs")
        options = ("--ranks", str(self._launch.ranks_per_node), "--result", str(self._run.devices_result))
        await self._stage("device check", "masktrain_trainer.train.devices", options, self._run.devices_result)

    async def _prepare(self) -> None:
        self._progress.enter(Phase.PREPARING, "fetching and checking the data set")
        options = ("--output", str(self._paths.data), "--result", str(self._run.prepare_result))
        await self._stage("data preparation", "masktrain_trainer.data.prepare", options, self._run.prepare_result)
        result = read_document(self._run.prepare_result, PrepareResult)
        self._progress.set_dataset(result.summary if result else None)

    async def _restore(self) -> RestoreResult:
        self._progress.enter(Phase.RESTORING, "looking for a checkpoint to go on from")
        options = ("--output", str(self._run.restored), "--result", str(self._run.restore_result))
        await self._stage("restore", "masktrain_trainer.checkpoint.restore", options, self._run.restore_result)
        restored = read_document(self._run.restore_result, RestoreResult)
        if restored is None:
            raise AttemptEnded(Outcome.crashed("StageCrashed", "The restore stage left no readable result."))
        self._progress.set_restored(restored)
        if restored.completed:
            raise AttemptEnded(self._already_complete(restored.best))
        return restored

    def _already_complete(self, best: CheckpointRef | None) -> Outcome:
        warning = best.fitness_warning if best is not None else None
        if warning and self._launch.config.training.require_fitness:
            return Outcome.user_error(NoFitness.reason, f"training.requireFitness is not met: {warning}")
        return Outcome.complete("An earlier attempt had already finished everything.")

    async def _lead(self, restored: RestoreResult) -> Outcome:
        # While there is some room: how a step ended has to be said even if the disk is full by then.
        for result in (self._run.export_result, self._run.media_result):
            reserve(result)
        uploader = UploaderProcess(self._uploader_command(restored.run), self._environment)
        pictures = asyncio.create_task(self._draw_data_pictures())
        outcome = await self._train_until_given_up(uploader)
        if outcome.kind is OutcomeKind.COMPLETE:
            await pictures  # the report shows them
            return await self._complete(uploader, outcome)
        pictures.cancel()
        self._progress.enter(Phase.DRAINING, "storing the last checkpoint")
        # Without a stop there is no deadline: a crash gets as long as a stop would.
        limit = min(self._stop.seconds_left(reserve=_DRAIN_RESERVE_SECONDS), self._launch.config.stop_grace_seconds)
        drained = await uploader.finish(Order.DRAIN, limit)
        # First: a fenced attempt is charged no restart, whatever its ranks have said of their end.
        if given_up := self._given_up(uploader):
            return given_up
        # Exit code 75 promises that a checkpoint is stored.
        if outcome.kind is OutcomeKind.STOPPED and not drained:
            return Outcome.crashed(
                "CheckpointNotStored", "Stopped on request, but the last checkpoint could not be stored."
            )
        return outcome

    async def _train_until_given_up(self, uploader: UploaderProcess) -> Outcome:
        """Steps that nobody will store any more are not worth a GPU: a fenced uploader ends the training."""
        training = asyncio.create_task(self._train())
        await race(training, uploader.given_up())
        # The race cancels it where the uploader gave up first.
        with contextlib.suppress(asyncio.CancelledError):
            return await training
        return self._given_up(uploader) or Outcome.crashed(
            "UploaderEnded", "The uploader has ended before the training."
        )

    def _given_up(self, uploader: UploaderProcess) -> Outcome | None:
        """What the uploader's end means for the attempt, if another try could not help."""
        if uploader.verdict in (None, UploaderExit.DONE):
            return None
        status = read_document(self._run.uploader_status, UploaderStatus)
        said = (status and status.store_error) or "The uploader gave up; its log lines say why."
        if uploader.verdict is UploaderExit.FENCED:
            return Outcome(kind=OutcomeKind.FENCED, reason=Fenced.reason, message=said)
        return Outcome.crashed(NothingToPublish.reason, said)

    async def _complete(self, uploader: UploaderProcess, outcome: Outcome) -> Outcome:
        """Everything the user waits for is stored and proven, or the attempt does not count as complete."""
        await FollowUp(self._launch, self._paths, self._environment, self._stop, self._progress).run(uploader)
        if given_up := self._given_up(uploader):
            return given_up
        self._progress.enter(Phase.DRAINING, "drawing the report")
        await self._draw_report()
        self._progress.enter(Phase.DRAINING, "storing best.pt and the results")
        finishing = asyncio.create_task(uploader.finish(Order.COMPLETE, COMPLETE_LIMIT_SECONDS))
        # The pod's grace ends this as well, and there has to be time left for the last words.
        done, _ = await race(finishing, self._stop_deadline(_DRAIN_RESERVE_SECONDS))
        if finishing in done and finishing.result():
            return outcome
        await uploader.abandon()
        if given_up := self._given_up(uploader):
            return given_up
        return Outcome.crashed("ResultsNotStored", "Training is finished, but the results could not be stored in time.")

    async def _draw_data_pictures(self) -> None:
        """While training starts, so that they are there even if it fails."""
        await self._draw("pictures of the data", "masktrain_trainer.report.data_pictures", "--data", self._paths.data)

    async def _draw_report(self) -> None:
        await self._draw("report", "masktrain_trainer.report.build")

    async def _draw(self, name: str, module: str, *options: str | Path) -> None:
        """What fails here costs a picture, never a training."""
        command = [sys.executable, "-m", module, "--run-directory", str(self._run.root), *map(str, options)]
        try:
            child = await ChildProcess.start(name, command, self._environment)
        except OSError as error:
            log.warning("the %s could not be drawn: %s", name, error)
            return
        drawn = asyncio.create_task(child.wait())
        try:
            # Half of a stop's time is for what is stored after it.
            stopped = self._stop_deadline(self._launch.config.stop_grace_seconds / 2)
            done, _ = await race(drawn, asyncio.sleep(REPORT_LIMIT_SECONDS), stopped)
            code = drawn.result() if drawn in done else await child.end(_STAGE_PATIENCE_SECONDS)
        # Also where this task is cancelled, because training has ended before the pictures.
        finally:
            if not child.ended:
                child.kill()
        if code != 0:
            log.warning("the %s could not be drawn; the training's results are not affected", name)

    async def _train(self) -> Outcome:
        self._progress.enter(Phase.RENDEZVOUS, f"waiting for {self._launch.nodes} pod(s)")
        environment = worker_environment(self._launch, self._environment, network_interfaces())
        torchrun = await ChildProcess.start("torchrun", torchrun_command(self._launch, self._paths), environment)
        try:
            return await self._watch(torchrun)
        finally:
            # torchrun puts every worker into a session of its own: ending torchrun's group would leave them training.
            signal_workers(self._run, self._launch.local_ranks, signal.SIGKILL)
            torchrun.kill()

    async def _watch(self, torchrun: ChildProcess) -> Outcome:
        began = time.monotonic()
        ended = asyncio.create_task(torchrun.wait())
        hung = asyncio.create_task(
            wait_for_hang(self._run, self._launch.local_ranks, HangLimits(self._launch.config.hang_timeout_seconds))
        )
        passing_stop = asyncio.create_task(self._pass_on_stop(torchrun))
        done, _ = await race(ended, hung)
        passing_stop.cancel()
        if ended not in done:
            return await self._report_hang(hung.result())
        # torchrun was ended by the stop itself, so its exit code says nothing.
        if self._stop.requested and not self._run.heartbeat(0).exists():
            return Outcome.stopped("Stopped on request before training began; nothing is lost.")
        outcome = merge_outcomes(read_outcomes(self._run, self._launch.local_ranks), ended.result())
        beats = [read_heartbeat(self._run.heartbeat(rank)) for rank in self._launch.local_ranks]
        return explain_connection(outcome, beats, time.monotonic() - began, self._launch)

    async def _pass_on_stop(self, torchrun: ChildProcess) -> None:
        """Workers that still wait for their peers hold nothing worth saving and read no file: they end at once."""
        await self._stop.wait()
        log.info("asked to stop: the ranks save after the current step")
        self._run.stop.touch()
        if self._run.heartbeat(0).exists():
            await asyncio.sleep(self._stop.seconds_left(reserve=_TORCHRUN_RESERVE_SECONDS))
        torchrun.signal(signal.SIGTERM)

    async def _report_hang(self, hang: Hang) -> Outcome:
        ranks = self._launch.local_ranks
        signal_workers(self._run, ranks, STACK_SIGNAL)
        await asyncio.sleep(_STACK_DUMP_SECONDS)
        stacks = {rank: read_stacks(self._run, rank) for rank in ranks}
        for rank, text in stacks.items():
            log.error("stacks of local rank %d:\n%s", rank, text or "none: the process no longer answers")
        frames = "; ".join(
            f"rank {rank} in {innermost_own_frame(text) or 'an unknown place'}" for rank, text in stacks.items()
        )
        alone = self._launch.nodes == 1 or hang.activity not in (None, Activity.CONNECTING)
        network = "" if alone else f" {self._launch.unconnected(socket.gethostname())}"
        # Many ranks have many frames, and the termination message has room for 4096 bytes in all.
        return Outcome.hung(f"Training hangs: {hang}.{network} {frames}."[:1000])

    async def _stage(self, name: str, module: str, options: tuple[str, ...], result: Path) -> None:
        """Run one stage to its end. Raises AttemptEnded if it fails, hangs, or the pod is asked to stop."""
        self._leave_if_stopped(name)
        child = await ChildProcess.start(name, [sys.executable, "-m", module, *options], self._environment)
        ended = asyncio.create_task(child.wait())
        idle_limit = self._launch.idle_limit_seconds
        idle = asyncio.create_task(wait_for_idle(child.pid, idle_limit))
        done, _ = await race(ended, idle, asyncio.create_task(self._stop.wait()))
        if ended not in done:
            await child.end(_STAGE_PATIENCE_SECONDS)
            self._leave_if_stopped(name)
            raise AttemptEnded(Outcome.hung(f"The {name} stage did nothing for {idle_limit} s."))
        if failure := stage_failure(name, ended.result(), result):
            raise AttemptEnded(failure)

    def _leave_if_stopped(self, stage: str) -> None:
        if self._stop.requested:
            raise AttemptEnded(Outcome.stopped(f"Stopped on request during the {stage} stage; nothing is lost."))

    async def _stop_deadline(self, reserve: float) -> None:
        await self._stop.wait()
        await asyncio.sleep(self._stop.seconds_left(reserve=reserve))

    def _uploader_command(self, run: int) -> list[str]:
        return [
            *(sys.executable, "-m", "masktrain_trainer.checkpoint.uploader"),
            *("--spool", str(self._paths.spool), "--run-directory", str(self._run.root), "--run", str(run)),
        ]


def write_termination_message(path: Path, text: str) -> None:
    """A hint only: the store holds the truth, so that a missing volume is no failure."""
    with contextlib.suppress(OSError):
        path.write_text(text, encoding="utf-8")


def supervise(environment: Mapping[str, str] = os.environ) -> int:
    """Run this pod's part of an attempt; the exit code of the container."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    paths = Paths.from_environment(environment)
    try:
        launch = Launch.from_environment(environment)
    except UserError as error:
        return _refuse(error)
    outcome = asyncio.run(Supervisor(launch, paths, environment).run())
    log.log(logging.ERROR if exit_code(outcome) else logging.INFO, "%s: %s", outcome.reason, outcome.message)
    return exit_code(outcome)


def _refuse(error: UserError) -> int:
    """Without a readable configuration there is no attempt to report about."""
    log.error("%s: %s", error.reason, error)
    return exit_code(Outcome.user_error(error.reason, str(error)))
