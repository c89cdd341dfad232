"""The pod of rank 0, which speaks for its attempt."""

from collections.abc import Iterable

from . import jobs, pods
from .types import Manifest, Observed


def rank_zero_pod(observed: Observed) -> Manifest | None:
    """Rank 0's pod of the newest attempt that has pods; a live one before a terminal one of the same attempt."""
    newest = max(map(jobs.attempt_number, (*observed.jobs, *observed.pods)), default=-1)
    return newest_rank_zero(pod for pod in observed.pods if jobs.attempt_number(pod) == newest)


def newest_rank_zero(candidates: Iterable[Manifest]) -> Manifest | None:
    """Among pods of one attempt there can be two when its Job was deleted and made again."""
    of_rank_zero = [pod for pod in candidates if pods.node_rank(pod) == 0]
    return max(of_rank_zero, key=_liveliness, default=None)


def _liveliness(pod: Manifest) -> tuple[bool, str, str]:
    return not pods.is_terminal(pod), pod["metadata"].get("creationTimestamp", ""), pods.name(pod)
