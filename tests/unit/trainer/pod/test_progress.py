"""What `/progress`, `/metrics` and `/healthz` answer, asked over real HTTP."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from masktrain_trainer.config import Losses, Phase, Progress
from masktrain_trainer.pod.progress import build_application

PROGRESS = Progress(
    attempt=1,
    phase=Phase.TRAINING,
    epoch=4,
    epochs=10,
    step=120,
    images_per_second=24.5,
    losses=Losses(box=0.1, objectness=0.2, classification=0.3),
    map50=0.61,
    updated_at=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(build_application(lambda: PROGRESS))) as client:
        yield client


async def test_progress_is_the_contracts_document(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/progress")
    assert answer.content_type == "application/json"
    assert Progress.model_validate_json(await answer.text()) == PROGRESS


async def test_metrics_are_prometheus_text(client: TestClient[Any, Any]) -> None:
    text = await (await client.get("/metrics")).text()
    assert "masktrain_step 120.0" in text
    assert "masktrain_map50 0.61" in text
    assert "masktrain_store_failing 0.0" in text
    assert "masktrain_eta_seconds " not in text


async def test_a_pod_without_rank_0_only_says_that_it_lives() -> None:
    async with TestClient(TestServer(build_application(None))) as client:
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/progress")).status == 404
