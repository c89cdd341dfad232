"""README section 12: do the default anchors suit the boxes."""

import numpy as np
import pytest

from masktrain_trainer.data.prepared import box_sides
from masktrain_trainer.model.autoanchor import measure
from masktrain_trainer.model.graph import P5, P6

from .reference_data import arrays

CASES = [key for key in arrays("anchors") if "_thr" in key]


def sides(image_size: int) -> np.ndarray:
    reference = arrays("anchors")
    return box_sides(
        reference["image_wh"], reference["label_image"], reference["label_wh_normalised"].astype(float), image_size
    )


def test_boxes_in_pixels() -> None:
    np.testing.assert_allclose(sides(320), arrays("anchors")["wh_320"], rtol=1e-6)


def test_every_case_is_covered() -> None:
    assert len(CASES) == 10


@pytest.mark.parametrize("case", CASES)
def test_best_possible_recall(case: str) -> None:
    model, image_size, threshold = case.split("_")
    graph = P6 if model == "n6" else P5
    anchors_A2 = np.array(graph.anchors_px, float).reshape(-1, 2)
    fit = measure(anchors_A2, sides(int(image_size)), int(threshold.removeprefix("thr")) / 10)
    actual = (fit.recall, fit.matching, not fit.suffices)
    np.testing.assert_allclose(actual, arrays("anchors")[case], atol=1e-6)
