"""Which snapshots wait."""

from pathlib import Path

import pytest

from masktrain_trainer.checkpoint.spool import Spool


def offer(spool: Spool, content: str, *, is_best: bool = False, is_periodic: bool = False) -> None:
    unfinished = spool.unfinished()
    unfinished.write_text(content)
    spool.publish(unfinished, is_best=is_best, is_periodic=is_periodic)


@pytest.mark.parametrize(
    ("offered", "waiting"),
    [
        (["l1", "l2"], ["l2"]),
        (["b1", "l2"], ["b1", "l2"]),
        (["b1", "l2", "l3"], ["b1", "l3"]),
        (["l1", "b2"], ["b2"]),
        (["b1", "b2"], ["b2"]),
        (["b1", "l2", "b3", "l4"], ["b3", "l4"]),
        (["p1", "p2", "l3", "b4", "l5"], ["p1", "p2", "b4", "l5"]),
        (["b1", "l2", "p3"], ["b1", "p3"]),
    ],
)
def test_the_newest_replaces_what_it_makes_useless(tmp_path: Path, offered: list[str], waiting: list[str]) -> None:
    spool = Spool(tmp_path)
    for content in offered:
        offer(spool, content, is_best=content.startswith("b"), is_periodic=content.startswith("p"))
    assert [path.read_text() for path in spool.waiting()] == waiting


def test_a_taken_snapshot_is_never_replaced_and_outlives_its_uploader(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    offer(spool, "first")
    taken = spool.take()
    assert taken is not None
    again = Spool(tmp_path).take()
    assert again == taken
    offer(spool, "second")
    assert taken.read_text() == "first"
    assert spool.pending() == 2
    spool.release(taken)
    second = spool.take()
    assert second is not None
    assert second.read_text() == "second"


@pytest.mark.parametrize(
    ("taken", "newer", "next_"),
    [("l1", "l2", "l2"), ("l1", "b2", "b2"), ("b1", "l2", "b1"), ("b1", "b2", "b2"), ("p1", "b2", "p1")],
)
def test_a_failed_snapshot_gives_way_to_a_newer_one_but_a_best_only_to_a_best(
    tmp_path: Path, taken: str, newer: str, next_: str
) -> None:
    spool = Spool(tmp_path)
    offer(spool, taken, is_best=taken.startswith("b"), is_periodic=taken.startswith("p"))
    assert spool.take() is not None
    offer(spool, newer, is_best=newer.startswith("b"))
    found = spool.take()
    assert found is not None
    assert found.read_text() == next_


def test_memory_is_used_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    offer(spool, "1")
    taken = spool.take()
    assert taken is not None
    first = taken.stat().st_ino
    spool.release(taken)
    assert spool.unfinished().stat().st_ino == first
    assert spool.pending() == 0


def test_nothing_waits_at_first(tmp_path: Path) -> None:
    assert Spool(tmp_path / "absent").take() is None
