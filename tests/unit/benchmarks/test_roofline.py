"""The bound that training speeds on GPUs are compared with."""

import pytest
import torch

from benchmarks.training.roofline import Device, Work, count
from masktrain_trainer.config import Architecture


def test_the_slower_of_arithmetic_and_memory_is_the_bound() -> None:
    work = Work(operations=1e9, traffic=1e6)
    assert Device(operations_per_second=5e9, bytes_per_second=1e9).images_per_second(work) == 5
    assert Device(operations_per_second=5e12, bytes_per_second=1e9).images_per_second(work) == 1000


def test_work_is_that_of_the_published_table() -> None:
    """YOLOv5's README: 16.5 GFLOP forward at 640 px with 80 classes; backward is twice that but for the first layer.

    The traffic is that of a count by hand over the graph, each of convolution, norm and activation apart: 1.03 GB.
    """
    work = count(Architecture.YOLOV5S, 640, torch.float16)
    assert work.operations == pytest.approx(3 * 16.5e9, rel=0.1)
    assert work.traffic == pytest.approx(1.03e9, rel=0.15)


def test_half_the_bytes_are_half_the_traffic() -> None:
    half, full = (count(Architecture.YOLOV5N, 64, dtype) for dtype in (torch.bfloat16, torch.float32))
    assert full.traffic == pytest.approx(2 * half.traffic, rel=0.01)
    assert full.operations == half.operations
