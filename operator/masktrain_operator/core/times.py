"""The one text form of a moment: RFC 3339 in UTC and whole seconds, as the Kubernetes API writes a metav1.Time.

What the API server wrote is read as it stands. Annotations are another matter: anybody may write them.

The status models of `api/` read and write theirs themselves, in the same form: `api` imports nothing of `core`. A
Lease alone has a finer one, metav1.MicroTime, which `parse_time` reads as well.
"""

from datetime import UTC, datetime

SECONDS = "%Y-%m-%dT%H:%M:%SZ"


def format_time(moment: datetime) -> str:
    """As a metav1.Time. Fractions are cut off, not rounded: a time that is written has passed.

    The same moment in another time zone is the same text.
    """
    return moment.astimezone(UTC).strftime(SECONDS)


def parse_time(text: str) -> datetime:
    """A metav1.Time or MicroTime of the API server.

    Raises ValueError for anything else, which the API server does not let into such a field.
    """
    return datetime.fromisoformat(text)


def read_time(text: str | None) -> datetime | None:
    """What a person may have edited: anything that is no time with a zone counts as absent."""
    try:
        moment = parse_time(text) if text else None
    except ValueError:
        return None
    # One without a zone can be compared with no other.
    return moment if moment is not None and moment.tzinfo is not None else None
