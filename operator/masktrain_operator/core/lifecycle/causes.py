"""Why an attempt ended.

The first failure is the container that finished first: when one rank dies, the others fail because of it. Its exit code
and termination message say most; when its pod is gone, the Job's condition still names the code or the disruption.
"""

import re
import signal
from dataclasses import dataclass
from datetime import datetime, timedelta

from masktrain_operator.api.conditions import FailureKind
from masktrain_operator.core import jobs, pods
from masktrain_operator.core.attempts import Attempt, parse_final_progress
from masktrain_operator.core.manifests.job import NODE_LOSS_SECONDS
from masktrain_operator.core.pods import Termination
from masktrain_operator.core.times import parse_time
from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import PEER_LOST, ExitCode, Outcome, plain_text

_EXIT_CODE_IN_CONDITION = re.compile(r"failed with exit code (\d+)")
_KINDS = {
    int(ExitCode.USER_ERROR): FailureKind.USER_ERROR,
    int(ExitCode.STOPPED): FailureKind.STOPPED,
    int(ExitCode.HUNG): FailureKind.HUNG,
    int(ExitCode.FENCED): FailureKind.FENCED,
}
_KILLED = {128 + number: number.name for number in (signal.SIGKILL, signal.SIGTERM)}
"""Ended from outside: the last line of the log has nothing to do with it."""
_LOG_TAIL = 400
"""Characters of a log's end that make a sentence; an Event holds 1,024 in all."""


_LAST_WORDS_WAIT = timedelta(seconds=5)
"""A Job's condition can be seen before the status of the pod that it speaks of."""


_JOB_DEADLINE = (
    "Kubernetes ended the batch Job at its activeDeadlineSeconds, which was set from limits.activeDeadlineSeconds when "
    "the attempt started."
)


@dataclass(frozen=True)
class Cause:
    """`reason` is one CamelCase word, `message` one sentence for a person."""

    kind: FailureKind
    reason: str
    message: str


def cause_of(attempt: Attempt) -> Cause:
    """The cause of an attempt whose Job has failed or is failing.

    A refused input outranks the clock, which differs between nodes; so does a disruption: it is never a consequence.
    """
    ends = _failed_terminations(attempt)
    refused = [end for end in ends if end.exit_code == ExitCode.USER_ERROR]
    if refused:
        return _from_termination(refused[0])
    # Before the job's own limit only if that was raised meanwhile: the next attempt's Job knows the new one.
    if jobs.failure(attempt.job or {}).get("reason") == "DeadlineExceeded":
        return Cause(FailureKind.STOPPED, "DeadlineExceeded", _JOB_DEADLINE)
    # Whatever failed beside a pod that the cluster took away may have failed because of it.
    disrupted = next(filter(pods.is_disrupted, attempt.pods), None)
    if disrupted is not None:
        return _from_disruption(disrupted)
    if _only_lost_peers(ends) and (silent := _silent_pod(attempt)) is not None:
        return _from_silence(silent)
    if ends:
        return _from_termination(ends[0])
    return _from_failed_pod(attempt.pods) or _from_condition(jobs.failure(attempt.job or {}))


def last_words_time(attempt: Attempt) -> datetime | None:
    """Until when the exit code in the Job's condition is no sufficient cause: its container's own words are coming."""
    ends = _failed_terminations(attempt)
    if _only_lost_peers(ends):
        return ends[0].finished_at + _LAST_WORDS_WAIT
    condition = jobs.failure(attempt.job or {})
    if not _EXIT_CODE_IN_CONDITION.search(str(condition.get("message", ""))) or ends:
        return None
    failed = condition.get("lastTransitionTime")
    return parse_time(failed) + _LAST_WORDS_WAIT if failed else None


def _failed_terminations(attempt: Attempt) -> list[Termination]:
    """First failure first. Kubernetes' times have whole seconds: in a tie a hang comes first and a stop last."""
    ends = [end for pod in attempt.pods if (end := pods.termination(pod)) and end.exit_code != ExitCode.DONE]
    # A hang makes the peers crash, and whatever ends one pod has the Job controller stop the others.
    order = {int(ExitCode.HUNG): -1, int(ExitCode.STOPPED): 1, int(ExitCode.FENCED): 1}
    return sorted(ends, key=lambda end: (end.finished_at, order.get(end.exit_code, 0), end.pod))


def _only_lost_peers(ends: list[Termination]) -> bool:
    """Whether all who have said why they failed name somebody else."""
    said = [parse_final_progress(end.message) for end in ends]
    return bool(said) and all(p is not None and p.outcome is not None and p.outcome.reason == PEER_LOST for p in said)


def _silent_pod(attempt: Attempt) -> Manifest | None:
    """One that has not ended as far as its kubelet has told: had the trainer crashed, it would have."""
    return next((pod for pod in attempt.pods if not pods.is_terminal(pod) and pods.termination(pod) is None), None)


def _from_silence(pod: Manifest) -> Cause:
    # Named by its silence: the node controller marks a lost node only after its own grace (50 s by default).
    sentence = (
        f"Pod {pods.name(pod)} on node {pods.node_name(pod)} fell silent, and its peers lost the connection to it."
    )
    return Cause(FailureKind.PREEMPTED, "PodSilent", sentence)


def _from_termination(end: Termination) -> Cause:
    # The kernel leaves no message, and exit code 137 says no more than SIGKILL.
    if end.reason == "OOMKilled":
        return Cause(
            FailureKind.CRASHED,
            "OutOfMemory",
            f"Pod {end.pod} used more memory than it may: raise compute.resources.limits.memory, or lower "
            "training.workers or training.batchSize.",
        )
    progress = parse_final_progress(end.message)
    if progress is not None and progress.outcome is not None:
        return _from_outcome(end, progress.outcome)
    return _from_exit_code(end.exit_code, end.pod, end.message)


def _from_outcome(end: Termination, outcome: Outcome) -> Cause:
    """The exit code decides what happens next, the outcome says why."""
    return Cause(_kind(end.exit_code), str(outcome.reason), outcome.message)


def _kind(exit_code: int) -> FailureKind:
    return _KINDS.get(exit_code, FailureKind.CRASHED)


def _from_exit_code(exit_code: int, pod: str, log: str = "") -> Cause:
    """A trainer that left no outcome."""
    kind = _kind(exit_code)
    if exit_code in _KILLED:
        return Cause(kind, "Killed", f"Pod {pod} was killed with {_KILLED[exit_code]} (exit code {exit_code}).")
    said = f": {log.splitlines()[-1][:_LOG_TAIL]}" if log else "; its log says why."
    return Cause(kind, kind.value, f"Pod {pod} exited with code {exit_code}{said}")


def _from_disruption(pod: Manifest) -> Cause:
    found = pods.condition(pod, pods.DISRUPTION_TARGET)
    why = f": {found['message']}" if found.get("message") else "."
    reason = found.get("reason") or FailureKind.PREEMPTED.value
    return Cause(FailureKind.PREEMPTED, reason, f"The cluster ended pod {pods.name(pod)}{why}")


def _from_failed_pod(candidates: tuple[Manifest, ...]) -> Cause | None:
    """A pod that failed without its container: refused by the kubelet, for one."""
    failed = next((pod for pod in candidates if pods.phase(pod) == "Failed"), None)
    if failed is None:
        return None
    status = failed["status"]
    said = f": {status['message']}" if status.get("message") else "."
    return Cause(FailureKind.CRASHED, status.get("reason") or "PodFailed", f"Pod {pods.name(failed)} failed{said}")


def _from_condition(condition: Manifest) -> Cause:
    """No pod is left to ask."""
    message = str(condition.get("message", ""))
    # The Job controller names the condition in its sentence and nowhere else.
    if pods.DISRUPTION_TARGET in message:
        return Cause(FailureKind.PREEMPTED, FailureKind.PREEMPTED.value, message)
    # Only rules of podFailurePolicy put it there: any other exit code leaves BackoffLimitExceeded and no number.
    code = _EXIT_CODE_IN_CONDITION.search(message)
    kind = _kind(int(code[1])) if code else FailureKind.CRASHED
    if code:
        return Cause(kind, kind.value, message)
    return Cause(kind, "PodLost", "A pod of the gang was deleted or lost; its log went with it.")


_APART = timedelta(seconds=5)
"""The node controller writes a pod's Ready condition and the taint that evicts the pod a little apart."""


def is_on_lost_node(pod: Manifest) -> bool:
    """Whether the pod was evicted by its node's taint after being not ready for as long as that taint is tolerated.

    The pods of a node that is alive, and drained by a taint, are ready until then.
    """
    evicted = pods.condition_time(pod, pods.DISRUPTION_TARGET)
    silent_since = pods.condition_time(pod, "Ready")
    if evicted is None or silent_since is None or pods.is_ready(pod):
        return False
    by_taint = pods.condition(pod, pods.DISRUPTION_TARGET).get("reason") == "DeletionByTaintManager"
    return by_taint and evicted - silent_since + _APART >= timedelta(seconds=NODE_LOSS_SECONDS)


def cause_of_forced_end(pod: Manifest) -> Cause:
    if is_on_lost_node(pod):
        node = pod.get("spec", {}).get("nodeName", "unknown")
        sentence = f"Node {node} does not answer any more: pod {pods.name(pod)} was given up."
        return Cause(FailureKind.PREEMPTED, "NodeLost", sentence)
    kind = FailureKind.PREEMPTED if pods.is_disrupted(pod) else FailureKind.CRASHED
    sentence = f"Pod {pods.name(pod)} did not end within its grace period and was deleted by force."
    return Cause(kind, "PodStuck", sentence)


def cause_of_kept_job(job: Manifest) -> Cause:
    """Nobody's fault, but not for nothing: whoever deletes each attempt's Job gets the next one ever later."""
    metadata = job["metadata"]
    kept_by = ", ".join(metadata.get("finalizers", ())) or "the API server"
    sentence = f"Job {metadata['name']} was deleted, and is kept by {plain_text(kept_by, _LOG_TAIL)}."
    return Cause(FailureKind.STOPPED, "JobDeleted", sentence)


GANG_INCOMPLETE = "GangIncomplete"


def cause_of_half_gang(attempt: Attempt, nodes: int) -> Cause:
    bound = sum(map(pods.is_scheduled, attempt.pods))
    sentence = (
        f"Only {bound} of {nodes} workers found a node: they let go of it, so that no two jobs wait for each other's."
    )
    return Cause(FailureKind.PREEMPTED, GANG_INCOMPLETE, sentence)


PODS_REFUSED = "PodsRefused"


def cause_of_refused_pods(attempt: Attempt, nodes: int) -> Cause:
    """Charged: whoever's pods are refused again and again would keep nodes for ever."""
    name = attempt.job["metadata"]["name"] if attempt.job else str(attempt.number)
    sentence = (
        f"Only {len(attempt.pods)} of {nodes} pods could be created: the events of Job {name} have the API server's "
        "reason."
    )
    return Cause(FailureKind.CRASHED, PODS_REFUSED, sentence)
