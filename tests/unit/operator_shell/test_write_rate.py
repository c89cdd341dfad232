"""The cap over all jobs, and that it starves none of them."""

from masktrain_operator.shell.write_rate import WriteRate


def test_writes_are_spaced_evenly_and_a_waiting_key_keeps_its_turn() -> None:
    rate = WriteRate(per_second=2)

    assert [rate.wait_seconds(key, 0.0) for key in "abc"] == [0, 0.5, 1.0]
    assert rate.wait_seconds("b", 0.4) > 0
    assert rate.wait_seconds("d", 0.4) > 1
    assert rate.wait_seconds("b", 0.5) == 0
    assert rate.wait_seconds("c", 1.0) == 0


def test_after_a_pause_the_first_write_is_free() -> None:
    rate = WriteRate(per_second=2)
    rate.wait_seconds("a", 0.0)

    assert rate.wait_seconds("a", 100.0) == 0
    assert rate.wait_seconds("a", 100.0) == 0.5


def test_a_thousand_jobs_are_written_at_the_rate() -> None:
    rate = WriteRate(per_second=20)

    waits = [rate.wait_seconds(str(number), 0.0) for number in range(1000)]

    assert max(waits) == 999 / 20 or abs(max(waits) - 999 / 20) < 1e-6
