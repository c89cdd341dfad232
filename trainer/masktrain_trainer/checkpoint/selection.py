"""Which checkpoint becomes best.pt, and which one a resume takes: the best and the newest of several. Pure."""

from collections.abc import Iterable

from .manifest import Manifest


def newest_first(manifests: Iterable[Manifest]) -> list[Manifest]:
    """By attempt, run and step: a later run counts as newer even if it was cut off earlier."""
    return sorted(manifests, key=lambda manifest: manifest.age_order, reverse=True)


def best(manifests: Iterable[Manifest]) -> Manifest | None:
    """The highest fitness, the earliest on a tie; None if no validated checkpoint holds a model."""
    candidates = [manifest for manifest in manifests if manifest.has_model and manifest.fitness is not None]
    return next(iter(sorted(candidates, key=_rank)), None)


def models_best_first(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Checkpoints whose model could be a job's result: the validated ones, then, newest first, the others."""
    with_model = [manifest for manifest in newest_first(manifests) if manifest.has_model]
    validated = [manifest for manifest in with_model if manifest.fitness is not None]
    return [*sorted(validated, key=_rank), *(manifest for manifest in with_model if manifest.fitness is None)]


def _rank(manifest: Manifest) -> tuple[float, tuple[int, int, int]]:
    return (-(manifest.fitness or 0.0), manifest.age_order)
