"""Refusals in Oracle's words, and what can be made to go wrong with capacity and with calls."""

from dataclasses import dataclass, field

# There is no code for it: everybody, Oracle's own autoscaler included, looks for these words in an InternalError.
OUT_OF_HOST_CAPACITY = ("InternalError", "Out of host capacity.")
LIMIT_EXCEEDED = (
    "LimitExceeded",
    "The following service limits were exceeded: gpu-count. Request a service limit increase.",
)
QUOTA_EXCEEDED = ("QuotaExceeded", "The following quotas were exceeded in the compartment: gpu-count.")


class ServiceError(Exception):
    """Becomes the error body that the SDK reads."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Answer with `status` and `{"code", "message"}`."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def not_authenticated(message: str) -> ServiceError:
    """The signature, its key or its date is wrong."""
    return ServiceError(401, "NotAuthenticated", message)


def not_found(what: str) -> ServiceError:
    """Oracle does not tell what is missing from what may not be seen."""
    return ServiceError(404, "NotAuthorizedOrNotFound", f"Authorization failed or requested resource not found: {what}")


def invalid(message: str) -> ServiceError:
    """The request makes no sense."""
    return ServiceError(400, "InvalidParameter", message)


@dataclass
class Shortage:
    """No more instances, once `spared` of them were still given out; only in one availability domain if that is set."""

    code: str
    message: str
    availability_domain: str | None = None
    spared: int = 0

    def strikes(self, availability_domain: str) -> bool:
        """Whether an instance wanted there now is refused."""
        if self.availability_domain not in (None, availability_domain):
            return False
        self.spared -= 1
        return self.spared < 0


@dataclass
class CallFailure:
    """What happens to the next `remaining` calls (None: to all of them) of `operation` (None: of any)."""

    refusal: ServiceError | None = None
    delay_seconds: float = 0.0
    lose_answer: bool = False
    operation: str | None = None
    remaining: int | None = 1


@dataclass
class Failures:
    """Everything that is switched on."""

    shortages: list[Shortage] = field(default_factory=list)
    calls: list[CallFailure] = field(default_factory=list)
    failing_deletes: int = 0
    strangers: int = 0
    """How many of the next nodes will boot without ever joining Kubernetes."""

    def shortage(self, availability_domain: str) -> tuple[str, str] | None:
        """Code and message if no instance can be had there."""
        found = next((s for s in self.shortages if s.strikes(availability_domain)), None)
        return (found.code, found.message) if found else None

    def of_call(self, operation: str) -> list[CallFailure]:
        """What this call meets; it is used up by that."""
        met = [failure for failure in self.calls if failure.operation in (None, operation)]
        first_refusal = next((failure for failure in met if failure.refusal), None)
        # A call can be refused only once: the other refusals wait for the calls after it.
        met = [failure for failure in met if failure.refusal is None or failure is first_refusal]
        for failure in met:
            self._use_up(failure)
        return met

    def fails_delete(self) -> bool:
        """Whether the delete that comes to its end now fails."""
        fails = self.failing_deletes > 0
        self.failing_deletes -= fails
        return fails

    def is_stranger(self) -> bool:
        """Whether the node that has booted now never joins."""
        is_stranger = self.strangers > 0
        self.strangers -= is_stranger
        return is_stranger

    def _use_up(self, failure: CallFailure) -> None:
        if failure.remaining is None:
            return
        failure.remaining -= 1
        if not failure.remaining:
            self.calls.remove(failure)
