"""Where detections are matched with labels."""

import threading
from functools import partial

import pytest
import torch

from masktrain_trainer.train.validation import matching


@pytest.mark.parametrize(("device", "beside"), [("cpu", False), ("cuda", True)])
def test_batches_are_matched_in_order_beside_a_gpu_in_another_thread(device: str, beside: bool) -> None:
    done: list[tuple[int, bool]] = []

    def note(number: int) -> None:
        done.append((number, threading.current_thread() is not threading.main_thread()))

    with matching(torch.device(device)) as match:
        for number in range(50):
            match(partial(note, number))
    assert done == [(number, beside) for number in range(50)]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_error_of_matching_is_raised(device: str) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), matching(torch.device(device)) as match:
        match(fail)
