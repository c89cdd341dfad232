"""Machines that cannot run a cluster are told so in one sentence."""

import os
import sys

import pytest
from click.testing import CliRunner

from devcluster.__main__ import commands
from devcluster.lifecycle import objection


def test_other_systems_and_users_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "needs Linux and root" in (objection() or "")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "needs Linux and root" in (objection() or "")


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert "ip, mount, nsenter" in (objection() or "")


def test_command_line_says_one_sentence_and_exits_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = CliRunner().invoke(commands, ["up"])
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1
