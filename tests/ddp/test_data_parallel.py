"""Two ranks compute what one process would: real torchrun, real gloo, a real model."""

import pytest
import torch

from masktrain_trainer.train.distributed import Ranks
from tests.ddp import rank_program
from tests.ddp.torchrun import torchrun

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


Found = list[dict[str, dict[str, torch.Tensor]]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What each of two ranks computed, in one run of torchrun: starting it takes longer than all that it does."""
    output = tmp_path_factory.mktemp("ranks")
    torchrun("tests.ddp.rank_program", str(output))
    return [torch.load(output / f"rank-{rank}.pt", weights_only=True) for rank in range(2)]


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([tensors[name].flatten().double() for name in sorted(tensors)])


def shard_gradient(rank: int, dtype: str) -> torch.Tensor:
    """One process, the loss that DDP differentiates: times the number of ranks, so that the average is a sum."""
    alone = Ranks(0, 0, 1, 1, torch.device("cpu"))
    gradient = rank_program.compute_gradient(alone, rank_program.FORMATS[dtype], of_rank=rank)
    return flat(gradient) * rank_program.WORLD_SIZE


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_is_the_average_over_the_shards(dtype: str, found: Found) -> None:
    torch.set_num_threads(1)
    expected = torch.stack([shard_gradient(rank, dtype) for rank in range(2)]).mean(dim=0)
    for rank in range(2):
        difference = flat(found[rank][dtype]) - expected
        assert torch.linalg.norm(difference) / torch.linalg.norm(expected) < TOLERANCE[dtype]


def test_after_five_steps_both_ranks_hold_equal_weights(found: Found) -> None:
    first, second = (rank["weights"] for rank in found)
    start = {name: weight.detach() for name, weight in rank_program.start_model(torch.float32).named_parameters()}
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(flat(first), flat(start))
