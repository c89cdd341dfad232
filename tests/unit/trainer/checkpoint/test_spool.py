"""Which snapshots wait."""

from pathlib import Path

import pytest

from masktrain_trainer.checkpoint.spool import MOST_SNAPSHOTS, SnapshotMeta, Spool


def offer(spool: Spool, content: str) -> None:
    """`l1` is a plain snapshot, `b` a best, `p` a periodic one, `k` both, `s` that of a stop."""
    unfinished = spool.unfinished()
    unfinished.write_text(content)
    spool.publish(unfinished, meta(content))


def meta(content: str) -> SnapshotMeta:
    reason = "stop" if content.startswith("s") else "epoch"
    return SnapshotMeta(
        0, 1, None, is_best=content.startswith(("b", "k")), reason=reason, periodic=content.startswith(("p", "k"))
    )


def contents(spool: Spool) -> list[str]:
    return [path.read_text() for path in spool.waiting()]


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
        (["k1", "l2", "b3"], ["k1", "b3"]),
        (["b1", "k2"], ["k2"]),
        (["b1", "p2", "l3", "s4"], ["s4", "b1", "p2"]),
    ],
)
def test_the_newest_replaces_what_it_makes_useless(tmp_path: Path, offered: list[str], waiting: list[str]) -> None:
    spool = Spool(tmp_path)
    for content in offered:
        offer(spool, content)
    assert contents(spool) == waiting


def test_a_taken_snapshot_is_never_replaced_and_outlives_its_uploader(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    offer(spool, "l1")
    taken = spool.take()
    assert taken is not None
    again = Spool(tmp_path).take()
    assert again == taken
    offer(spool, "l2")
    assert taken.read_text() == "l1"
    assert spool.pending() == 2
    spool.release(taken)
    second = spool.take()
    assert second is not None
    assert second.read_text() == "l2"


@pytest.mark.parametrize(
    ("taken", "newer", "next_"),
    [
        ("l1", "l2", "l2"),
        ("l1", "b2", "b2"),
        ("b1", "l2", "b1"),
        ("b1", "b2", "b2"),
        ("b1", "k2", "k2"),
        ("p1", "b2", "p1"),
        ("k1", "b2", "k1"),
        ("b1", "s2", "s2"),
    ],
)
def test_a_failed_snapshot_gives_way_to_a_newer_one_but_a_best_only_to_a_best(
    tmp_path: Path, taken: str, newer: str, next_: str
) -> None:
    spool = Spool(tmp_path)
    offer(spool, taken)
    assert spool.take() is not None
    offer(spool, newer)
    found = spool.take()
    assert found is not None
    assert found.read_text() == next_


def test_memory_is_used_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    offer(spool, "l1")
    taken = spool.take()
    assert taken is not None
    first = taken.stat().st_ino
    spool.release(taken)
    assert spool.unfinished().stat().st_ino == first
    assert spool.pending() == 0


def test_nothing_waits_at_first(tmp_path: Path) -> None:
    assert Spool(tmp_path / "absent").take() is None


def test_room_is_made_at_the_cost_of_plain_snapshots_only(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for content in ("p1", "k2", "b3", "l4"):
        offer(spool, content)
    spool.make_room()
    assert contents(spool) == ["p1", "k2", "b3"]


def test_a_stop_goes_before_what_a_failed_uploader_had_taken_which_is_not_forgotten(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for content in ("b1", "s2"):
        offer(spool, content)
        assert spool.take() is not None
    spool.release(next(path for path in tmp_path.glob("*.taken") if path.read_text() == "s2"))
    left = spool.take()
    assert left is not None
    assert left.read_text() == "b1"


def test_the_spool_is_bounded_however_long_the_store_is_away(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(3 * MOST_SNAPSHOTS):
        offer(spool, f"p{number}")
        assert spool.pending() <= MOST_SNAPSHOTS + 1
    assert contents(spool)[0] == "p0"
    assert contents(spool)[-1] == f"p{3 * MOST_SNAPSHOTS - 1}"
    offer(spool, "k99")
    assert "k99" in contents(spool), "a best is never dropped"
