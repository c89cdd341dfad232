"""A snapshot gives back what was put in, whatever its types."""

import errno
import math
import os
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from masktrain_trainer.checkpoint.snapshot import UnusableSnapshot, read_snapshot, write_snapshot
from masktrain_trainer.checkpoint.spool import SnapshotMeta, Spool
from masktrain_trainer.checkpoint.state_files import save
from masktrain_trainer.files import sha256_of

META = SnapshotMeta(epoch=3, step=70, fitness=0.25, is_best=True, reason="epoch")
DTYPES = [
    *(torch.float32, torch.float64, torch.float16, torch.bfloat16),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    values = torch.randint(0, 2, shape).to(draw(st.sampled_from(DTYPES)))
    changes = [
        lambda: values,
        lambda: values.transpose(0, -1) if values.dim() > 1 else values,
        lambda: values[::2] if values.dim() else values,
        lambda: values.unsqueeze(0).expand(3, *values.shape),
        lambda: values.float().clone().requires_grad_(),
    ]
    return draw(st.sampled_from(changes))()


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | tensors()
keys = st.text(max_size=5) | st.integers(-(2**60), 2**60)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=2).map(tuple), st.dictionaries(keys, inner, max_size=3)
    )


states = st.dictionaries(st.text(max_size=5), st.recursive(leaves, containers, max_leaves=8), max_size=4)


@settings(max_examples=60, deadline=None)
@given(state=states)
def test_a_state_survives_the_spool(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    spool = tmp_path_factory.mktemp("spool")
    write_snapshot(spool, state, META)
    taken = Spool(spool).take()
    assert taken is not None
    restored, meta = read_snapshot(taken)
    assert meta == META
    assert_equal(restored, state)


def assert_equal(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, Tensor):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.tolist() == expected.tolist()
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == expected


def test_later_changes_of_the_weights_do_not_reach_the_snapshot(tmp_path: Path) -> None:
    weights = torch.zeros(1000)
    write_snapshot(tmp_path, {"weights": weights, "pair": (1, math.inf)}, META)
    weights.add_(1)
    taken = Spool(tmp_path).take()
    assert taken is not None
    restored, _ = read_snapshot(taken)
    assert restored["weights"].sum() == 0
    assert restored["pair"] == (1, math.inf)


def test_what_a_snapshot_cannot_hold_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="set"):
        write_snapshot(tmp_path, {"x": {1, 2}}, META)


def test_full_memory_drops_waiting_snapshots_but_no_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_snapshot(tmp_path, {"n": 1}, META)
    write_snapshot(tmp_path, {"n": 2}, SnapshotMeta(3, 71, None, is_best=False, reason="interval"))
    write, calls = os.pwrite, []

    def full_once(descriptor: int, content: bytes, offset: int) -> int:
        calls.append(offset)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, content[:7], offset)

    monkeypatch.setattr(os, "pwrite", full_once)
    third = {"n": 3, "weights": torch.arange(20)}
    write_snapshot(tmp_path, third, SnapshotMeta(3, 72, None, is_best=False, reason="interval"))
    assert_equal([read_snapshot(path)[0] for path in Spool(tmp_path).waiting()], [{"n": 1}, third])


def test_memory_that_stays_full_is_an_error_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        write_snapshot(tmp_path, {"n": 1}, META)
    assert list(tmp_path.iterdir()) == []


def test_a_smaller_state_fits_into_the_memory_of_a_larger_one(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for size in (5000, 3, 400):
        write_snapshot(tmp_path, {"weights": torch.full((size,), float(size))}, META)
        taken = spool.take()
        assert taken is not None
        assert_equal(read_snapshot(taken)[0], {"weights": torch.full((size,), float(size))})
        spool.release(taken)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 100, b'{"meta": {}, "state": null}' + bytes(8)])
def test_what_is_no_snapshot_is_unusable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "00000001.last").write_bytes(content)
    with pytest.raises(UnusableSnapshot, match=r"00000001\.last is unreadable"):
        read_snapshot(tmp_path / "00000001.last")


class Kind(IntEnum):
    FIRST = 1
    SECOND = 2


def test_numbers_of_other_libraries_become_plain_ones(tmp_path: Path) -> None:
    state = {"fitness": np.float64(0.5), "kind": Kind.SECOND, "size": torch.Size([2, 3])}
    write_snapshot(tmp_path, state, META)
    taken = Spool(tmp_path).take()
    assert taken is not None
    assert_equal(read_snapshot(taken)[0], {"fitness": 0.5, "kind": 2, "size": (2, 3)})


def test_the_file_of_a_state_holds_each_tensor_once(tmp_path: Path) -> None:
    """torch.save stores the whole memory that a tensor is a view of."""
    write_snapshot(tmp_path / "spool", {str(n): torch.randn(1000) for n in range(50)}, META)
    taken = Spool(tmp_path / "spool").take()
    assert taken is not None
    saved = save(read_snapshot(taken)[0], "state.pt", tmp_path)
    assert 200_000 < saved.size_bytes < 240_000
    assert saved.sha256 == sha256_of(saved.path)
    again = save(read_snapshot(taken)[0], "again.pt", tmp_path)
    assert again.sha256 == saved.sha256, "a retry meets its own files"
