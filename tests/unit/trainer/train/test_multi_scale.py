"""Sizes of batches."""

import pytest
import torch

from masktrain_trainer.train.step import MultiScale, resized


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
