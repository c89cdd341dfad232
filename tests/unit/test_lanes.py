"""How a run on several processes shares the tests out."""

import pytest

from tests.lanes import LONGEST_FIRST, SHARED, lane, turn
from tests.layout import REPOSITORY


@pytest.mark.parametrize("beginning", [*SHARED, *LONGEST_FIRST])
def test_every_rule_is_about_tests_that_exist(beginning: str) -> None:
    assert (REPOSITORY / beginning).exists()


def test_whoever_shares_a_cluster_is_one_lane_and_every_other_file_its_own() -> None:
    assert lane("tests/e2e/test_training.py::test_a") == lane("tests/devcluster/test_pods.py::test_b[x]")
    assert lane("tests/api/test_schema.py::test_a") == lane("tests/api/test_rights.py::test_b")
    assert lane("tests/api/test_schema.py::test_a") != lane("tests/api/pools/test_faults.py::test_c")
    assert lane("tests/unit/test_lanes.py::test_a") == "tests/unit/test_lanes.py"


def test_long_suites_come_first_and_the_rest_stays_in_order() -> None:
    collected = ["tests/unit/b.py::t", "tests/unit/a.py::t", "tests/stores/c.py::t", "tests/e2e/d.py::t"]
    assert sorted(collected, key=turn) == [
        "tests/e2e/d.py::t",
        "tests/stores/c.py::t",
        "tests/unit/b.py::t",
        "tests/unit/a.py::t",
    ]
