"""`masktrain doctor` as a program: what it prints, and what it says to people who start it wrongly."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from masktrain_operator.core.doctor.seen import StorageNeeds
from masktrain_operator.shell.doctor.command import WIDE_ENOUGH, diagnose, doctor, document, print_table
from tests.unit.operator.core.doctor.healthy import NAME, NODE, seen, statements, view

NOBODY = """
{"apiVersion": "v1", "kind": "Config", "current-context": "c",
 "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
 "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
 "users": [{"name": "u", "user": {"token": "t"}}]}
"""


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(doctor, arguments, env=environment)


@pytest.fixture
def kubeconfig_of_nobody(tmp_path: Path) -> str:
    path = tmp_path / "kubeconfig"
    path.write_text(NOBODY)
    return str(path)


def test_without_an_api_server_it_says_so_in_a_sentence_and_not_that_all_is_well(kubeconfig_of_nobody: str) -> None:
    result = run(KUBECONFIG=kubeconfig_of_nobody)

    assert result.exit_code == 3
    assert result.stderr.startswith("masktrain doctor: The API server cannot be reached: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_profile_that_is_not_there_is_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    result = run("--profile", "nobodys")

    assert result.exit_code == 2
    assert "profile nobodys of ~/.oci/config" in result.output


def test_it_is_a_command_of_masktrain_that_help_shows_without_the_operators_libraries() -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['kopf', 'kubernetes', 'oci', 'aiohttp', 'torch'])); "
        "from masktrain_operator.shell.doctor.command import doctor; "
    )
    shown = subprocess.run(
        [sys.executable, "-c", f"{program} doctor(['--help'])"], capture_output=True, text=True, check=True
    )
    assert "changes nothing" in " ".join(shown.stdout.split()) or "change nothing" in " ".join(shown.stdout.split())

    done = subprocess.run([sys.executable, "-c", f"{program} doctor([])"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "install masktrain[operator], or use the operator's image" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_has_every_finding_and_what_is_to_be_pasted_in_whole_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = tuple(text for text in statements() if " vnics " not in text)
    bare = replace(NODE, name=f"oke-{'long' * 20}", gpus=0)
    findings = diagnose(seen(oracle={NAME: view(granted=texts)}, nodes=(bare,)), StorageNeeds())

    print_table(findings)

    printed = capsys.readouterr().out
    lines = printed.splitlines()
    for finding in findings:
        assert finding.check.value.split()[0] in printed
        assert all(line in lines for line in finding.paste)
    table = printed.partition("\n[1] ")[0]
    assert "…" not in table
    assert max(map(len, table.splitlines())) <= WIDE_ENOUGH
    assert lines[-1] == "Something is at fault. 9 ok, 2 fault."


def test_json_is_for_programs() -> None:
    text = json.dumps(document(diagnose(seen(nodes=(replace(NODE, gpus=0),)), StorageNeeds())))
    answer = json.loads(text)

    assert (answer["exitCode"], answer["counts"]["fault"]) == (1, 1)
    (fault,) = [finding for finding in answer["findings"] if finding["level"] == "fault"]
    assert (fault["check"], fault["about"]) == ("device plugin", "GPUNodePool gpu")
    assert set(fault) == {"check", "about", "level", "found", "advice", "paste"}
