"""What every call has in common: parameters, pages, the answer."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.oci.errors import invalid

DEFAULT_PAGE = 100
DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?")
MAX_GRACE_SECONDS = 3600.0  # PT60M
TRUTHS = {"true": True, "false": False}


@dataclass(frozen=True)
class Parameters:
    """What a call says. `body` is the parsed JSON of a PUT, else empty."""

    path: dict[str, str]
    query: dict[str, list[str]]
    if_match: str | None
    body: dict[str, Any]

    def one(self, name: str) -> str | None:
        """A query parameter that is given once."""
        return self.query[name][0] if self.query.get(name) else None

    def required(self, name: str) -> str:
        """A query parameter that must be there. Raises ServiceError 400."""
        value = self.one(name)
        if value is None:
            raise invalid(f"{name} is missing")
        return value

    def truth(self, name: str) -> bool | None:
        """A query parameter that is true or false. Raises ServiceError 400."""
        value = self.one(name)
        if value is None:
            return None
        if value.lower() not in TRUTHS:
            raise invalid(f"{name} must be true or false, not {value!r}")
        return TRUTHS[value.lower()]

    def grace(self, name: str) -> float | None:
        """A duration of at most an hour, in ISO 8601; in seconds. Raises ServiceError 400."""
        value = self.one(name)
        if value is None:
            return None
        found = DURATION.fullmatch(value)
        if not found or not any(found.groups()):
            raise invalid(f"{name} must be an ISO 8601 duration such as PT5M, not {value!r}")
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        if (total := float(hours * 3600 + minutes * 60 + seconds)) > MAX_GRACE_SECONDS:
            raise invalid(f"{name} may be at most PT60M")
        return total


@dataclass(frozen=True)
class Answer:
    """A successful answer; without `body` it is 202 and says only that work has begun."""

    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def response(self) -> web.Response:
        if self.body is None:
            return web.Response(status=202, headers=self.headers)
        return web.json_response(self.body, headers=self.headers)


def page(items: Sequence[Any], parameters: Parameters) -> Answer:
    """The wanted page of a list; `opc-next-page` names the next one."""
    limit = int(parameters.one("limit") or DEFAULT_PAGE)
    start = int(parameters.one("page") or 0)
    more = {"opc-next-page": str(start + limit)} if start + limit < len(items) else {}
    return Answer(list(items[start : start + limit]), more)


Operation = Callable[[Parameters], Answer]


@dataclass(frozen=True)
class Route:
    """One operation, under the SDK's name for it."""

    method: str
    path: str
    name: str
    operation: Operation
