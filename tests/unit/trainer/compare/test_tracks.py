"""Objects followed over frames, and what their gaps, switches and wobbles come to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktrain_trainer.compare.matching import FrameBoxes
from masktrain_trainer.compare.tracks import follow, one_per_object, patience, steadiness

SIZE = 20.0


def at(*centres: float, label: int = 0) -> FrameBoxes:
    """Boxes of one size on a line."""
    return FrameBoxes(
        np.array([[x - SIZE / 2, 0, x + SIZE / 2, SIZE] for x in centres], np.float32).reshape(-1, 4),
        np.full(len(centres), 0.8, np.float32),
        np.full(len(centres), label, np.int64),
    )


def test_an_object_that_moves_fast_is_one_track() -> None:
    """Faster than its size in the time of a gap: it is expected where its way leads."""
    frames = [at(8 * frame) if frame not in (5, 6, 7) else at() for frame in range(14)]
    (track,) = follow(frames, patience_frames=5)
    assert (track.span, track.missing, track.gaps) == (14, 3, [(5, 7)])
    filled = track.filled()
    assert sorted(filled) == list(range(14))
    assert filled[6] == pytest.approx([48 - SIZE / 2, 0, 48 + SIZE / 2, SIZE])
    assert track.jitter == pytest.approx(0, abs=1e-6)


def test_patience_ends_a_track() -> None:
    frames = [at(50), at(50), at(), at(), at(), at(), at(50), at(50)]
    assert [track.frames for track in follow(frames, patience_frames=3)] == [[0, 1], [6, 7]]
    assert len(follow(frames, patience_frames=5)) == 1


def test_no_track_goes_on_into_the_next_medium() -> None:
    assert [t.frames for t in follow([at(50)] * 6, patience_frames=3, cuts=frozenset({4}))] == [[0, 1, 2, 3], [4, 5]]


def test_two_objects_that_pass_each_other_keep_their_ways() -> None:
    frames = [at(0 + 6 * frame, 120 - 6 * frame) for frame in range(21)]
    tracks = follow(frames, patience_frames=3)
    assert [track.span for track in tracks] == [21, 21]
    # Where one hides the other there is one box, and for that moment one of them is missing.
    for track in tracks:
        assert len(np.unique(np.sign(np.diff([box[0] for box in track.boxes])))) == 1


def test_steadiness_counts_blinks_switches_and_lone_boxes() -> None:
    frames = [at(50), at(50), at(), at(50), at(50, label=1), at(50)]
    frames[3] = FrameBoxes(
        np.concatenate((at(50).xyxy_N4, at(300).xyxy_N4)), np.array([0.8, 0.4], np.float32), np.array([0, 0])
    )
    found = steadiness(follow(frames, patience_frames=3))
    assert (found.tracks, found.boxes, found.blinks, found.isolated, found.switches) == (1, 6, 1, 1, 2)
    assert found.missing == pytest.approx(1 / 6)
    assert found.isolated_share == pytest.approx(1 / 6)


def test_nothing_is_steady() -> None:
    found = steadiness(follow([at()] * 5, patience_frames=3))
    assert (found.blinks_per_track, found.isolated_share, found.jitter) == (0, 0, 0)


def test_of_boxes_of_two_classes_at_one_place_the_surer_one_stays() -> None:
    both = FrameBoxes(
        np.concatenate((at(50).xyxy_N4, at(51).xyxy_N4, at(200).xyxy_N4)),
        np.array([0.3, 0.9, 0.5], np.float32),
        np.array([0, 1, 0]),
    )
    assert one_per_object(both).confidence_N.tolist() == pytest.approx([0.9, 0.5])


@given(st.lists(st.lists(st.integers(0, 300), max_size=4), max_size=12), st.integers(1, 4))
def test_each_box_belongs_to_one_track(centres: list[list[int]], frames: int) -> None:
    found = [one_per_object(at(*map(float, of_frame))) for of_frame in centres]
    tracks = follow(found, patience_frames=frames)
    assert sum(len(track.frames) for track in tracks) == sum(map(len, found))
    for track in tracks:
        assert track.frames == sorted(set(track.frames))
        assert all(last - first + 1 <= frames for first, last in track.gaps)


def test_patience_is_a_time() -> None:
    assert (patience(25), patience(2)) == (15, 3)
