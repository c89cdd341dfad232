"""The one error of training that a person must repair."""

from masktrain_trainer.config import FailureReason


class UserError(Exception):
    """The input cannot work; `str()` is one sentence: what is wrong, where, what to do."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
