"""What ranks agree on arrives one step later, and once. With two ranks it is part of the resume test."""

from masktrain_trainer.train.agreement import StepAgreement, Wishes


def test_a_wish_is_read_one_step_later_and_once() -> None:
    agreement = StepAgreement(None, world_size=1)
    assert agreement.exchange(Wishes(stop=True)) == Wishes()
    assert agreement.exchange(Wishes(checkpoint=True)) == Wishes(stop=True)
    assert agreement.settle() == Wishes(checkpoint=True)
    assert agreement.settle() == Wishes()
