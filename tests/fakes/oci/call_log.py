"""What was asked of the cloud, and what it found worth reporting."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Call:
    """One request. `operation` is the SDK's method; `parameters` are those of path, query, `if-match` and size."""

    time: float
    method: str
    operation: str
    parameters: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    code: str = ""
    request_id: str = ""
    answer_lost: bool = False


@dataclass(frozen=True)
class Violation:
    """Something a careful client never causes, such as leaving the choice of the victim to the cloud."""

    time: float
    kind: str
    pool_id: str
    details: str


class CallLog:
    """Every call and every violation, in order."""

    def __init__(self) -> None:
        """Start empty."""
        self.calls: list[Call] = []
        self.violations: list[Violation] = []

    def of(self, *operations: str) -> list[Call]:
        """The calls of these operations."""
        return [call for call in self.calls if call.operation in operations]

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        """Everything, for `GET /_log`."""
        return {
            "calls": [asdict(call) for call in self.calls],
            "violations": [asdict(violation) for violation in self.violations],
        }
