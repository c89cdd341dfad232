"""What ranks agree on arrives one step later, and once. With two ranks it is part of the resume test."""

from masktrain_trainer.train.distributed import StepConsensus, StepRequests


def test_a_request_is_read_one_step_later_and_once() -> None:
    consensus = StepConsensus(None, world_size=1)
    assert consensus.exchange(StepRequests(stop=True)) == StepRequests()
    assert consensus.exchange(StepRequests(checkpoint=True)) == StepRequests(stop=True)
    assert consensus.take_agreed() == StepRequests(checkpoint=True)
    assert consensus.take_agreed() == StepRequests()
