"""`masktrain prices`, and how the group finds commands that other packages bring."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner, Result

from masktrain_trainer.cli.main import COMMANDS, ENTRY_POINTS, main

BROKEN = EntryPoint("broken", "package_that_is_not_there.commands:broken", ENTRY_POINTS)
NO_COMMAND = EntryPoint("number", "math:pi", ENTRY_POINTS)
SHADOWING = EntryPoint("detect", "package_that_is_not_there.commands:detect", ENTRY_POINTS)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_the_table_fits_80_columns_and_cuts_no_name() -> None:
    lines = run("prices").output.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [" ".join(line.split()) for line in lines]
    assert "BM.GPU.A100-v2.8 8 A100 80 4.00 32.00 - 1 h B95907 yes" in rows
    assert "BM.GPU.MI300X.8 8 MI300X 192 6.00 48.00 - 1 h B109485 no: AMD" in rows
    assert "VM.GPU3.4 4 V100 16 2.95 11.80 5.90 1 min B89734 yes" in rows


def test_json_is_for_programs() -> None:
    shapes = {entry["shape"]: entry for entry in json.loads(run("prices", "--output", "json").output)["shapes"]}
    assert shapes["VM.GPU2.1"] == {
        "shape": "VM.GPU2.1",
        "gpu": "P100",
        "gpus": 1,
        "gpuMemoryGiB": 16,
        "vcpus": 24,
        "memoryGiB": 72,
        "pricePerGPUHour": "1.275",
        "pricePerHour": "1.275",
        "preemptiblePricePerHour": "0.6375",
        "minimumBilledSeconds": 60,
        "part": "B88518",
        "maker": "NVIDIA",
        "computeCapability": "6.0",
        "cpuArchitecture": "x86_64",
        "leastDriver": None,
        "image": None,
        "whyNot": "Shape VM.GPU2.1 has P100 GPUs of compute capability 6.0, and the trainer image holds code for 7.0, "
        "7.5, 8.0, 8.6, 9.0, 10.0, 12.0 only.",
    }
    h100 = shapes["BM.GPU.H100.8"]
    assert (h100["image"], h100["leastDriver"], h100["whyNot"]) == ("trainer", "525.60.13", None)
    assert shapes["BM.GPU.H100.8"]["preemptiblePricePerHour"] is None


def test_prices_need_none_of_the_operators_libraries() -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['kopf', 'kubernetes', 'oci', 'aiohttp', 'torch'])); "
        "from masktrain_trainer.cli.main import COMMANDS, main; main(['prices'])"
    )
    assert "VM.GPU.A10.2" in subprocess.check_output([sys.executable, "-c", program], text=True)


def test_own_commands_do_not_look_for_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> dict[str, EntryPoint]:
        raise AssertionError("the entry points were read")

    monkeypatch.setattr("masktrain_trainer.cli.main._plugins", never)
    assert run("supervise", "--help").exit_code == 0


@pytest.fixture
def strange_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {plugin.name: plugin for plugin in (BROKEN, NO_COMMAND, SHADOWING)}
    monkeypatch.setattr("masktrain_trainer.cli.main._plugins", lambda: found)


@pytest.mark.usefixtures("strange_plugins")
def test_help_lists_a_broken_plugin_and_survives_it() -> None:
    result = run("--help")
    assert result.exit_code == 0
    listed = [line.split()[0] for line in result.output.split("Commands:\n")[1].splitlines()]
    assert listed == sorted([*COMMANDS, "broken", "number"])


@pytest.mark.usefixtures("strange_plugins")
@pytest.mark.parametrize("arguments", [("broken",), ("broken", "--option", "value"), ("broken", "--help")])
def test_a_broken_plugin_says_what_is_missing(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == click.ClickException.exit_code
    assert "No module named 'package_that_is_not_there'" in result.output


@pytest.mark.usefixtures("strange_plugins")
def test_what_is_no_command_says_so() -> None:
    assert "math:pi is no click command" in run("number").output


@pytest.mark.usefixtures("strange_plugins")
def test_a_plugin_cannot_replace_an_own_command() -> None:
    assert "--weights" in run("detect", "--help").output
