"""The switches and the books of a fake that runs in another process."""

from typing import Any

import requests

from tests.fakes.oci.call_log import Call, CallLog, Violation
from tests.fakes.oci.ledger import Ledger, LedgerEntry

TIMEOUT_SECONDS = 10


class RemoteFakeOci:
    """A fake at `endpoint`."""

    def __init__(self, endpoint: str) -> None:
        """Speak to the fake there."""
        self._endpoint = endpoint

    def control(self, operation: str, **arguments: Any) -> None:
        """Turn a switch of `Control`. Raises ValueError with the fake's own words."""
        wanted: Any = {"operation": operation, "arguments": arguments}
        answer = requests.post(f"{self._endpoint}/_control", json=wanted, timeout=TIMEOUT_SECONDS)
        if answer.status_code != requests.codes.ok:
            raise ValueError(answer.json()["message"])

    def log(self) -> CallLog:
        """The calls and violations so far."""
        found, log = self._read("_log"), CallLog()
        log.calls = [Call(**call) for call in found["calls"]]
        log.violations = [Violation(**violation) for violation in found["violations"]]
        return log

    def ledger(self) -> Ledger:
        """The instances so far."""
        ledger = Ledger()
        for entry in self._read("_ledger"):
            ledger.open(LedgerEntry(**entry))
        return ledger

    def answers(self) -> bool:
        """Whether it serves."""
        try:
            self._read("_log")
        except requests.RequestException:
            return False
        return True

    def _read(self, path: str) -> Any:
        answer = requests.get(f"{self._endpoint}/{path}", timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
        return answer.json()
