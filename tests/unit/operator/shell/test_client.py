"""Lists are read in parts: whoever may write objects decides how large a whole one is."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.dynamic.exceptions import GoneError

from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import JOBS, LIST_TRIES, NODES, PAGE_ITEMS, KubernetesClient, read_page

PAGES = ("a", "b", "c")
"""The names of the objects of a list, one on each page."""
EXPIRED = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {"continue": "a token of the newest version"},
    "status": "Failure",
    "message": "The provided continue parameter is too old to display a consistent list result.",
    "reason": "Expired",
    "code": 410,
}
Answer = TypeVar("Answer")


class Listing:
    """Answers with `PAGES`; `expiring` tokens of a second page have expired before it answers any."""

    def __init__(self, expiring: int = 0) -> None:
        self.asked: list[dict[str, str]] = []
        self._expiring = expiring
        self._version = 5

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        number = int(request.query.get("continue", "0"))
        if number == 1 and self._expiring:
            self._expiring -= 1
            self._version += 1
            return web.json_response(EXPIRED, status=410)
        name = PAGES[number] if self._version == 5 else f"{PAGES[number]}-{self._version}"
        more = {"continue": str(number + 1)} if number + 1 < len(PAGES) else {}
        item: dict[str, Any] = {"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"}}
        return web.json_response({"metadata": {"resourceVersion": str(self._version), **more}, "items": [item]})

    def asked_by(self, question: Callable[[KubernetesClient], Awaitable[Answer]]) -> Answer:
        async def ask() -> Answer:
            app = web.Application()
            app.router.add_get("/{path:.*}", self.answer)
            async with TestServer(app) as server:
                host = str(server.make_url("")).rstrip("/")
                async with ApiClient(Configuration(host=host)) as api:
                    return await question(KubernetesClient(api))

        return asyncio.run(ask())


def name(body: dict[str, Any]) -> str:
    return str(body["metadata"]["name"])


def test_lists_are_read_in_parts() -> None:
    server = Listing()
    server.asked_by(lambda client: KnownObjects().refresh(client, (), (JOBS,)))

    assert [asked["limit"] for asked in server.asked] == [str(PAGE_ITEMS)] * 3
    assert [asked.get("continue") for asked in server.asked] == [None, "1", "2"]


def test_of_each_object_only_what_is_wanted_is_kept() -> None:
    listed = Listing().asked_by(
        lambda client: client.list(NODES, None, lambda body: name(body).replace("b", "") or None)
    )

    assert listed.items == ["a", "c"]
    assert listed.version == 5


def test_only_pods_that_may_hold_something_are_asked_for() -> None:
    server = Listing()

    assert server.asked_by(lambda client: client.list_pods_on("node", name)) == list(PAGES)
    assert server.asked[0]["fieldSelector"] == "spec.nodeName=node,status.phase!=Failed,status.phase!=Succeeded"


@pytest.mark.parametrize(("wanted", "pages"), [("a", 1), ("b", 2), ("none", 3)])
def test_where_one_is_enough_nothing_more_is_asked_for(wanted: str, pages: int) -> None:
    server = Listing()
    found = server.asked_by(lambda client: client.first_pod_on("node", lambda pod: name(pod) == wanted or None))

    assert found == (True if wanted in PAGES else None)
    assert len(server.asked) == pages


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
LISTS = st.fixed_dictionaries(
    {"metadata": st.just({"resourceVersion": "5"}), "items": st.lists(JSON, max_size=3)},
    optional={"kind": st.text(), "other": JSON},
)


@given(LISTS, st.randoms(use_true_random=False), st.sampled_from([None, 1]), st.booleans())
def test_a_list_is_read_object_by_object_however_it_is_written(
    written: dict[str, Any], random: Any, indent: int | None, escaped: bool
) -> None:
    """Structs of the API server have their items last, custom resources in the middle."""
    members = list(written.items())
    random.shuffle(members)
    text = json.dumps(dict(members), indent=indent, ensure_ascii=escaped)
    kept: list[Any] = []
    metadata = read_page(text.encode("utf-8", "surrogatepass").decode("latin-1"), lambda item: (item,), kept)
    assert (metadata, [item for (item,) in kept]) == (written["metadata"], written["items"])


def test_a_list_that_expires_half_read_is_read_anew() -> None:
    """The API server forgets old versions: half of one and half of the next would be a list that never was."""
    listed = Listing(expiring=1).asked_by(lambda client: client.list(NODES, None, name))

    assert listed.items == ["a-6", "b-6", "c-6"]
    assert listed.version == 6


def test_a_list_that_always_expires_is_given_up_and_never_taken_for_whole() -> None:
    server, known = Listing(expiring=100), KnownObjects(with_pools=True)
    known.put(NODES, {"metadata": {"name": "b", "uid": "b", "resourceVersion": "1"}})
    with pytest.raises(GoneError):
        server.asked_by(lambda client: known.refresh(client, (), (NODES,)))

    assert len(server.asked) == 2 * LIST_TRIES
    assert [node["metadata"]["name"] for node in known.nodes] == ["b"]
