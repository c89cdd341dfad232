"""The first loss that is not a number is kept, with what a person needs to find the cause."""

import math

import pytest
import torch

from masktrain_trainer.train.loss_watch import LossWatch


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_bad_loss_is_named(value: float) -> None:
    watch = LossWatch([f"{index}.jpg" for index in range(9)])
    watch.watch(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 1]), step=0, epoch=0)
    assert watch.look() is None
    watch.watch(torch.tensor([1.0, value, 3.0]), torch.tensor([8, 2, 3, 4, 5]), step=1, epoch=0)
    watch.watch(torch.tensor([value, value, value]), torch.tensor([6, 7]), step=2, epoch=0)
    bad = watch.look(wait=True)
    assert bad is not None
    assert (bad.step, bad.image_names) == (1, ("8.jpg", "2.jpg", "3.jpg", "4.jpg"))
    assert bad.sentence().startswith("The loss is not finite at step 1 of epoch 0: box 1, objectness ")
    assert "training.hyperparameters.learningRate" in bad.sentence()
