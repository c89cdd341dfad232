"""Where boxes are assigned, cell by cell."""

import pytest
import torch

from masktrain_trainer.model.loss import Candidates, candidates, last_match

ANCHORS = torch.tensor([[1.0, 1.0], [2.0, 2.0], [20.0, 20.0]])
GRID = (4, 8)  # rows, columns


def assign(*boxes_in_cells: tuple[float, float, float, float]) -> Candidates:
    rows, columns = GRID
    rows_M6 = [[0, i, x / columns, y / rows, w / columns, h / rows] for i, (x, y, w, h) in enumerate(boxes_in_cells)]
    return candidates(torch.tensor(rows_M6).view(-1, 6), ANCHORS, GRID, anchor_threshold=4.0)


def cells(matches: Candidates) -> set[tuple[int, int]]:
    """Column and row of every match."""
    _, _, row_K, column_K = matches.slot
    return set(zip(column_K[matches.valid].tolist(), row_K[matches.valid].tolist(), strict=True))


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (2.25, 1.25, {(2, 1), (1, 1), (2, 0)}),
        (2.75, 1.75, {(2, 1), (3, 1), (2, 2)}),
        (2.25, 1.75, {(2, 1), (1, 1), (2, 2)}),
        (2.5, 1.5, {(2, 1)}),  # exactly in the middle: no neighbour is nearer
        (0.25, 0.25, {(0, 0)}),  # no neighbours outside the grid
        (7.75, 3.75, {(7, 3)}),
        (8.0, 4.0, {(7, 3)}),  # on the far border: clamped into the grid
    ],
)
def test_own_cell_and_nearest_neighbours(x: float, y: float, expected: set[tuple[int, int]]) -> None:
    assert cells(assign((x, y, 1.0, 1.0))) == expected


@pytest.mark.parametrize(
    ("w", "h", "anchors"),
    [
        (1.0, 1.0, {0, 1}),
        (3.9, 3.9, {0, 1}),
        (4.0, 4.0, {1}),  # the threshold itself is outside
        (1.0, 9.0, set()),
        (7.9, 7.9, {1, 2}),
        (0.0, 1.0, set()),  # without area
    ],
)
def test_anchors_of_similar_shape(w: float, h: float, anchors: set[int]) -> None:
    matches = assign((2.5, 1.5, w, h))
    _, anchor_K, _, _ = matches.slot
    assert set(anchor_K[matches.valid].tolist()) == anchors


def test_boxes_are_relative_to_their_cell() -> None:
    matches = assign((2.25, 1.5, 1.0, 1.5))
    own, left = matches.boxes[matches.valid][0], matches.boxes[matches.valid][-1]
    assert own.tolist() == [0.25, 0.5, 1.0, 1.5]
    assert left.tolist() == [1.25, 0.5, 1.0, 1.5]


def test_a_centre_on_a_cell_border_counts_twice_in_its_own_cell() -> None:
    matches = assign((2.0, 1.5, 1.0, 1.0))
    slots = [tuple(slot) for slot in torch.stack(matches.slot, dim=1)[matches.valid].tolist()]
    assert slots.count((0, 0, 1, 2)) == 2


def test_the_last_of_rivals_wins() -> None:
    matches = assign((2.5, 1.5, 1.0, 1.0), (2.5, 1.5, 1.5, 1.5))
    last_BAHW = last_match(matches, torch.Size((1, 3, *GRID)))
    assert matches.classes[last_BAHW[0, 0, 1, 2]] == 1
    assert last_BAHW[0, 2].max() == -1  # no candidate of the third anchor is valid


def test_no_boxes() -> None:
    matches = assign()
    assert len(matches.valid) == 0
    assert last_match(matches, torch.Size((2, 3, *GRID))).max() == -1
