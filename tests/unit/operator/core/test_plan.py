"""The life of a job as a sequence of plans."""

import json
from typing import Any

import pytest

from masktrain_operator.core.types import Plan
from masktrain_trainer.config import CONFIG_VARIABLE, OutcomeKind, StepResult
from tests.unit.operator.manifests import SETTINGS, batch_job, checkpoint, outcome_message, progress
from tests.unit.operator.world import World

REFUSED = outcome_message(OutcomeKind.USER_ERROR, "InvalidDataset", "data.yaml names no classes.")


def running_world(**sections: dict[str, Any]) -> World:
    world = World(**sections)
    world.run_operator()
    world.start_pods()
    world.run_operator()
    return world


def test_a_new_job_gets_a_service_and_the_job_of_attempt_0() -> None:
    world = World()
    decided = world.reconcile()
    assert [manifest["metadata"]["name"] for manifest in decided.create] == ["masks-0"]
    assert [manifest["kind"] for manifest in decided.apply] == ["Service"]
    assert world.status["attempt"] == 0
    assert world.status["state"] == "Pending"
    assert world.status["restarts"]["total"] == 0
    assert world.condition("Reconciling")["reason"] == "StartingWorkers"
    assert world.reasons() == ["AttemptStarted"]


def deleted(world: World, *finalizers: str) -> World:
    metadata = world.body["metadata"]
    world.body["metadata"] = {**metadata, "deletionTimestamp": metadata["creationTimestamp"], "finalizers": finalizers}
    return world


def test_a_job_that_is_deleted_before_it_started_needs_nothing() -> None:
    assert deleted(World(), "team.example/hold").plan() == Plan()


def test_a_job_that_a_finalizer_keeps_trains_no_longer() -> None:
    """It went on for ever, past every limit: the garbage collector waits for the resource to be gone."""
    world = deleted(running_world(), "team.example/hold")
    (deletion,) = world.plan().delete
    assert (deletion.kind, deletion.name, deletion.uid) == ("Job", "masks-0", "masks-0-uid")
    assert world.plan() == Plan(delete=(deletion,)), "no status, no event, and nothing else"
    world.run_operator()
    assert world.jobs == {}
    assert world.plan() == Plan(requeue_after=150), "then pods that have not ended are ended by force"


def test_a_deletion_in_the_foreground_is_left_to_the_garbage_collector() -> None:
    """The resource then stays until the last pod is gone."""
    assert deleted(running_world(), "foregroundDeletion").plan() == Plan()


def test_a_refused_deletion_of_a_deleted_job_is_tried_again_in_its_time() -> None:
    world = deleted(running_world(), "team.example/hold")
    world.refused_writes.add(("delete", "Job"))
    assert world.reconcile().requeue_after
    assert world.plan().delete == ()
    world.refused_writes.clear()
    world.pass_time(600)
    assert world.jobs == {}


def test_reconciling_ends_when_all_workers_have_started() -> None:
    world = World()
    world.run_operator()
    world.create_pods()
    world.run_operator()
    assert world.status["state"] == "Starting"
    assert world.is_true("Reconciling")
    world.start_pods()
    decided = world.run_operator()
    assert world.status["state"] == "Running"
    assert not world.is_true("Reconciling")
    assert decided.requeue_after == SETTINGS.progress_interval_seconds
    assert world.reasons() == ["AttemptStarted", "WorkersRunning"]


def test_progress_appears_in_the_status_with_decimals_as_strings() -> None:
    world = running_world()
    world.progress = progress(best=checkpoint(10, epoch=0, fitness=0.32), last=checkpoint(15, epoch=1))
    world.run_operator()
    said = world.status["progress"]
    assert (said["epoch"], said["epochs"], said["step"], said["etaSeconds"]) == (1, 10, 15, 60)
    assert (said["imagesPerSecond"], said["mAP50"], said["mAP50_95"]) == ("24.9", "0.5123", "0.3000")
    assert said["losses"] == {"box": "0.05", "objectness": "0.02", "classification": "0.01"}
    assert world.status["dataset"]["classes"] == ["mask", "no mask"]
    assert world.status["checkpoints"]["best"]["fitness"] == "0.3200"
    assert world.status["checkpoints"]["last"]["step"] == 15
    assert world.is_true("DatasetVerified")
    assert world.is_true("CheckpointFresh")
    assert world.reasons()[2:] == ["DatasetVerified", "BestCheckpoint"]


def test_what_another_attempt_says_is_not_this_ones_progress() -> None:
    world = running_world()
    world.progress = progress(attempt=1)
    world.run_operator()
    assert "progress" not in world.status


def test_complete_takes_the_last_words_of_rank_0() -> None:
    world = running_world()
    best = checkpoint(90, epoch=9, fitness=0.6).model_copy(update={"uri": "s3://checkpoints/vision/masks/best.pt"})
    said = outcome_message(OutcomeKind.COMPLETE, "Complete", "Done.", best=best, outputs=[best.uri])
    world.end_all(0, said)
    world.run_operator()
    assert world.is_true("Complete")
    assert world.condition("Complete")["message"] == (
        "Training is complete with mAP50 0.5123: s3://checkpoints/vision/masks/best.pt"
    )
    assert not world.is_true("Reconciling")
    assert (world.status["state"], world.status["outputs"]) == ("Complete", [best.uri])
    assert world.status["completionTime"]
    assert world.reasons()[-1] == "Complete"
    assert world.jobs


def test_complete_does_not_depend_on_last_words() -> None:
    world = running_world()
    world.progress = progress(best=checkpoint(10))
    world.run_operator()
    world.pods.clear()
    world.jobs["masks-0"]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    world.progress = None
    world.run_operator()
    assert world.is_true("Complete")
    assert world.status["checkpoints"]["best"]["step"] == 10


NO_BOX = "No epoch had a fitness, because no picture of the validation split has a box."


def test_complete_without_a_fitness_is_a_warning() -> None:
    world = running_world()
    newest = checkpoint(90, epoch=9, fitness=0.0)
    world.progress = progress(best=newest, last=newest)
    world.run_operator()
    assert not world.condition("BestUnknown"), "early in a training it means nothing"
    assert "BestCheckpoint" not in world.reasons(), "it is the newest, and the best of nothing"
    said = outcome_message(
        OutcomeKind.COMPLETE, "Complete", "Done.", best=newest, fitness_warning=NO_BOX, map50=0.0, map50_95=0.0
    )
    world.end_all(0, said)
    world.run_operator()
    assert world.is_true("Complete")
    assert world.condition("Complete")["message"] == (
        "Training is complete, but no epoch had a fitness above 0: s3://checkpoints/90/model.pt"
    )
    assert world.condition("BestUnknown") == {
        "type": "BestUnknown",
        "status": "True",
        "reason": "NoFitness",
        "message": NO_BOX,
        "observedGeneration": 1,
        "lastTransitionTime": world.condition("Complete")["lastTransitionTime"],
    }
    assert world.reasons()[-2:] == ["NoFitness", "Complete"]
    assert [event.kind for event in world.events[-2:]] == ["Warning", "Normal"]


def test_what_follows_a_training_is_two_conditions_and_a_warning_for_what_failed() -> None:
    world = running_world()
    refused = "best.onnx (ONNX FP32) is refused: its mAP50 is 0.4000 and the original's 0.5000."
    world.end_all(
        0,
        outcome_message(
            OutcomeKind.COMPLETE,
            "Complete",
            "Done.",
            best=checkpoint(90, fitness=0.5),
            exported=StepResult(done=False, reason="AccuracyLoss", message=refused),
            evaluated=StepResult(done=True, reason="Evaluated", message="1 sources."),
        ),
    )
    world.run_operator()
    assert world.is_true("Complete")
    assert world.is_true("Evaluated")
    exported = world.condition("Exported")
    assert (exported["status"], exported["reason"], exported["message"]) == ("False", "AccuracyLoss", refused)
    assert "AccuracyLoss" in world.reasons()
    assert "Evaluated" not in world.reasons()


def test_a_reason_that_is_no_word_costs_nothing_else() -> None:
    assert StepResult(done=True, reason="two words", message="").reason == "Other"


def test_the_warning_outlives_last_words_that_are_lost() -> None:
    world = running_world()
    world.progress = progress(best=checkpoint(90, fitness=0.0), fitness_warning=NO_BOX)
    world.run_operator()
    world.pods.clear()
    world.jobs["masks-0"]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    world.progress = None
    world.run_operator()
    assert world.is_true("Complete")
    assert world.is_true("BestUnknown")


def test_a_trainer_that_does_not_say_it_is_understood_by_its_fitness() -> None:
    world = running_world()
    world.end_all(0, outcome_message(OutcomeKind.COMPLETE, "Complete", "Done.", best=checkpoint(90, fitness=0.0)))
    world.run_operator()
    assert world.condition("BestUnknown")["message"].startswith("No validation gave best.pt, the weights of epoch 0")


def test_a_later_attempt_that_finds_a_fitness_takes_the_warning_back() -> None:
    world = running_world()
    world.progress = progress(best=checkpoint(90, fitness=0.0), fitness_warning=NO_BOX)
    world.run_operator()
    world.progress = progress(best=checkpoint(80, fitness=0.1))
    world.run_operator()
    assert (world.condition("BestUnknown")["status"], world.condition("BestUnknown")["reason"]) == (
        "False",
        "FitnessFound",
    )
    world.end_all(0, outcome_message(OutcomeKind.COMPLETE, "Complete", "Done.", best=checkpoint(80, fitness=0.1)))
    world.run_operator()
    assert world.condition("Complete")["message"].startswith("Training is complete with mAP50 0.5123")


def test_a_job_that_requires_a_fitness_fails_without_one() -> None:
    world = running_world(training={"requireFitness": True})
    (container,) = world.jobs["masks-0"]["spec"]["template"]["spec"]["containers"]
    (configuration,) = [v["value"] for v in container["env"] if v["name"] == CONFIG_VARIABLE]
    assert json.loads(configuration)["training"] == {"requireFitness": True}
    world.progress = progress(best=checkpoint(90, fitness=0.0))
    world.run_operator()
    sentence = f"training.requireFitness is not met: {NO_BOX}"
    world.end_pod(0, 64, outcome_message(OutcomeKind.USER_ERROR, "NoFitness", sentence, fitness_warning=NO_BOX))
    world.run_job_controller()
    world.run_operator()
    assert world.condition("Failed")["reason"] == "NoFitness"
    assert world.condition("Failed")["message"] == sentence
    assert world.status["checkpoints"]["best"]["step"] == 90, "the newest weights are left"
    assert (world.status["state"], world.status["restarts"]["total"]) == ("Failed", 0)


def test_refused_input_fails_the_job_at_once_with_the_trainers_words() -> None:
    world = running_world()
    world.end_pod(0, 64, REFUSED)
    world.run_job_controller()
    world.run_operator()
    for kind in ("Failed", "Stalled"):
        assert world.condition(kind)["status"] == "True"
        assert world.condition(kind)["reason"] == "InvalidDataset"
        assert world.condition(kind)["message"] == "data.yaml names no classes."
    assert world.condition("DatasetVerified")["status"] == "False"
    assert (world.status["state"], world.status["restarts"]["total"]) == ("Failed", 0)
    assert world.status["restarts"].get("preemptionsWithoutProgress", 0) == 0
    assert "retryTime" not in world.status["restarts"]
    assert world.reasons()[-2:] == ["AttemptFailed", "Failed"]
    world.remove_terminating()
    world.run_job_controller()
    world.wait(1000)
    world.run_operator()
    assert list(world.jobs) == ["masks-0"]


def test_the_next_attempt_waits_until_every_old_pod_is_terminal_or_gone() -> None:
    world = running_world()
    world.progress = progress(last=checkpoint(15))
    world.run_operator()
    world.end_pod(1, 1)
    world.run_job_controller()
    world.run_operator()
    assert world.status["state"] == "Restarting"
    assert world.condition("Reconciling")["reason"] == "WaitingForOldPods"
    assert "masks-0-0-abcde" in world.condition("Reconciling")["message"]
    assert list(world.jobs) == ["masks-0"]
    world.remove_terminating()
    world.run_job_controller()
    world.run_operator()
    assert list(world.jobs) == ["masks-0", "masks-1"]
    assert (world.status["attempt"], world.status["restarts"]["total"]) == (1, 1)


def test_a_new_attempt_is_created_only_after_the_end_of_the_old_one_is_written() -> None:
    world = running_world()
    world.progress = progress(last=checkpoint(15))
    world.run_operator()
    world.end_all(1)
    written = world.plan()
    assert written.create == ()
    assert written.requeue_after == 0
    assert written.status is not None
    assert written.status["restarts"]["lastFailure"]["attempt"] == 0
    world.apply(written)
    assert [manifest["metadata"]["name"] for manifest in world.plan().create] == ["masks-1"]


def test_a_status_that_was_not_written_is_made_up_for_from_the_jobs_there_are() -> None:
    world = running_world()
    world.progress = progress(last=checkpoint(15))
    world.run_operator()
    world.end_all(1)
    world.reconcile()
    killed = world.plan()
    world.apply(Plan(create=killed.create))
    world.run_operator()
    assert list(world.jobs) == ["masks-0", "masks-1"]
    assert world.status["attempt"] == 1
    assert world.status["restarts"]["stepAtStart"] == 15


def test_a_resumed_attempt_says_where_it_goes_on() -> None:
    world = running_world()
    world.progress = progress(last=checkpoint(15))
    world.run_operator()
    world.end_all(1)
    world.run_operator()
    world.start_pods()
    world.progress = progress(attempt=1, resumed_from=checkpoint(15, epoch=1), last=checkpoint(15))
    world.run_operator()
    assert "ResumedFromCheckpoint" in world.reasons()
    assert world.status["checkpoints"]["resumedFrom"]["step"] == 15
    assert world.status["state"] == "Running"


def test_a_deleted_job_is_made_again_under_its_name_once_its_pods_are_gone() -> None:
    world = running_world()
    world.pods_lose_their_job(world.jobs.pop("masks-0"))
    world.run_operator()
    assert world.jobs == {}
    world.remove_terminating()
    world.run_operator()
    assert list(world.jobs) == ["masks-0"]
    assert world.status["restarts"]["total"] == 0


def test_only_the_jobs_of_the_two_newest_attempts_stay() -> None:
    world = running_world()
    for attempt in range(4):
        world.progress = progress(attempt, last=checkpoint(10 * attempt + 10))
        world.start_pods()
        world.run_operator()
        world.end_all(1)
        world.run_operator()
    assert list(world.jobs) == ["masks-3", "masks-4"]


def test_an_edit_of_the_spec_restarts_nothing_and_is_observed() -> None:
    world = running_world()
    world.body["metadata"]["generation"] = 2
    world.body["spec"]["compute"]["image"] = "trainer:next"
    decided = world.reconcile()
    assert (decided.create, decided.delete) == ((), ())
    assert world.status["observedGeneration"] == 2


def test_a_changed_service_is_repaired() -> None:
    world = running_world()
    assert world.service is not None
    world.service["spec"]["publishNotReadyAddresses"] = False
    assert [manifest["kind"] for manifest in world.reconcile().apply] == ["Service"]
    assert world.plan().apply == ()


@pytest.mark.parametrize("field", ["clusterIPs", "ipFamilies", "sessionAffinity"])
def test_what_the_api_server_adds_to_the_service_is_no_change(field: str) -> None:
    world = running_world()
    assert world.service is not None
    world.service["spec"][field] = ["None"]
    assert world.plan().apply == ()


def test_an_unreachable_trainer_is_said_and_restarts_nothing() -> None:
    world = running_world()
    world.progress_error = "GET http://10.0.0.1:8080/progress: timed out"
    world.run_operator()
    assert world.is_true("ProgressUnknown")
    assert world.condition("ProgressUnknown")["message"] == world.progress_error
    assert list(world.jobs) == ["masks-0"]
    world.progress_error = None
    world.progress = progress()
    world.run_operator()
    assert world.condition("ProgressUnknown")["status"] == "False"


def test_a_failing_store_is_said_and_heals() -> None:
    world = running_world()
    world.progress = progress(store_error="The bucket is full.")
    world.run_operator()
    assert world.condition("CheckpointFresh")["status"] == "False"
    assert world.condition("CheckpointFresh")["message"] == "The bucket is full."
    assert world.reasons()[-1] == "StoreError"
    world.progress = progress(last=checkpoint(20))
    world.run_operator()
    assert world.is_true("CheckpointFresh")


def test_a_foreign_service_is_left_alone() -> None:
    world = World()
    world.service = {"metadata": {"name": "masks", "uid": "theirs"}}
    decided = world.reconcile()
    assert (decided.create, decided.apply, decided.delete) == ((), (), ())
    assert decided.requeue_after
    assert world.condition("Stalled")["reason"] == "ServiceNotOurs"
    assert world.reasons() == ["ServiceNotOurs"]
    world.service = None
    world.run_operator()
    assert world.condition("Stalled")["status"] == "False"
    assert list(world.jobs) == ["masks-0"]


def test_a_foreign_job_is_waited_for() -> None:
    world = World()
    world.foreign_jobs = ("masks-0",)
    decided = world.run_operator()
    assert world.jobs == {}
    assert decided.requeue_after
    assert world.condition("Stalled")["reason"] == "JobNotOurs"
    world.foreign_jobs = ()
    world.run_operator()
    assert list(world.jobs) == ["masks-0"]


def test_past_its_deadline_the_job_fails_and_its_gang_goes() -> None:
    world = running_world(limits={"activeDeadlineSeconds": 100})
    world.progress = progress()
    assert world.run_operator().requeue_after == SETTINGS.progress_interval_seconds
    world.wait(100)
    world.run_operator()
    assert world.condition("Failed")["reason"] == "DeadlineExceeded"
    assert "100 s" in world.condition("Failed")["message"]
    assert world.jobs == {}
    assert all("deletionTimestamp" in manifest["metadata"] for manifest in world.pods.values())


def test_the_deadline_wakes_the_planner() -> None:
    world = World(limits={"activeDeadlineSeconds": 100})
    world.run_operator()
    world.wait(40)
    assert world.plan().requeue_after == 60


def test_a_finished_job_is_not_touched_by_its_deadline() -> None:
    world = running_world(limits={"activeDeadlineSeconds": 100})
    world.end_all(0)
    world.wait(200)
    world.run_operator()
    assert world.is_true("Complete")


def test_after_the_ttl_everything_but_the_resource_is_deleted() -> None:
    world = running_world(limits={"ttlSecondsAfterFinished": 60})
    world.end_all(0)
    assert world.run_operator().requeue_after == 60
    world.wait(60)
    decided = world.reconcile()
    assert {deletion.kind for deletion in decided.delete} == {"Job", "Service"}
    assert all(deletion.uid for deletion in decided.delete)
    assert (world.jobs, world.pods, world.service) == ({}, {}, None)
    assert world.run_operator() == Plan()
    assert world.is_true("Complete")


def test_without_a_ttl_a_finished_job_is_left_alone() -> None:
    world = running_world()
    world.end_all(0)
    world.run_operator()
    world.wait(10_000_000)
    assert world.plan() == Plan()


def test_the_status_of_a_newer_operator_is_read() -> None:
    world = World()
    world.body["status"] = {"attempt": 3, "fromTheFuture": {"a": 1}}
    assert [manifest["metadata"]["name"] for manifest in world.plan().create] == ["masks-3"]


def test_fractions_of_a_second_do_not_change_a_plan() -> None:
    world = World()
    on_the_second = world.plan()
    world.wait(0.999_999)
    assert world.plan() == on_the_second


def test_a_job_goes_before_its_stuck_pods() -> None:
    """Its controller would wait for a pod whose object is gone, and never say Failed."""
    world = running_world()
    world.end_pod(1, 1)
    world.run_job_controller()
    world.run_operator()
    world.wait(150)
    deleted = [(deletion.kind, deletion.name, deletion.grace_seconds) for deletion in world.plan().delete]
    assert deleted == [("Job", "masks-0", None), ("Pod", "masks-0-0-abcde", 0)]


def test_an_expired_job_takes_pods_with_it_that_have_lost_their_batch_job() -> None:
    """The garbage collector knows them no more."""
    world = running_world(limits={"ttlSecondsAfterFinished": 100})
    world.end_all(0)
    world.run_operator()
    world.jobs.clear()
    world.wait(100)
    deleted = {(deletion.kind, deletion.name) for deletion in world.plan().delete}
    assert deleted == {("Pod", "masks-0-0-abcde"), ("Pod", "masks-0-1-abcde"), ("Service", "masks")}


def test_a_batch_job_that_no_plan_made_inherits_no_node_pool() -> None:
    """The next attempt's, made by anybody: what the status keeps of the one before would prove it admitted."""
    world = running_world()
    world.status["nodePool"] = "gpu"
    world.jobs["masks-1"] = batch_job(1)
    world.run_operator()
    assert (world.status["attempt"], world.status["attemptUid"]) == (1, "masks-1-uid")
    assert "nodePool" not in world.status
