"""The tree of errors: reasons, and the way to other processes."""

import pickle

import pytest

from masktrain_trainer import errors
from masktrain_trainer.config import ExitCode, FailureReason
from masktrain_trainer.errors import Fenced, MaskTrainError, StoreDenied, StoreError, UserError, user_error

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MaskTrainError) and kind not in (MaskTrainError, UserError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_keeps_reason_and_sentence_on_its_way_to_another_process(kind: type[MaskTrainError]) -> None:
    arrived = pickle.loads(pickle.dumps(kind("The key is wrong.")))
    assert (type(arrived), str(arrived), arrived.reason) == (kind, "The key is wrong.", kind.reason)


@pytest.mark.parametrize("reason", list(FailureReason))
def test_every_reason_that_ends_a_job_has_an_error(reason: FailureReason) -> None:
    error = user_error(reason, "It cannot work.")
    assert (error.reason, str(error)) == (reason, "It cannot work.")


def test_a_denying_store_is_the_users_to_repair() -> None:
    assert [kind for kind in KINDS if {StoreError, UserError} <= set(kind.__mro__)] == [StoreDenied]


@pytest.mark.parametrize("kind", KINDS)
def test_the_exit_code_says_whether_another_try_makes_sense(kind: type[MaskTrainError]) -> None:
    expected = ExitCode.USER_ERROR if issubclass(kind, UserError) else ExitCode.FENCED if kind is Fenced else 1
    assert kind("It ended.").exit_code == expected
