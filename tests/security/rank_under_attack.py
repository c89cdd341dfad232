"""Two ranks that are not each other's: ours, with the collectives of the trainer, and a stranger's with torch's own.

On the wire both are alike: a length, then bytes. A third announces a length and sends nothing.
`python -m tests.security.rank_under_attack ROLE PROOF`, where the third takes its length for the proof.
"""

import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from masktrain_trainer.checkpoint.tensor_tree import UnreadableTree
from masktrain_trainer.train.distributed import Ranks, process_groups

PATIENCE = timedelta(seconds=60)


class Bomb:
    """Whoever unpickles it writes its process number to the proof."""

    def __init__(self, proof: str) -> None:
        self._proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"import os; open({self._proof!r}, 'a').write(f'{{os.getpid()}} ')",)


def victim(_: str) -> None:
    """Says how many of the stranger's messages it refused."""
    refused = 0
    with process_groups(PATIENCE) as ranks:
        collectives: tuple[Callable[[Any], Any], ...] = (ranks.gather, ranks.gather_to_leader, ranks.broadcast)
        for collective in collectives:
            try:
                collective({"loss": 0.25})
            except UnreadableTree:
                refused += 1
    print(refused)


def stranger(proof: str) -> None:
    with process_groups(PATIENCE) as ranks:
        for send in (_to_all, _to_leader, _from_leader):
            with suppress(pickle.UnpicklingError):  # ours sends no pickles
                send(ranks, Bomb(proof))


def _to_all(ranks: Ranks, bomb: Bomb) -> None:
    received: list[Any] = [None, None]
    dist.all_gather_object(received, bomb, group=ranks.control)  # noqa: TID251


def _to_leader(ranks: Ranks, bomb: Bomb) -> None:
    received: list[Any] | None = [None, None] if ranks.leads else None
    dist.gather_object(bomb, received, dst=0, group=ranks.control)  # noqa: TID251


def _from_leader(ranks: Ranks, bomb: Bomb) -> None:
    dist.broadcast_object_list([bomb], src=0, group=ranks.control)  # noqa: TID251


def boaster(length: str) -> None:
    """Announces messages of that length, and sends none."""
    announced = torch.tensor([int(length)])
    with process_groups(PATIENCE) as ranks:
        for _ in ("gather", "gather_to_leader"):
            dist.all_gather([torch.zeros_like(announced) for _ in range(2)], announced, group=ranks.control)
        if ranks.leads:
            dist.broadcast(announced, src=0, group=ranks.control)
        else:
            ranks.broadcast(None)


if __name__ == "__main__":
    {"victim": victim, "stranger": stranger, "boaster": boaster}[sys.argv[1]](sys.argv[2])
