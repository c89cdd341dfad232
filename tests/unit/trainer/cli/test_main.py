"""The `masktrain` command before any work begins."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from masktrain_trainer.cli.main import COMMANDS, main


def test_the_version_is_the_distributions() -> None:
    assert version("masktrain") in CliRunner().invoke(main, ["--version"]).output


@pytest.mark.parametrize("arguments", [["detect"], ["nonsense"], ["detect", "--confidence", "2"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


NUMBERS = [
    (["detect", "--weights", "a.pt", "--source", "a.jpg", option, value], f"'{value}' is no number.")
    for option in ("--conf-thres", "--iou-thres", "--timeout")
    for value in ("nan", "NaN")
] + [
    (["detect", "--weights", "a.pt", "--source", "a.jpg", "--timeout", "1e8"], "86400"),
    (["detect", "--weights", "a.pt", "--source", "a.jpg", "--classes", "mask"], "'mask' is no number of a class"),
    (["compare", "a.pt", "b.pt", "--source", "a.mp4", "--seconds", "nan"], "'nan' is no number."),
    (["compare", "a.pt", "b.pt", "--source", "a.mp4", "--seconds", "inf"], "'inf' is no number."),
    (["export", "a.pt", "--format", "openvino", "--int8", "--max-accuracy-loss", "nan"], "'nan' is no number."),
    (["data", "convert", "a", "b", "--val", "nan"], "'nan' is no number."),
]


@pytest.mark.parametrize(("arguments", "sentence"), NUMBERS, ids=lambda value: " ".join(value[-2:]))
def test_what_is_no_number_is_none_within_its_range_either(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert sentence in result.output


def test_supervise_without_configuration_exits_with_64_and_a_sentence() -> None:
    command = [sys.executable, "-m", "masktrain_trainer.cli.main", "supervise"]
    result = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert result.returncode == 64
    assert "MASKTRAIN_CONFIG is not set" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_the_supervisor_loads_neither_torch_nor_opencv() -> None:
    program = "import sys, masktrain_trainer.pod.supervisor; print({'torch', 'cv2', 'numpy'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "set()"


def test_the_help_loads_neither_torch_nor_opencv() -> None:
    program = (
        "import sys\nfrom masktrain_trainer.cli.main import main\nmain(['--help'], standalone_mode=False)\n"
        "sys.exit(bool({'torch', 'cv2'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_table_has_a_help(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert f"Usage: main {command}" in result.output
