"""Lists are read in parts: whoever may write objects decides how large a whole one is."""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration

from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import JOBS, KubernetesClient


async def _asked_of_a_server() -> list[dict[str, str]]:
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        more = {} if "continue" in request.query else {"continue": "next"}
        item: dict[str, Any] = {"metadata": {"name": "x", "namespace": "n", "uid": "u", "resourceVersion": "1"}}
        return web.json_response({"metadata": {"resourceVersion": "5", **more}, "items": [item]})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as server, ApiClient(Configuration(host=str(server.make_url("")).rstrip("/"))) as api:
        client = KubernetesClient(api)
        await KnownObjects().refresh(client, (), (JOBS,))
        assert len(await client.list_pods_on("node")) == 2
    return asked


def test_lists_are_read_in_parts() -> None:
    jobs, more_jobs, pods, more_pods = asyncio.run(_asked_of_a_server())

    assert jobs["limit"] == pods["limit"] == "100"
    assert more_jobs["continue"] == more_pods["continue"] == "next"
    assert pods["fieldSelector"] == "spec.nodeName=node,status.phase!=Failed,status.phase!=Succeeded"
