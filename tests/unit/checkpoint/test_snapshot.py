"""A snapshot gives back what was put in, whatever its types."""

import errno
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from masktrain_trainer.checkpoint.snapshot import SnapshotMeta, read_snapshot, write_snapshot
from masktrain_trainer.checkpoint.spool import Spool

META = SnapshotMeta(epoch=3, step=70, fitness=0.25, is_best=True, reason="epoch")
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int64, torch.bool]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    values = torch.randint(0, 2, shape).to(draw(st.sampled_from(DTYPES)))
    return values.transpose(0, -1) if values.dim() > 1 and draw(st.booleans()) else values


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | tensors()
keys = st.text(max_size=5) | st.integers()
states = st.dictionaries(
    st.text(max_size=5),
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)),
    max_size=4,
)


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
        assert torch.equal(found, expected)
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
    reserve, calls = os.posix_fallocate, []

    def full_once(*arguments: int) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        reserve(*arguments)

    monkeypatch.setattr(os, "posix_fallocate", full_once)
    write_snapshot(tmp_path, {"n": 3}, SnapshotMeta(3, 72, None, is_best=False, reason="interval"))
    kept = [read_snapshot(path)[0]["n"] for path in Spool(tmp_path).waiting()]
    assert kept == [1, 3]
