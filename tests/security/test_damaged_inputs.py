"""A minute of `make fuzz`: damaged data sets, pictures and weights end in success or in one sentence."""

from tests.fuzz.run import run

MUTATIONS = 150
SEED = 20261127


def test_no_damaged_input_ends_in_a_traceback() -> None:
    broken = [
        f"{ending.case.kind} {ending.case.seed}: {ending.problem}\n{ending.output[-2_000:]}"
        for ending in run(MUTATIONS, SEED)
        if ending.problem is not None
    ]
    assert not broken, "\n\n".join(broken)
