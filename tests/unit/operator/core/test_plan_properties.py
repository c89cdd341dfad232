"""What holds for every life that a job can have: hypothesis makes the cluster fail in any order."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from masktrain_operator.api.rules import MAX_NAME
from masktrain_operator.core.jobs import attempt_number, is_finished
from masktrain_operator.core.manifests.metadata import attempt_name
from masktrain_operator.core.pods import is_terminal
from masktrain_operator.core.types import Plan
from tests.unit.operator.manifests import checkpoint, progress
from tests.unit.operator.world import NO_WORK, World

EXIT_CODES = st.sampled_from([1, 64, 75, 76, 137])


@given(attempt=st.integers(0, 10**6), rank=st.integers(0, 63))
def test_names_fit_a_host_name(attempt: int, rank: int) -> None:
    """The host name of a pod is the name of its Job and its rank."""
    longest = attempt_name("m" * MAX_NAME, attempt)
    assert len(f"{longest}-{rank}") <= 63


class LifeOfAJob(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(limits={"maxRestartsWithoutProgress": 5, "ttlSecondsAfterFinished": 5000})
        self.step = 0

    @rule()
    def the_operator_works(self) -> None:
        self.world.settle()
        again = replace(self.world.plan(), requeue_after=None)
        assert again == NO_WORK, "planning again after applying gives an empty plan"

    @rule(writes=st.sets(st.sampled_from(["create", "apply", "delete"])))
    def the_operator_is_killed_between_its_writes(self, writes: set[str]) -> None:
        decided = self.world.plan()
        done = Plan(
            create=decided.create if "create" in writes else (),
            apply=decided.apply if "apply" in writes else (),
            delete=decided.delete if "delete" in writes else (),
        )
        self.world.apply(done)

    @rule()
    def pods_start(self) -> None:
        self.world.start_pods()

    @precondition(lambda self: self.live_pods())
    @rule(data=st.data(), code=EXIT_CODES)
    def a_pod_fails(self, data: st.DataObject, code: int) -> None:
        rank = data.draw(st.sampled_from(self.live_pods()))
        self.world.end_pod(rank, code)

    @precondition(lambda self: len(self.live_pods()) == 2)
    @rule(code=st.sampled_from([0, 0, 75]))
    def the_gang_ends(self, code: int) -> None:
        self.world.end_all(code)

    @precondition(lambda self: self.world.jobs)
    @rule(steps=st.integers(0, 20))
    def training_goes_on(self, steps: int) -> None:
        self.step += steps
        attempt = max(map(attempt_number, self.world.jobs.values()))
        self.world.progress = progress(attempt, step=self.step, last=checkpoint(self.step))

    @rule()
    def the_job_controller_works(self) -> None:
        self.world.run_job_controller()

    @rule()
    def kubelets_end_pods(self) -> None:
        self.world.remove_terminating()

    @precondition(lambda self: self.world.jobs)
    @rule()
    def someone_deletes_a_job(self) -> None:
        name = max(self.world.jobs)
        self.world.pods_lose_their_job(self.world.jobs.pop(name))

    @rule(seconds=st.sampled_from([1, 10, 60, 200, 1000]))
    def time_passes(self, seconds: int) -> None:
        self.world.wait(seconds)

    @invariant()
    def never_two_gangs(self) -> None:
        unfinished = [job for job in self.world.jobs.values() if not is_finished(job)]
        assert len(unfinished) <= 1
        live = {attempt_number(pod) for pod in self.world.pods.values() if not is_terminal(pod)}
        assert len(live) <= 1, "pods of two attempts at once"

    @invariant()
    def never_complete_and_failed(self) -> None:
        if self.world.body["status"]:
            assert not (self.world.is_true("Complete") and self.world.is_true("Failed"))

    @invariant()
    def restarts_are_the_attempts_after_the_first(self) -> None:
        status = self.world.body["status"]
        if "attempt" in status:
            assert status["restarts"]["total"] == status["attempt"]

    def live_pods(self) -> list[int]:
        """Ranks of the newest attempt that still run."""
        newest = max(map(attempt_number, self.world.jobs.values()), default=-1)
        ours = [pod for pod in self.world.pods.values() if attempt_number(pod) == newest and not is_terminal(pod)]
        return sorted(int(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]) for pod in ours)


LifeOfAJob.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLifeOfAJob = LifeOfAJob.TestCase
