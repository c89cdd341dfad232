"""What the API server is asked about gangs, how often, and who waits for it."""

import asyncio
import copy
from datetime import datetime, timedelta
from typing import Any

import pytest

from masktrain_operator.core.deadlines import refused
from masktrain_operator.core.types import Manifest, Refusal
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.pools.gang_check import QUESTIONS_AT_ONCE, GangCheck
from masktrain_operator.shell.pools.pool_cache import PoolCache
from tests.unit.operator.manifests import NOW, SETTINGS, job_body
from tests.unit.operator.shell.answers import Answers, refusal

GPU = "nvidia.com/gpu"


class Checks:
    """One GangCheck on a clock of its own. `seed` makes gangs differ in more than their names."""

    def __init__(self) -> None:
        self.answers = Answers()
        self.seconds = 0.0
        self.pools = PoolCache(KnownObjects(), self.now, asks_first=True)
        self.check = GangCheck(
            self.answers.client, self.pools, SETTINGS, lambda: None, now=self.now, clock=lambda: self.seconds
        )

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    async def ask(self, name: str, namespace: str = "vision", seed: int = 0, generation: int = 1) -> float | None:
        return await self.check.ask(job(name, namespace, seed, generation), "gpu")

    @property
    def questions(self) -> int:
        return len(self.answers.asked)

    def said_of(self, name: str) -> str | None:
        found = self.check.answer(f"uid-of-{name}")
        return None if found is None else found.message


def job(name: str, namespace: str = "vision", seed: int = 0, generation: int = 1) -> Manifest:
    body = copy.deepcopy(job_body(name, training={"seed": seed}))
    body["metadata"] |= {"name": name, "namespace": namespace, "uid": f"uid-of-{name}", "generation": generation}
    return body


@pytest.fixture
def checks() -> Checks:
    return Checks()


async def test_gangs_that_differ_in_their_names_share_an_answer(checks: Checks) -> None:
    for number in range(5000):
        assert await checks.ask(f"sweep-{number}") is None
    assert checks.answers.asked == ["show Job sweep-0-0", "show Pod sweep-0-0-0-", "list ResourceQuota vision"]


async def test_a_namespace_asks_no_more_than_its_ration_and_another_is_served_at_once(checks: Checks) -> None:
    """Thousands of jobs that differ: three requests for each of them would be an attack on the API server."""
    waits = [await checks.ask(f"flood-{number}", seed=number) for number in range(2000)]
    assert waits.count(None) == QUESTIONS_AT_ONCE
    assert checks.questions == 3 * QUESTIONS_AT_ONCE
    assert await checks.ask("other", namespace="radar") is None
    assert checks.said_of("other") is None

    later = [wait for wait in waits if wait is not None]
    assert later == sorted(set(later)), "each has its own turn"
    before = checks.questions
    for _ in range(60):
        checks.seconds += 1
        for number, wait in enumerate(waits):
            if wait is not None and wait <= checks.seconds:
                waits[number] = await checks.ask(f"flood-{number}", seed=number)
    assert checks.questions - before <= 3 * 61
    assert waits.count(None) >= QUESTIONS_AT_ONCE + 59, "whoever waits for its turn gets it"


async def test_an_answer_holds_until_its_namespace_may_ask_again(checks: Checks) -> None:
    assert await checks.ask("masks") is None
    for number in range(2000):
        await checks.ask(f"flood-{number}", seed=number)
    checks.seconds = 301
    for number in range(2000, 4000):
        await checks.ask(f"flood-{number}", seed=number)
    assert await checks.ask("masks") is not None
    assert checks.check.has_answer("uid-of-masks")
    assert await checks.ask("masks", generation=2) is not None
    assert not checks.check.has_answer("uid-of-masks"), "of another spec nothing is known"


async def test_one_question_of_a_namespace_at_a_time(checks: Checks) -> None:
    """An API server, or a webhook, that does not answer keeps one worker of the operator and no more."""
    checks.answers.gate = asyncio.Event()
    first = asyncio.create_task(checks.ask("a", seed=1))
    await checks.answers.is_held.wait()
    assert await asyncio.wait_for(checks.ask("b", seed=2), 1) == 1.0
    checks.answers.gate.set()
    assert await first is None
    checks.seconds += 1
    assert await checks.ask("b", seed=2) is None


async def test_a_refusal_is_shared_under_the_name_of_each_and_asked_again_later_and_later(checks: Checks) -> None:
    checks.answers.errors["show"] = [
        refusal(403, "Forbidden", f'pods "a-0-0-x7" is forbidden: {word}') for word in "xy"
    ]
    assert await checks.ask("a") is None
    assert await checks.ask("b") is None
    assert checks.said_of("b") == 'pods "b-0-0-x7" is forbidden: x'
    assert checks.questions == 1
    checks.seconds = 2
    assert await checks.ask("b") is None
    assert checks.questions == 2
    assert "y" in (checks.said_of("b") or "")
    checks.seconds = 5
    assert await checks.ask("a") is None
    assert checks.questions == 2, "twice in a row: 4 s"
    checks.seconds = 6
    assert await checks.ask("a") is None
    assert checks.said_of("a") is None


@pytest.mark.parametrize(("used", "is_refused"), [("0", False), ("4", True)])
async def test_each_gang_is_held_against_the_quotas_of_its_moment(checks: Checks, used: str, is_refused: bool) -> None:
    assert await checks.ask("a") is None
    status: dict[str, Any] = {"hard": {"count/jobs.batch": "4"}, "used": {"count/jobs.batch": used}}
    checks.answers.listed = [{"metadata": {"name": "jobs"}, "spec": {}, "status": status}]
    checks.seconds = 10
    assert await checks.ask("b") is None
    assert checks.answers.asked[3:] == ["list ResourceQuota vision"], "what its pods are is known"
    assert ("exceeded quota: jobs" in (checks.said_of("b") or "")) is is_refused


async def test_what_is_really_refused_is_asked_anew(checks: Checks) -> None:
    assert await checks.ask("a") is None
    body, before = job("a"), checks.questions
    checks.check.refused(body, [real_refusal(checks.now())])
    assert checks.said_of("a") == "exceeded quota"
    checks.seconds = 3
    assert await checks.ask("a") is None
    assert checks.questions > before
    assert checks.said_of("a") is None


def real_refusal(now: datetime) -> Refusal:
    return refused(("create", "Job", "a-0"), reason="Forbidden", message="exceeded quota", before=None, now=now)


async def test_a_job_that_is_gone_leaves_nothing(checks: Checks) -> None:
    for number in range(100):
        await checks.ask(f"flood-{number}", seed=number)
    for number in range(100):
        checks.check.forget(f"uid-of-flood-{number}")
    assert not checks.check.has_answer("uid-of-flood-0")
    checks.seconds = 1000
    assert checks.check._of("vision").is_forgettable(checks.now(), checks.seconds)
