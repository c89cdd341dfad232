"""How images are dealt to batches and ranks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktrain_trainer.data.sampler import Shards, batches_per_epoch, epoch_order


@st.composite
def shards(draw: st.DrawFn) -> Shards:
    world_size = draw(st.integers(1, 8))
    per_rank = draw(st.integers(1, 6))
    return Shards(
        images=draw(st.integers(1, 200)),
        seed=draw(st.integers(0, 2**31 - 1)),
        batch_size=per_rank * world_size,
        rank=draw(st.integers(0, world_size - 1)),
        world_size=world_size,
    )


def of_rank(shards: Shards, rank: int, world_size: int) -> Shards:
    return Shards(shards.images, shards.seed, shards.batch_size, rank, world_size)


@given(shards(), st.integers(0, 1000))
def test_ranks_together_are_the_single_process_batch(shards: Shards, epoch: int) -> None:
    whole = of_rank(shards, 0, 1).batches(epoch)
    parts = [of_rank(shards, rank, shards.world_size).batches(epoch) for rank in range(shards.world_size)]
    np.testing.assert_array_equal(np.stack(parts, axis=-1).reshape(whole.shape), whole)


@given(shards(), st.integers(0, 1000))
def test_an_epoch_shows_no_image_twice_unless_the_set_is_smaller_than_a_batch(shards: Shards, epoch: int) -> None:
    whole = of_rank(shards, 0, 1).batches(epoch)
    assert whole.shape == (batches_per_epoch(shards.images, shards.batch_size), shards.batch_size)
    repeats = -(-shards.batch_size // shards.images)
    assert np.bincount(whole.ravel()).max() <= repeats
    assert set(whole.ravel()) <= set(range(shards.images))


def test_order_changes_with_epoch_and_seed() -> None:
    orders = {epoch_order(50, seed=seed, epoch=epoch).tobytes() for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_order_is_pinned() -> None:
    """A resumed run may be continued by a later version: it must not shuffle differently."""
    assert epoch_order(10, seed=7, epoch=3).tolist() == [4, 6, 1, 3, 8, 2, 9, 0, 5, 7]


def test_weights_say_how_often_an_image_is_shown() -> None:
    weights_N = np.array([0.5, 0.25, 0.25, 0.0])
    drawn = np.concatenate([epoch_order(4, seed=0, epoch=epoch, weights_N=weights_N) for epoch in range(2000)])
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / len(drawn), weights_N, atol=0.02)


def test_ranks_agree_on_a_weighted_order() -> None:
    weights_N = np.arange(20) / 190
    whole = Shards(20, 3, 4).batches(2, weights_N)
    parts = [Shards(20, 3, 4, rank, 2).batches(2, weights_N) for rank in range(2)]
    np.testing.assert_array_equal(np.stack(parts, axis=-1).reshape(whole.shape), whole)
    assert not np.array_equal(whole, Shards(20, 3, 4).batches(3, weights_N))


def test_batch_size_must_fit_the_world() -> None:
    with pytest.raises(ValueError, match="16 is not a multiple of the world size 3"):
        Shards(100, 0, 16, 0, 3)
