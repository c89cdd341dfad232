"""What a person reads while a job waits, and how much of what others say fits."""

import pytest

from masktrain_operator.core.attempts import Attempt
from masktrain_operator.core.status.events import LONGEST_MESSAGE
from masktrain_operator.core.status.progress import LONGEST_LIST
from masktrain_operator.core.status.transitions import waiting_sentence
from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import DatasetSummary, SplitCounts
from tests.unit.operator.manifests import pod, progress, with_condition
from tests.unit.operator.world import World

UNSCHEDULABLE = with_condition(
    pod(1, phase="Pending"), "PodScheduled", "False", reason="Unschedulable", message="0/2 nodes: Insufficient GPUs."
)


def waiting_container(reason: str, message: str = "") -> Manifest:
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(1, phase="Pending", containerStatuses=[{"name": "trainer", "state": state}])


@pytest.mark.parametrize(
    ("pods", "sentence"),
    [
        ((), "0 of 2 workers of attempt 0 have started."),
        ((pod(0), pod(1, phase="Pending")), "1 of 2 workers of attempt 0 have started."),
        (
            (pod(0), UNSCHEDULABLE),
            (
                "1 of 2 workers of attempt 0 have started; "
                "masks-0-1-abcde cannot be scheduled: 0/2 nodes: Insufficient GPUs."
            ),
        ),
        (
            (pod(0), waiting_container("ImagePullBackOff", "no such image")),
            "1 of 2 workers of attempt 0 have started; masks-0-1-abcde: ImagePullBackOff: no such image",
        ),
        ((waiting_container("ContainerCreating"),), "0 of 2 workers of attempt 0 have started."),
    ],
    ids=["no pods", "one", "unschedulable", "no image", "creating"],
)
def test_a_start_that_takes_long_is_explained(pods: tuple[Manifest, ...], sentence: str) -> None:
    assert waiting_sentence(Attempt(0, None, pods), nodes=2) == sentence


def test_what_a_data_set_loses_is_said() -> None:
    world = World()
    world.run_operator()
    world.start_pods()
    counts = {"labelled": 90, "label_without_image": 2, "skipped_images": 1, "dropped_rows": 3}
    splits = [SplitCounts(split="train", **counts), SplitCounts(split="val", labelled=8, dropped_rows=4)]
    known = {"images": 90, "boxes": 200, "validation_images": 8, "validation_boxes": 20, "skipped_images": 1}
    world.progress = progress(dataset=DatasetSummary(classes=["mask"], splits=splits, **known))
    world.run_operator()
    assert world.condition("DatasetVerified")["message"] == (
        "1 classes (mask), 90 training images with 200 boxes, 8 validation images with 20 boxes; 1 images were "
        "skipped; 7 label rows were dropped; 2 labels have no image."
    )


def test_any_number_of_classes_fits_event_and_status() -> None:
    world = World()
    world.run_operator()
    world.start_pods()
    classes = ["c" * 1000] * 5000
    world.progress = progress(
        dataset=DatasetSummary(classes=classes, images=1, boxes=1, validation_images=1, validation_boxes=1),
        detail="d" * 100_000,
    )
    world.run_operator()
    assert max(len(event.message) for event in world.events) == LONGEST_MESSAGE
    assert 0 < sum(len(name.encode()) for name in world.status["dataset"]["classes"]) <= LONGEST_LIST
    assert len(world.condition("DatasetVerified")["message"]) == 4096
    assert world.condition("DatasetVerified")["message"].startswith("5000 classes (")
