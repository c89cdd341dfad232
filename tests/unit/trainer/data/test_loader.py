"""Batches: the same whatever makes them, wherever a run is taken up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from masktrain_trainer.config import Hyperparameters
from masktrain_trainer.data.batch_workers import LoaderDied
from masktrain_trainer.data.dataset import Pixels, TrainDataset
from masktrain_trainer.data.geometry import xywhn_to_xyxy
from masktrain_trainer.data.loader import Batch, Copies, TrainLoader, padded_targets, val_batches
from masktrain_trainer.data.prepared import PreparedDataset

from .exports import prepared_pictures

SIZE = 64
SIZES = [(48, 64), (64, 48), (100, 100), (20, 200), (200, 20), (64, 64), (33, 47), (300, 211), (90, 60)] * 2


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepared_pictures(tmp_path_factory.mktemp("prepared"), SIZES, SIZE)


@pytest.fixture(scope="module")
def dataset(prepared: PreparedDataset) -> TrainDataset:
    return TrainDataset(prepared, SIZE, Hyperparameters(), 3)


def assert_equal(batches: list[Batch], others: list[Batch]) -> None:
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        for one, two in zip(batch, other, strict=True):
            assert torch.equal(one, two)


def epochs(dataset: TrainDataset, count: int, **options: Any) -> list[Batch]:
    """The batches of the first epochs, of four images unless `options` of the loader say otherwise."""
    with TrainLoader(dataset, **{"batch_size": 4, **options}) as loader:
        return [batch for epoch in range(count) for batch in loader.batches(epoch)]


def test_shapes_and_types(dataset: TrainDataset) -> None:
    batch, *_ = epochs(dataset, 1)
    assert (batch.images_BCHW.shape, batch.images_BCHW.dtype) == ((4, 3, SIZE, SIZE), torch.uint8)
    assert (batch.targets_M6.shape[1], batch.targets_M6.dtype) == (6, torch.float32)
    assert set(batch.targets_M6[:, 0].tolist()) <= {0.0, 1.0, 2.0, 3.0}
    assert batch.images_BCHW.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("render_on_gpu", [False, True])
@pytest.mark.parametrize("workers", [1, 3, 9])
def test_workers_change_nothing(dataset: TrainDataset, workers: int, render_on_gpu: bool) -> None:
    alone = epochs(dataset, 3, render_on_gpu=render_on_gpu)
    assert_equal(epochs(dataset, 3, workers=workers, render_on_gpu=render_on_gpu), alone)


def test_who_renders_the_images_changes_no_box_and_hardly_a_pixel(dataset: TrainDataset) -> None:
    for here, there in zip(epochs(dataset, 2), epochs(dataset, 2, workers=1, render_on_gpu=True), strict=True):
        assert torch.equal(here.targets_M6, there.targets_M6)
        assert torch.equal(here.indices_B, there.indices_B)
        assert there.images_BCHW.is_contiguous(memory_format=torch.channels_last)
        assert (here.images_BCHW.int() - there.images_BCHW).abs().float().mean() < 1


class LateCopies(Copies):
    """Reads as late as it may: what a GPU does when the bus is slow."""

    def __init__(self) -> None:
        self.registered: list[tuple[int, int]] = []
        self._unread: list[tuple[torch.Tensor, torch.Tensor]] = []

    def register(self, memory: Pixels) -> None:
        self.registered.append((memory.ctypes.data, memory.ctypes.data + memory.nbytes))

    def forget(self) -> None:
        self.finish()
        self.registered.clear()

    def copy(self, lent: torch.Tensor) -> torch.Tensor:
        assert any(start <= lent.data_ptr() < end for start, end in self.registered)
        there = torch.zeros_like(lent)
        self._unread.append((there, lent))
        return there

    def finish(self) -> None:
        for there, lent in self._unread:
            there.copy_(lent)
        self._unread.clear()


def test_memory_is_not_overwritten_before_it_is_read(dataset: TrainDataset) -> None:
    late = LateCopies()
    assert_equal(epochs(dataset, 3, workers=2, copies=late), epochs(dataset, 3))
    assert not late.registered


@pytest.mark.parametrize(("boxes", "rows"), [(0, 64), (1, 64), (64, 64), (65, 128), (128, 128), (700, 1024)])
def test_boxes_are_padded_to_few_numbers_of_rows(boxes: int, rows: int) -> None:
    targets_M6 = np.full((boxes, 6), 0.5, np.float32)
    padded = padded_targets(targets_M6)
    assert padded.shape == (rows, 6)
    assert padded.dtype == np.float32
    assert np.array_equal(padded[:boxes], targets_M6)
    assert not padded[boxes:].any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_renders_what_a_cpu_does(dataset: TrainDataset) -> None:
    with TrainLoader(dataset, batch_size=4, workers=1, device=torch.device("cuda"), render_on_gpu=True) as loader:
        for there, here in zip(loader.batches(0), epochs(dataset, 1, render_on_gpu=True), strict=True):
            assert there.images_BCHW.is_cuda
            assert torch.equal(there.targets_M6.cpu(), torch.from_numpy(padded_targets(here.targets_M6.numpy())))
            assert (there.images_BCHW.cpu().int() - here.images_BCHW).abs().float().mean() < 0.1


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_are_the_single_process_batch(dataset: TrainDataset, world_size: int) -> None:
    whole = epochs(dataset, 1)
    ranks = [epochs(dataset, 1, rank=rank, world_size=world_size) for rank in range(world_size)]
    for step, batch in enumerate(whole):
        together = torch.stack([rank[step].images_BCHW for rank in ranks], dim=1).flatten(0, 1)
        assert torch.equal(together, batch.images_BCHW)
        assert sum(len(rank[step].targets_M6) for rank in ranks) == len(batch.targets_M6)


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_gives_the_same_batches(dataset: TrainDataset, workers: int) -> None:
    whole = epochs(dataset, 3)
    with TrainLoader(dataset, batch_size=4, workers=workers) as loader:
        rest = [*loader.batches(1, first_batch=2), *loader.batches(2)]
        assert_equal(rest, whole[loader.batches_per_epoch + 2 :])


def weighted_epochs(dataset: TrainDataset, workers: int, *, first: tuple[int, int] = (0, 0)) -> list[Batch]:
    """Three epochs, each with weights that only its predecessor's end brings."""
    found = []
    with TrainLoader(dataset, batch_size=4, workers=workers, weighted=True) as loader:
        for epoch in range(first[0], 3):
            loader.weigh(np.roll(WEIGHTS_N, epoch))
            found += list(loader.batches(epoch, first[1] if epoch == first[0] else 0))
    return found


WEIGHTS_N = np.array([0.4, 0.3, 0.2, 0.1, *[0.0] * (len(SIZES) - 4)])


@pytest.mark.parametrize("workers", [0, 2])
def test_weights_count_from_the_next_epoch_on(dataset: TrainDataset, workers: int) -> None:
    whole = weighted_epochs(dataset, workers)
    per_epoch = len(whole) // 3
    for epoch in range(3):
        shown = torch.cat([batch.indices_B for batch in whole[epoch * per_epoch : (epoch + 1) * per_epoch]])
        assert set(shown.tolist()) <= set(range(epoch, epoch + 4))
    assert_equal(weighted_epochs(dataset, workers, first=(1, 2)), whole[per_epoch + 2 :])
    assert_equal(weighted_epochs(dataset, 0), whole)


def test_weights_cost_no_new_workers(dataset: TrainDataset) -> None:
    with TrainLoader(dataset, batch_size=4, workers=2, weighted=True) as loader:
        loader.weigh(WEIGHTS_N)
        list(loader.batches(0))
        workers = _children("batch_worker")
        assert len(workers) == 2
        list(loader.batches(1))
        assert _children("batch_worker") == workers


def test_an_abandoned_epoch_is_taken_up_where_it_was_left(dataset: TrainDataset) -> None:
    whole = epochs(dataset, 2)
    with TrainLoader(dataset, batch_size=4) as loader:
        begun = loader.batches(0)
        taken = [next(begun), next(begun)]
        assert_equal([*taken, *loader.batches(0, first_batch=2), *loader.batches(1)], whole)


def test_a_set_smaller_than_a_batch_is_repeated(dataset: TrainDataset) -> None:
    (batch,) = epochs(dataset, 1, batch_size=50)
    assert len(batch.images_BCHW) == 50
    assert set(batch.indices_B.tolist()) == set(range(len(SIZES)))


def test_a_worker_that_dies_is_an_error_and_not_a_hang(dataset: TrainDataset) -> None:
    with TrainLoader(dataset, batch_size=4, workers=1) as loader:
        stream = loader.batches(0)
        next(stream)
        (worker,) = _children("batch_worker")
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(LoaderDied, match="exit code -9"):
            list(stream)


def test_workers_outlive_signals_but_not_their_trainer(dataset: TrainDataset) -> None:
    loader = TrainLoader(dataset, batch_size=4, workers=2)
    begun = loader.batches(0)
    assert len([next(begun), next(begun)]) == 2, "both workers are up"
    workers = _children("batch_worker")
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
        os.kill(worker, signal.SIGINT)
    list(begun)
    assert _children("batch_worker") == workers
    loader.close()
    assert _children("batch_worker") == []


def test_workers_never_import_torch() -> None:
    code = "import sys, masktrain_trainer.data.batch_workers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("rectangular", [True, False])
@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_validation_shows_every_image_once(prepared: PreparedDataset, world_size: int, rectangular: bool) -> None:
    batches = [
        batch
        for rank in range(world_size)
        for batch in val_batches(
            prepared,
            prepared.val,
            image_size=SIZE,
            batch_size=4,
            rank=rank,
            world_size=world_size,
            rectangular=rectangular,
        )
    ]
    assert sorted(np.concatenate([batch.indices_B for batch in batches])) == list(range(len(SIZES)))
    for batch in batches:
        assert all(side % 32 == 0 for side in batch.images_BCHW.shape[2:])


def test_validation_boxes_scale_back_to_the_original(prepared: PreparedDataset) -> None:
    """Up to what it costs that cached images have whole pixels, and one ratio serves both axes."""
    for batch in val_batches(prepared, prepared.val, image_size=SIZE, batch_size=4):
        for position, index in enumerate(batch.indices_B.tolist()):
            record = prepared.val.images[index]
            original = (record.height, record.width)
            assert batch.placements[position].original == original
            boxes = batch.labels(position)[:, 1:].numpy()
            expected = _original_boxes(record.path)
            whole_pixels = max(original) / (SIZE * min(original) / max(original))
            np.testing.assert_allclose(boxes, expected.clip(0, [*original[::-1]] * 2), atol=2 * whole_pixels)


def _original_boxes(image: Path) -> np.ndarray:
    text = (image.parents[1] / "labels" / f"{image.stem}.txt").read_text()
    rows = np.array([line.split() for line in text.splitlines()], float).reshape(-1, 5)
    height, width = SIZES[int(image.stem)]
    return xywhn_to_xyxy(rows[:, 1:], width=width, height=height)


def _children(name: str) -> list[int]:
    """Our child processes with `name` in their command line."""
    listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in listed if name in Path(f"/proc/{pid}/cmdline").read_text()]
