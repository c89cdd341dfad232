"""Sizes of batches, and losses that are NaN or infinite."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from masktrain_trainer.config import Architecture
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.train.distributed import Ranks
from masktrain_trainer.train.step import (
    BadLoss,
    LossWatch,
    MultiScale,
    StatisticsGuard,
    distribute,
    resized,
    tried_convolutions,
)


@pytest.mark.parametrize(
    ("image_size", "stride", "smallest", "largest"), [(640, 32, 320, 960), (1280, 64, 640, 1920), (64, 32, 32, 96)]
)
def test_sizes_are_multiples_of_the_stride_from_half_to_one_and_a_half(
    image_size: int, stride: int, smallest: int, largest: int
) -> None:
    scale = MultiScale(image_size, stride, seed=0)
    drawn = {scale.at(iteration) for iteration in range(1000)}
    assert drawn == set(range(smallest, largest + 1, stride))


def test_a_size_depends_on_seed_and_iteration_alone() -> None:
    sizes = [MultiScale(640, 32, seed=1).at(iteration) for iteration in range(50)]
    assert [MultiScale(640, 32, seed=1).at(iteration) for iteration in reversed(range(50))] == sizes[::-1]
    assert [MultiScale(640, 32, seed=2).at(iteration) for iteration in range(50)] != sizes


def test_resizing_keeps_plain_areas_plain() -> None:
    grey = torch.full((2, 3, 64, 64), 0.25)
    assert resized(grey, 64) is grey
    assert torch.equal(resized(grey, 96), torch.full((2, 3, 96, 96), 0.25))
    assert resized(grey, 32).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_bad_loss_is_named(value: float) -> None:
    watch = LossWatch([f"{index}.jpg" for index in range(9)])
    watch.watch(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 1]), step=0, epoch=0)
    assert watch.look() is None
    watch.watch(torch.tensor([1.0, value, 3.0]), torch.tensor([8, 2]), step=1, epoch=0)
    watch.watch(torch.tensor([value, value, value]), torch.tensor([6, 7]), step=2, epoch=0)
    bad = watch.look(wait=True)
    assert bad is not None
    assert (bad.step, bad.image_names) == (1, ("8.jpg", "2.jpg"))
    assert bad.sentence().startswith("The loss is not finite at step 1 of epoch 0: box 1, objectness ")
    assert "with the images 8.jpg, 2.jpg; checkpoints from before are kept" in bad.sentence()
    assert "training.hyperparameters.learningRate" in bad.sentence()


def test_of_a_large_batch_some_images_are_named() -> None:
    bad = BadLoss(3, 1, (math.inf, 0.1, 0.2), tuple(f"{index}.jpg" for index in range(32)))
    assert "0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, 5.jpg, 6.jpg, 7.jpg and 24 more;" in bad.sentence()


GOOD, BAD = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, math.inf, 3.0])


@pytest.mark.parametrize(
    ("losses", "ends_at"),
    [
        ([BAD, BAD, GOOD, BAD, BAD, GOOD], None),
        ([GOOD, BAD, BAD, BAD, GOOD], 3),
    ],
)
def test_a_few_bad_losses_in_a_row_are_tolerated(losses: list[torch.Tensor], ends_at: int | None) -> None:
    """float16: the scaler skips their steps."""
    watch = LossWatch(["0.jpg"], tolerated=2)
    for step, items_3 in enumerate(losses):
        watch.watch(items_3, torch.tensor([0]), step=step, epoch=0)
    bad = watch.look(wait=True)
    assert (None if bad is None else bad.step) == ends_at
    if bad is not None:
        assert bad.sentence().startswith(
            "The loss is not finite at step 3 of epoch 0, and not in 3 batches in a row: box 1, objectness inf"
        )


def test_a_batch_with_a_bad_loss_leaves_the_statistics_alone() -> None:
    norm = nn.BatchNorm2d(2)
    guard = StatisticsGuard(norm)
    norm(torch.randn(4, 2, 3, 3))
    guard.judge(GOOD)
    kept = [buffer.clone() for buffer in norm.buffers()]
    assert not torch.equal(kept[0], torch.zeros(2))
    norm(torch.full((4, 2, 3, 3), math.inf))
    assert norm.running_mean is not None
    assert not norm.running_mean.isfinite().all()
    guard.judge(BAD)
    assert all(torch.equal(buffer, before) for buffer, before in zip(list(norm.buffers())[:2], kept[:2], strict=True))
    norm(torch.randn(4, 2, 3, 3))
    guard.judge(GOOD)
    assert not torch.equal(next(iter(norm.buffers())), kept[0])


def test_convolutions_are_tried_where_shapes_stay_the_same_and_only_there() -> None:
    before = torch.backends.cudnn.benchmark
    for on in (True, False):
        with tried_convolutions(on):
            assert torch.backends.cudnn.benchmark is on
        assert torch.backends.cudnn.benchmark is before


def test_a_compiled_model_delivers_gradients_bucket_by_bucket(tmp_path: Path) -> None:
    """One graph would deliver them all at its end, when no computing is left for the exchange to hide behind.

    torch splits graphs at DDP's buckets where they are compiled while DDP's forward pass runs.
    """
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    ranks = Ranks(0, 0, 2, 2, torch.device("cpu"))
    store = dist.FileStore(str(tmp_path / "store"), 1)  # type: ignore[attr-defined]
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = build_yolo(Architecture.YOLOV5N, 2)
        model.compile(backend=count, dynamic=False)
        distribute(model, ranks)(torch.zeros(1, 3, 64, 64))
    finally:
        torch.compiler.reset()
        dist.destroy_process_group()
    assert len(graphs) > 1
