"""Bytes of strangers are a tree or are refused. What a tree holds survives: see test_snapshot."""

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masktrain_trainer.checkpoint.tensor_tree import UnreadableTree, lay_out, length_of, read_tree

TREE = {"loss": 0.25, "weights": torch.arange(12.0).view(3, 4), "names": ("a", None, [True, {"b": torch.zeros(0)}])}


PLAIN = {
    *(torch.float16, torch.float32, torch.float64, torch.bfloat16),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool),
}
OTHERS = {value for value in vars(torch).values() if isinstance(value, torch.dtype)} - PLAIN


def written(tree: Any) -> bytearray:
    parts = lay_out(tree)
    content = bytearray(length_of(parts))
    for offset, part in parts:
        content[offset : offset + len(part)] = part
    return content


def claiming(tree: Any, tensors: bytes = bytes(64)) -> bytearray:
    """A tree as a stranger may write it."""
    text = json.dumps(tree).encode()
    return bytearray(tensors + text + len(text).to_bytes(8, "little"))


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_tree_or_refused(content: bytes) -> None:
    with suppress(UnreadableTree):
        read_tree(bytearray(content))


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 40))
def test_a_changed_tree_is_a_tree_or_refused(place: int, value: int, cut: int) -> None:
    content = written(TREE)
    content[place % len(content)] = value
    with suppress(UnreadableTree):
        read_tree(content[: len(content) - cut])


@pytest.mark.parametrize(
    "tree",
    [
        {"tensor": ["float32", [1 << 40], 0]},
        {"tensor": ["float32", [4], 1 << 40]},
        {"tensor": ["float32", [4], -8]},
        {"tensor": ["float32", [-1], 0]},
        {"tensor": ["float32", [0, 1 << 62, 1 << 62], 0]},
        {"tensor": ["load", [1], 0]},
        {"tensor": ["__class__", [1], 0]},
        {"dict": [[{"list": []}, 1]]},
        {"dict": [[2**61 - 1, 1]]},
        {"tensor": ["float32", [4], 0], "dict": []},
    ],
    ids=["longer than the bytes", "behind them", "before them", "a negative side", "sides that overflow", "a function",
         "an attribute", "a key that is a list", "a key whose hash is 0", "two kinds at once"],
)  # fmt: skip
def test_what_the_bytes_do_not_hold_is_refused(tree: Any) -> None:
    with pytest.raises(UnreadableTree):
        read_tree(claiming(tree))


@pytest.mark.parametrize("dtype", sorted(OTHERS, key=str), ids=str)
def test_numbers_that_no_training_has_are_refused(dtype: torch.dtype) -> None:
    """As quantised numbers torch reads a buffer with a segmentation fault."""
    with pytest.raises(UnreadableTree):
        read_tree(claiming({"tensor": [str(dtype).removeprefix("torch."), [4], 0]}))


@pytest.mark.parametrize("dtype", sorted(PLAIN, key=str), ids=str)
def test_plain_numbers_survive(dtype: torch.dtype) -> None:
    tensor = torch.tensor([0, 1, 1]).to(dtype)
    found = read_tree(written({"tensor": tensor}))["tensor"]
    assert (found.dtype, found.tolist()) == (dtype, tensor.tolist())


def test_what_could_not_be_read_is_not_written() -> None:
    with pytest.raises(TypeError, match="cannot hold tensors of complex64"):
        lay_out({"a": torch.zeros(2, dtype=torch.complex64)})


def test_a_tree_nested_without_end_is_refused() -> None:
    text = b'{"list":[' * 100_000
    with pytest.raises(UnreadableTree):
        read_tree(bytearray(text + len(text).to_bytes(8, "little")))


def test_a_tree_is_read_from_the_memory_of_a_tensor() -> None:
    content = torch.from_numpy(np.frombuffer(written(TREE), np.uint8).copy())
    found = read_tree(content.numpy())
    assert found["weights"].tolist() == TREE["weights"].tolist()  # type: ignore[attr-defined]
    assert found["names"][:2] == ("a", None)
