"""The ranks of a run: process groups, collectives beside DDP's own, and what all decide together between steps."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from masktrain_trainer.checkpoint.tensor_tree import UnreadableTree, lay_out, length_of, read_tree
from masktrain_trainer.heartbeat import RENDEZVOUS_TIMEOUT_SECONDS
from masktrain_trainer.model.precision import multiply_in_tf32

from .devices import choose_device

Value = TypeVar("Value")

START_TIMEOUT = timedelta(seconds=RENDEZVOUS_TIMEOUT_SECONDS)
"""Ranks of different pods start as far apart as their downloads end."""


LONGEST_MESSAGE = 1 << 32
"""Bytes of a rank's tree: many times those of a validation's detections. Room is made before a byte has come."""


@dataclass(frozen=True)
class Ranks:
    """Who this process is among all. `control` is a gloo group: what travels there never queues behind gradients."""

    rank: int
    local_rank: int
    world_size: int
    local_world_size: int
    device: torch.device
    control: dist.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.world_size == 1

    @property
    def device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"

    def broadcast(self, value: Value) -> Value:
        """Rank 0's tree of tensors, on every rank. Raises TypeError for anything that is none, UnreadableTree."""
        if self.alone:
            return value
        length_1 = torch.zeros(1, dtype=torch.int64)
        message_N = _message(value) if self.leads else None
        if message_N is not None:
            length_1.fill_(len(message_N))
        dist.broadcast(length_1, src=0, group=self.control)
        if message_N is None:
            message_N = torch.empty(*_lengths(length_1), dtype=torch.uint8)
        dist.broadcast(message_N, src=0, group=self.control)
        return value if self.leads else cast("Value", read_tree(message_N.numpy()))

    def gather(self, value: Value) -> list[Value]:
        """Every rank's tree of tensors by rank, on every rank. Raises TypeError for what is none, UnreadableTree."""
        if self.alone:
            return [value]
        message_N, lengths = self._padded(value)
        messages = [torch.empty_like(message_N) for _ in lengths]
        dist.all_gather(messages, message_N, group=self.control)
        return [_value(message, length) for message, length in zip(messages, lengths, strict=True)]

    def gather_to_leader(self, value: Value) -> list[Value]:
        """Every rank's tree of tensors by rank, on rank 0; nothing on the others."""
        if self.alone:
            return [value]
        message_N, lengths = self._padded(value)
        messages = [torch.empty_like(message_N) for _ in lengths] if self.leads else None
        dist.gather(message_N, messages, dst=0, group=self.control)
        return [_value(message, length) for message, length in zip(messages or (), lengths, strict=False)]

    def _padded(self, value: object) -> tuple[Tensor, list[int]]:
        """The rank's message, as long as the longest of all ranks, and the lengths without the padding, by rank."""
        message_N = _message(value)
        lengths_R = torch.empty(self.world_size, 1, dtype=torch.int64)
        dist.all_gather(list(lengths_R.unbind()), torch.tensor([len(message_N)]), group=self.control)
        lengths = _lengths(lengths_R)
        return functional.pad(message_N, (0, max(lengths) - len(message_N))), lengths

    def broadcast_tensors(self, tensors: list[torch.Tensor]) -> None:
        """Overwrite the tensors with rank 0's, in few large messages per number format."""
        if self.alone:
            return
        by_format: dict[torch.dtype, list[torch.Tensor]] = {}
        for tensor in tensors:
            by_format.setdefault(tensor.dtype, []).append(tensor)
        # A model has hundreds of small tensors, and each message costs a round trip.
        for group in by_format.values():
            # Over the main group, where NCCL moves them from GPU to GPU.
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.broadcast(flat, src=0)
            for tensor, part in zip(group, torch.split(flat, [tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """In place."""
        if not self.alone:
            dist.all_reduce(tensor)
        return tensor


def _message(value: object) -> Tensor:
    """The bytes of a tree, as a tensor: torch's own collectives of objects would unpickle whatever a peer sends."""
    parts = lay_out(value)
    message_N = torch.zeros(length_of(parts), dtype=torch.uint8)
    whole = message_N.numpy()
    for offset, part in parts:
        whole[offset : offset + len(part)] = part
    return message_N


def _lengths(said_R: Tensor) -> list[int]:
    """By rank; a few bytes of a peer must not take the node's memory. Raises UnreadableTree."""
    lengths = [int(length) for length in said_R]
    if not all(0 < length <= LONGEST_MESSAGE for length in lengths):
        raise UnreadableTree(f"a rank announced a message of {lengths} bytes")
    return lengths


def _value(message_N: Tensor, length: int) -> Any:
    return read_tree(message_N[:length].numpy())


@contextmanager
def process_groups(timeout: timedelta, local_store: Path | None = None) -> Iterator[Ranks]:
    """Join the gang that torchrun has called together; `timeout` bounds every later collective.

    Leaving waits for what the ranks have begun together; a rank that fails does not, since the others are ended anyway.

    Ranks that are all on this node meet in the file `local_store`, where it is given: torch's TCPStore listens on every
    address of the machine and asks nobody who they are.
    """
    rank, local_rank, world_size, local_world_size = (
        int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    )
    device = choose_device(local_rank, local_world_size)
    if device.type == "cuda":
        # Or whatever names no device of its own would allocate on GPU 0, on every rank.
        torch.cuda.set_device(device)
        multiply_in_tf32(torch.cuda.get_device_capability(device))
    backend = "nccl" if device.type == "cuda" else "gloo"
    # With a device NCCL connects here and not in the first step, so a broken link shows while starting.
    device_id = device if device.type == "cuda" else None
    # torch takes one timeout for the meeting and for every collective after it; heartbeats find a hang long before.
    start = max(timeout, START_TIMEOUT)
    if local_store is not None and world_size == local_world_size:
        store = dist.FileStore(str(local_store), world_size)  # type: ignore[attr-defined]
        store.set_timeout(start)
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=world_size, timeout=start, device_id=device_id
        )
    else:
        dist.init_process_group(backend, timeout=start, device_id=device_id)
    control = dist.new_group(backend="gloo", timeout=timeout)
    assert isinstance(control, dist.ProcessGroup)
    yield Ranks(rank, local_rank, world_size, local_world_size, device, control)
    dist.destroy_process_group()


@dataclass(frozen=True)
class StepRequests:
    """`stop`: the pod was asked to stop. `diverged`: a loss is not finite. `checkpoint`: the interval is over."""

    stop: bool = False
    diverged: bool = False
    checkpoint: bool = False


class StepConsensus:
    """`exchange` must be called by all ranks at the same steps. A request of any rank counts for all."""

    def __init__(self, group: dist.ProcessGroup | None, world_size: int) -> None:
        self._group = group
        self._world_size = world_size
        self._sums_3 = torch.zeros(3, dtype=torch.int32)
        self._pending: dist.Work | None = None

    def exchange(self, requests: StepRequests) -> StepRequests:
        """Contribute this step's requests; the answer is what was agreed on at the step before."""
        agreed = self.take_agreed()
        self._sums_3 = torch.tensor([requests.stop, requests.diverged, requests.checkpoint], dtype=torch.int32)
        if self._world_size > 1:
            # Not awaited: it travels while the next step computes, so that to agree costs training nothing.
            self._pending = dist.all_reduce(self._sums_3, group=self._group, async_op=True)
        return agreed

    def take_agreed(self) -> StepRequests:
        """What is agreed and not yet read, if anything; used where no further step follows."""
        if self._pending is not None:
            self._pending.wait()
            self._pending = None
        stop, diverged, checkpoint = (bool(count) for count in self._sums_3.tolist())
        self._sums_3 = torch.zeros(3, dtype=torch.int32)
        return StepRequests(stop, diverged, checkpoint)
