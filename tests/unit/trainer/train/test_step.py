"""Sizes of batches, and losses that are NaN or infinite."""

import math

import pytest
import torch

from masktrain_trainer.train.step import BadLoss, LossWatch, MultiScale, resized


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
