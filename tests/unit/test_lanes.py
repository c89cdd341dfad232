"""How a run on several processes shares the tests out."""

import subprocess
import sys
from pathlib import Path

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


def test_a_cluster_ends_with_its_lane_and_what_stands_on_it_before(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "import pytest\n"
        "from tests.conftest import pytest_runtest_teardown\n"
        "@pytest.fixture(scope='session')\n"
        "def control_plane():\n    print('up'); yield; print('down')\n"
        "@pytest.fixture(scope='session')\n"
        "def installed(control_plane):\n    yield; print('removed')\n"
    )
    (tmp_path / "test_1.py").write_text("def test_1(installed): print('one')\ndef test_2(installed): print('two')\n")
    (tmp_path / "test_2.py").write_text("def test_3(): print('three')\ndef test_4(installed): print('four')\n")
    command = (sys.executable, "-m", "pytest", "-qsp", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path))
    ended = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    told = {"up", "down", "removed", "one", "two", "three", "four"}
    said = [word for word in ended.stdout.replace(".", " ").split() if word in told]
    assert said == ["up", "one", "two", "removed", "down", "three", "up", "four", "removed", "down"]
