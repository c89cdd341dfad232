"""Which checkpoint is the newest, which the best, which may go, and that a damaged manifest is none."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktrain_trainer.checkpoint.keys import Fence, JobKeys
from masktrain_trainer.checkpoint.manifest import Manifest, StoredFile
from masktrain_trainer.checkpoint.selection import (
    SWEEP_AGE,
    abandoned,
    best,
    kept_when_complete,
    models_best_first,
    newest_first,
    superseded,
    surpasses,
)
from masktrain_trainer.config import Keep
from masktrain_trainer.stores import ObjectInfo

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
MUCH_LATER = MOMENT + SWEEP_AGE + timedelta(seconds=1)


def manifest(attempt: int, run: int, step: int, fitness: float | None = None, *, periodic: bool = False) -> Manifest:
    names = ["state.pt", "model.pt"] if fitness is not None else ["state.pt"]
    files = [StoredFile(name=name, size_bytes=1, sha256=f"{attempt}{run}{step}".ljust(64, "0")) for name in names]
    return Manifest(
        attempt=attempt,
        run=run,
        epoch=step // 10,
        step=step,
        fitness=fitness,
        periodic=periodic,
        created_at=MOMENT,
        files=files,
    )


numbers = st.integers(0, 3)
manifests = st.lists(
    st.builds(manifest, numbers, numbers, st.integers(0, 90), st.none() | st.sampled_from([0.0, 0.1, 0.2, 0.3])),
    unique_by=lambda found: found.age_order,
)


def test_a_later_run_is_newer_even_with_fewer_steps() -> None:
    found = newest_first([manifest(0, 0, 500), manifest(0, 1, 20), manifest(1, 0, 10)])
    assert [one.age_order for one in found] == [(1, 0, 10), (0, 1, 20), (0, 0, 500)]


def test_the_best_is_the_fittest_and_on_a_tie_the_earliest() -> None:
    found = best([manifest(0, 0, 10, 0.2), manifest(0, 0, 20, 0.3), manifest(1, 0, 30, 0.3), manifest(1, 0, 40)])
    assert found is not None
    assert found.step == 20
    assert best([manifest(0, 0, 1)]) is None


def test_without_a_fitness_above_zero_the_best_is_the_newest() -> None:
    found = best([manifest(0, 0, 10, 0.0), manifest(0, 0, 20, 0.0), manifest(0, 0, 30)])
    assert found is not None
    assert found.step == 20
    found = best([manifest(0, 0, 10, 0.0), manifest(0, 0, 20, 1e-9), manifest(0, 0, 30, 0.0)])
    assert found is not None
    assert found.step == 20, "any fitness outranks none"


def test_a_superseded_newest_goes_like_any_other() -> None:
    found = [manifest(0, 0, step, 0.0) for step in (10, 20, 30, 40)]
    assert [one.step for one in superseded(found, Fence(0, 0), Keep.BEST, MUCH_LATER)] == [20, 10]


@pytest.mark.parametrize(
    ("fitness", "best_so_far", "better"),
    [
        (0.2, 0.1, True),
        (0.1, 0.1, False),
        (0.1, 0.2, False),
        (0.0, 0.0, True),
        (0.0, 0.1, False),
        (0.1, 0.0, True),
        (float("nan"), 0.0, False),
    ],
)
def test_a_newer_model_is_better_by_its_fitness_or_where_there_is_none_by_its_age(
    fitness: float, best_so_far: float, better: bool
) -> None:
    assert surpasses(fitness, best_so_far) == better


@given(found=manifests, fence=st.builds(Fence, numbers, numbers), keep=st.sampled_from(list(Keep)))
def test_retention_keeps_the_best_the_newest_two_and_what_is_not_ours(
    found: list[Manifest], fence: Fence, keep: Keep
) -> None:
    doomed = superseded(found, fence, keep, MUCH_LATER)
    ordered = newest_first(found)
    assert not [one for one in ordered[:2] if one in doomed]
    assert best(found) not in doomed
    assert all(one.fence <= fence for one in doomed)
    assert keep is not Keep.ALL or not doomed
    left = [one for one in found if one not in doomed]
    assert superseded(left, fence, keep, MUCH_LATER) == []


@given(keep=st.sampled_from(list(Keep)))
def test_periodic_checkpoints_stay_for_good(keep: Keep) -> None:
    found = [manifest(0, 0, step, 0.1, periodic=step % 30 == 0) for step in range(0, 100, 10)]
    periodic = [one for one in found if one.periodic]
    assert [one.step for one in periodic] == [0, 30, 60, 90]
    assert not [one for one in superseded(found, Fence(0, 0), keep, MUCH_LATER) if one.periodic]
    assert [one for one in kept_when_complete(found, keep) if one.periodic] == periodic


def orphan(keys: JobKeys, name: str, modified: datetime) -> ObjectInfo:
    return ObjectInfo(f"{keys.checkpoints}{name}/state.pt", 1, "", None, modified)


def test_files_without_a_manifest_go_if_no_live_writer_may_be_sending_them() -> None:
    keys = JobKeys("team", "masks", "uid-1")
    names = ("0.0-1-2-none-abc", "0.1-1-2-none-abc", "1.0-1-2-none-abc", "notes")
    young, old = ([orphan(keys, name, at) for name in names] for at in (MUCH_LATER, MOMENT))
    for orphans, going in ((young, [1]), (old, [0, 1])):
        gone = abandoned(orphans, keys, Fence(0, 1), MUCH_LATER)
        assert gone == [orphans[index].key for index in going]


def test_what_a_lower_fence_has_stored_stays_while_its_writer_may_be_alive() -> None:
    found = [manifest(0, 0, step) for step in (10, 20)] + [manifest(1, 0, step) for step in (10, 20, 30)]
    mine = [one for one in found if one.fence == Fence(1, 0)]
    assert superseded(found, Fence(1, 0), Keep.BEST, MOMENT + SWEEP_AGE) == [mine[0]]
    assert len(superseded(found, Fence(1, 0), Keep.BEST, MUCH_LATER)) == 3


def test_keys_say_what_ordering_needs_and_older_ones_are_read() -> None:
    new = manifest(0, 1, 20, 1e-05)
    assert new.id == f"0.1-2-20-1e-05-{new.files[0].sha256[:12]}"
    assert manifest(0, 1, 20).id.split("-")[3] == "none"
    old = new.model_copy(update={"format": "masktrain-checkpoint-v1"})
    assert old.id == f"0.1-2-20-{new.files[0].sha256[:12]}"
    assert Manifest.unseal(old.seal()).id == old.id


def test_candidates_for_the_result_are_the_fit_then_the_newest() -> None:
    final = manifest(0, 0, 50).model_copy(update={"files": manifest(0, 0, 50, 0.0).files})
    fit = [manifest(0, 0, 10, 0.1), manifest(0, 0, 20, 0.3)]
    found = models_best_first([*fit, final, manifest(0, 0, 30), manifest(0, 0, 35, 0.0), manifest(0, 0, 40, 0.0)])
    assert [one.step for one in found] == [20, 10, 40, 35, 50]


@given(one=st.builds(manifest, numbers, numbers, st.integers(0, 10**9), st.none() | st.floats(0, 1)))
def test_a_manifest_survives_sealing(one: Manifest) -> None:
    assert Manifest.unseal(one.seal()) == one


@given(bit=st.integers(0, 8 * len(manifest(1, 2, 3, 0.123456789).seal()) - 1))
def test_a_manifest_with_a_flipped_bit_is_none_or_says_the_same(bit: int) -> None:
    one = manifest(1, 2, 3, 0.123456789)
    content = bytearray(one.seal())
    content[bit // 8] ^= 1 << bit % 8
    try:
        found = Manifest.unseal(bytes(content))
    except ValueError:
        return
    assert found == one, "only a blank may have changed"


@given(found=manifests)
def test_what_stays_when_complete(found: list[Manifest]) -> None:
    assert kept_when_complete(found, Keep.BEST) == []
    assert kept_when_complete(found, Keep.ALL) == found
    kept = kept_when_complete(found, Keep.BEST_AND_LAST)
    assert not found or newest_first(found)[0] in kept
    assert len(kept) <= 2
