"""The pod's HTTP face: `GET /progress` for the operator, `/metrics` for Prometheus, `/healthz` for anyone."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from masktrain_trainer.config import Progress

ReadProgress = Callable[[], Progress]


class ProgressCollector(Collector):
    def __init__(self, read: ReadProgress) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        progress = self._read()
        for name, (meaning, value) in _measurements(progress).items():
            if value is not None:
                yield GaugeMetricFamily(f"masktrain_{name}", meaning, value=value)


def _measurements(progress: Progress) -> dict[str, tuple[str, float | None]]:
    losses = progress.losses
    last = progress.last.verified_at.timestamp() if progress.last else None
    return {
        "attempt": ("Attempt of the job, from 0.", progress.attempt),
        "epoch": ("Epoch in work, from 0.", progress.epoch),
        "epochs": ("Epochs asked for.", progress.epochs),
        "step": ("Optimizer steps taken.", progress.step),
        "images_per_second": ("Training images per second over all ranks.", progress.images_per_second),
        "eta_seconds": ("Expected seconds until the last epoch ends.", progress.eta_seconds),
        "loss_box": ("Mean box loss of the epoch so far.", losses.box if losses else None),
        "loss_objectness": ("Mean objectness loss of the epoch so far.", losses.objectness if losses else None),
        "loss_classification": ("Mean class loss of the epoch so far.", losses.classification if losses else None),
        "map50": ("mAP at IoU 0.5 of the last validation.", progress.map50),
        "map50_95": ("mAP at IoU 0.5 to 0.95 of the last validation.", progress.map50_95),
        "checkpoint_timestamp_seconds": ("When the newest stored checkpoint was verified.", last),
        "store_failing": ("1 while the newest checkpoint cannot be stored.", float(progress.store_error is not None)),
    }


def build_application(read: ReadProgress | None) -> web.Application:
    """Pods that do not hold rank 0 know nothing worth asking and only say that they live."""
    application = web.Application()
    application.router.add_get("/healthz", _healthz)
    if read is not None:
        _add_progress(application, read)
    return application


@asynccontextmanager
async def serve_progress(read: ReadProgress | None, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(build_application(read), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()


def _add_progress(application: web.Application, read: ReadProgress) -> None:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ProgressCollector(read))

    async def progress(_: web.Request) -> web.Response:
        return web.Response(text=read().to_json(), content_type="application/json")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application.router.add_get("/progress", progress)
    application.router.add_get("/metrics", metrics)


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")
