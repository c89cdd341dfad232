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
