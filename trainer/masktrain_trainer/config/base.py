"""How every document between processes and in the API is spelled: camelCase JSON, no unknown keys, immutable."""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Contract(BaseModel):
    # forbid: a misspelt field would be a setting that does nothing, in silence.
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, exclude_none=True)


def not_filled_in(schema: dict[str, Any]) -> None:
    """The API server would write a default into the objects of an earlier version, whose operator, after a roll-back,
    refuses fields that it does not know. So fields that came later have none in the schema.
    """
    del schema["default"]


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")
"""Control characters, line and paragraph separators, what turns the direction of text, and halves of characters."""


def plain_text(text: str, longest: int = 4096) -> str:
    """One line of what others wrote, cut: it moves no cursor, begins no line of a log, and hides no other word."""
    # Cut first: a text of many megabytes would be searched for nothing.
    plain = _UNPRINTABLE.sub(" ", text[: longest + 1])
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"
