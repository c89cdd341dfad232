"""What holds for every life that a job can have: hypothesis makes the cluster fail in any order."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.spec import MAX_NAME
from masktrain_operator.core.jobs import attempt_number, failure, is_finished
from masktrain_operator.core.manifests.metadata import attempt_name
from masktrain_operator.core.pods import is_terminal
from masktrain_operator.core.times import format_time
from masktrain_operator.core.types import Capacity, Manifest, NodeRate, Plan
from tests.unit.operator.manifests import NOW, SETTINGS, checkpoint, progress
from tests.unit.operator.world import World

EXIT_CODES = st.sampled_from([1, 64, 75, 76, 137])


@given(attempt=st.integers(0, 10**6), rank=st.integers(0, 63))
def test_names_fit_a_host_name(attempt: int, rank: int) -> None:
    """The host name of a pod is the name of its Job and its rank."""
    longest = attempt_name("m" * MAX_NAME, attempt)
    assert len(f"{longest}-{rank}") <= 63


LIMITS = st.fixed_dictionaries(
    {"maxRestartsWithoutProgress": st.sampled_from([0, 5])},
    optional={
        "ttlSecondsAfterFinished": st.sampled_from([0, 500]),
        "activeDeadlineSeconds": st.sampled_from([300, 3000]),
        "startDeadlineSeconds": st.sampled_from([60, 1500]),
        "maxCost": st.sampled_from(["1.00", "5.00"]),
    },
)
RATE = Decimal("36.00")
READY = Capacity(is_ready=True, reason=Reason.WAITING_FOR_NODES, message="", pool="v100", hourly_rate=RATE)
CAPACITIES = st.sampled_from(
    [
        READY,
        READY,
        Capacity(is_ready=False, reason=Reason.WAITING_FOR_CAPACITY, message="v100 is full."),
        Capacity(is_ready=False, reason=Reason.POOL_NOT_FOUND, message="There is no v100."),
    ]
)
WRITES = st.sampled_from([("create", "Job"), ("apply", "Service"), ("delete", "Job"), ("delete", "Service")])
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
NEVER_PULLS = {"name": "trainer", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}


class LifeOfAJob(RuleBasedStateMachine):
    """The operator plans when a watch tells it something or its requeue is due, and never just because.

    So a moment that the planner forgets to ask for shows: a plan that nothing had asked for finds something to do.
    """

    @initialize(limits=LIMITS, on_pools=st.booleans(), is_prompt=st.booleans(), refused=st.sets(WRITES))
    def a_job_is_created(
        self, limits: dict[str, Any], on_pools: bool, is_prompt: bool, refused: set[tuple[str, str]]
    ) -> None:
        """`is_prompt`: the operator works as soon as a watch tells it something, otherwise when it gets to it."""
        self.world = World(limits=limits)
        self.world.refused_writes = refused
        self.is_prompt = is_prompt
        self.world.settings = replace(SETTINGS, progress_interval_seconds=900)
        self.world.capacity = READY if on_pools else None
        self.step = 0

    @rule()
    def the_operator_works(self) -> None:
        self.world.run_operator_if_woken()

    @rule(writes=st.sets(st.sampled_from(["create", "apply", "delete"])))
    def the_operator_is_killed_between_its_writes(self, writes: set[str]) -> None:
        """The next one lists everything when it starts."""
        decided = self.world.plan()
        done = Plan(
            create=decided.create if "create" in writes else (),
            apply=decided.apply if "apply" in writes else (),
            delete=decided.delete if "delete" in writes else (),
        )
        self.world.apply(done)
        self.world.refusals.clear()
        self.world.is_woken = True

    @rule()
    def pods_start(self) -> None:
        self.world.start_pods()
        self._bind_to_nodes()
        self._tell()

    @rule(where=st.sampled_from(["nowhere", "one of two", "without their image"]))
    def pods_are_created_and_do_not_start(self, where: str) -> None:
        self.world.create_pods()
        for rank, manifest in enumerate(self.world.pods.values()):
            if manifest["status"]["phase"] == "Pending":
                is_bound = where == "without their image" or (where == "one of two" and rank == 0)
                self._keep_pending(manifest, f"node-{rank}" if is_bound else None)
        self._tell()

    @rule(writes=st.sets(WRITES, min_size=1))
    def half_a_gang_waits_for_the_rest_while_writes_are_refused(self, writes: set[tuple[str, str]]) -> None:
        """For longer than a half gang is kept."""
        self.world.refused_writes = writes
        self.world.run_operator_if_woken()
        self.pods_are_created_and_do_not_start("one of two")
        self.world.pass_time(800)

    @precondition(lambda self: self.live_pods())
    @rule(data=st.data(), code=EXIT_CODES)
    def a_pod_fails(self, data: st.DataObject, code: int) -> None:
        rank = data.draw(st.sampled_from(self.live_pods()))
        self.world.end_pod(rank, code)
        self._tell()

    @precondition(lambda self: len(self.live_pods()) == 2)
    @rule(code=st.sampled_from([0, 0, 75]))
    def the_gang_ends(self, code: int) -> None:
        self.world.end_all(code)
        self._tell()

    @precondition(lambda self: self.running_pods())
    @rule(steps=st.integers(0, 20))
    def training_goes_on(self, steps: int) -> None:
        """As the operator learns when it asks the next time."""
        self.step += steps
        attempt = max(map(attempt_number, self.running_pods()))
        self.world.progress = progress(attempt, step=self.step, last=checkpoint(self.step))
        self._tell()

    @rule()
    def the_job_controller_works(self) -> None:
        self.world.run_job_controller()
        self._tell()

    @rule()
    def kubelets_end_pods(self) -> None:
        self.world.remove_terminating()
        self._tell()

    @precondition(lambda self: self.world.jobs)
    @rule()
    def someone_deletes_a_job(self) -> None:
        name = max(self.world.jobs)
        self.world.pods_lose_their_job(self.world.jobs.pop(name))
        self._tell()

    @precondition(lambda self: self.world.capacity is not None)
    @rule(capacity=CAPACITIES)
    def pools_answer_differently(self, capacity: Capacity) -> None:
        self.world.capacity = capacity
        self._tell()

    @rule(writes=st.sets(WRITES))
    def a_quota_or_policy_changes(self, writes: set[tuple[str, str]]) -> None:
        """Told by no watch: the operator tries again."""
        self.world.refused_writes = writes

    @rule(seconds=st.sampled_from([1, 10, 60, 200, 1000]))
    def time_passes(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    @invariant()
    def no_moment_is_missed(self) -> None:
        """Between wake-ups, planning just because finds nothing new but what the time in between has cost."""
        if self.world.is_woken or self.world.is_due:
            return
        decided = self.world.plan()
        assert not decided.writes, f"nobody had asked for {decided}"
        if decided.status is not None:
            assert _timeless(decided.status) == _timeless(self.world.body["status"])

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

    @rule()
    def everything_is_allowed_again(self) -> None:
        """Whatever has happened: now that the cluster does its part, the job comes on."""
        self.world.refused_writes = set()
        if self.world.capacity is not None:
            self.world.capacity = READY
        for _ in range(12):
            self.world.remove_terminating()
            self.world.run_job_controller()
            self.world.start_pods()
            self._bind_to_nodes()
            self.world.is_woken = True
            self.world.pass_time(200)
            if self.world.status.get("state") in ("Running", "Complete", "Failed"):
                break
        else:
            raise AssertionError(f"the job does not come on: {self.world.status}")
        assert not self.world.is_true("WriteRefused")
        if self.world.status["state"] != "Running":
            assert all(is_finished(job) or failure(job) for job in self.world.jobs.values()), "a gang goes on"

    def live_pods(self) -> list[int]:
        """Ranks of the newest attempt that still run."""
        newest = max(map(attempt_number, self.world.jobs.values()), default=-1)
        ours = [pod for pod in self.world.pods.values() if attempt_number(pod) == newest and not is_terminal(pod)]
        return sorted(int(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]) for pod in ours)

    def running_pods(self) -> list[Manifest]:
        return [pod for pod in self.world.pods.values() if pod["status"]["phase"] == "Running"]

    def _tell(self) -> None:
        """A watch tells the operator."""
        self.world.is_woken = True
        if self.is_prompt:
            self.world.run_operator_if_woken()

    def _bind_to_nodes(self) -> None:
        """At a price, on a pool."""
        for manifest in self.world.pods.values():
            node = manifest["spec"].get("nodeName")
            if node is not None and self.world.capacity is not None:
                self.world.node_rates[node] = NodeRate(RATE, 1, NOW)
                conditions = manifest["status"].setdefault("conditions", [])
                if not any(condition["type"] == "PodScheduled" for condition in conditions):
                    conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": self._moment()})

    def _keep_pending(self, manifest: Manifest, node: str | None) -> None:
        manifest["spec"].pop("nodeName", None)
        if node is None:
            manifest["status"] = {"phase": "Pending", "conditions": [UNSCHEDULABLE]}
        else:
            manifest["spec"]["nodeName"] = node
            bound = {"type": "PodScheduled", "status": "True", "lastTransitionTime": self._moment()}
            manifest["status"] = {"phase": "Pending", "conditions": [bound], "containerStatuses": [NEVER_PULLS]}
            self._bind_to_nodes()

    def _moment(self) -> str:
        return format_time(self.world.now)


def _timeless(status: Manifest) -> Manifest:
    """Without what is computed anew at every look: the cost up to now, and the sentences that name it."""
    return {key: value for key, value in status.items() if key not in ("cost", "progress", "conditions")} | {
        "conditions": sorted((c["type"], c["status"], c["reason"]) for c in status.get("conditions", ()))
    }


LifeOfAJob.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLifeOfAJob = LifeOfAJob.TestCase
