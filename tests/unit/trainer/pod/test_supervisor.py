"""What the supervisor says of ranks that stand still."""

import asyncio
import json
from pathlib import Path

import pytest

from masktrain_trainer.config import CONFIG_VARIABLE, Outcome, OutcomeKind
from masktrain_trainer.heartbeat import Activity, Hang
from masktrain_trainer.pod import supervisor
from masktrain_trainer.pod.launch import Launch, Paths
from masktrain_trainer.pod.supervisor import Supervisor
from tests.unit.trainer.pod.test_launch import CONFIG

NETWORK = "masks-3-1 has not connected with masks-3-0: check "


def outcome_of(hang: Hang, folder: Path, nodes: int) -> Outcome:
    variables = {CONFIG_VARIABLE: json.dumps(CONFIG), "PET_NNODES": str(nodes), "PET_NODE_RANK": str(nodes - 1)}
    paths = Paths(workspace=folder)
    paths.run.create()
    return asyncio.run(Supervisor(Launch.from_environment(variables), paths, variables)._report_hang(hang))


@pytest.mark.parametrize(
    ("activity", "nodes", "blames_network"),
    [
        (Activity.CONNECTING, 2, True),
        (None, 2, True),
        (Activity.STARTING, 2, False),
        (Activity.TRAINING, 2, False),
        (Activity.CONNECTING, 1, False),
    ],
)
def test_ranks_that_never_connect_name_both_hosts(
    activity: Activity | None, nodes: int, blames_network: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_STACK_DUMP_SECONDS", 0.0)
    monkeypatch.setattr("socket.gethostname", lambda: "masks-3-1")
    outcome = outcome_of(Hang(0, activity, 601), tmp_path, nodes)
    assert outcome.kind is OutcomeKind.HUNG
    assert outcome.message.startswith("Training hangs: local rank 0 has stood still for 601 s while ")
    assert (NETWORK in outcome.message) == blames_network
