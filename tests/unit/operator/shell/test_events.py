"""Events of a job: only so many, and nothing in one that a pod wrote forges a line of the log."""

import logging
from unittest.mock import AsyncMock, Mock

from masktrain_operator.core.types import Event
from masktrain_operator.shell.controller import one_line
from masktrain_operator.shell.events import EVENT_BURST, EventRecorder

SUBJECT = {
    "apiVersion": "masktrain.dev/v1alpha1",
    "kind": "MaskTrainingJob",
    "metadata": {"name": "masks", "namespace": "vision", "uid": "u"},
}


async def test_a_flood_of_one_reason_hides_no_other_event() -> None:
    client, now = Mock(create=AsyncMock()), [0.0]
    events = EventRecorder(client, lambda: now[0])
    for number in range(92):
        now[0] += 0.2
        await events.record(SUBJECT, Event("Warning", "CheckpointSkipped", f"Number {number}."))
    await events.record(SUBJECT, Event("Warning", "Failed", "It is over."))
    written = [call.args[0]["reason"] for call in client.create.call_args_list]

    assert written.count("CheckpointSkipped") == EVENT_BURST
    assert written[-1] == "Failed"


def test_a_line_of_the_log_stays_one() -> None:
    forged = "masks: done.\n2026-01-01 [INFO] Deleted everything.\x1b[2J"
    record = logging.LogRecord("operator", logging.INFO, "", 1, "%s said %s", ("pod", forged), None)

    assert one_line(record)
    assert record.getMessage() == "pod said masks: done. 2026-01-01 [INFO] Deleted everything. [2J"
