"""The training part of an attempt's progress, as rank 0 writes it and the supervisor serves it."""

from masktrain_trainer.config import Contract, Losses, Phase


class TrainingProgress(Contract):
    """A subset of `Progress`, with the same meanings."""

    phase: Phase
    epoch: int
    epochs: int
    batch: int = 0
    batches: int = 0
    step: int
    images_per_second: float | None = None
    eta_seconds: int | None = None
    losses: Losses | None = None
    map50: float | None = None
    map50_95: float | None = None
    stopped_early: bool = False
