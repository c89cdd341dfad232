"""Stopping when the fitness has not risen for a number of epochs."""

from typing import Any


class EarlyStopping:
    """Remembers the best epoch. Only a strictly higher fitness is better: a plateau counts as standing still."""

    def __init__(self, patience: int) -> None:
        """patience: epochs without a better one until `should_stop`; 0 means never."""
        self.patience = patience
        self.best_epoch = 0
        self.best_fitness = -1.0
        """Below every fitness, so that the first validated epoch is the best so far, even at zero."""

    def record(self, epoch: int, fitness: float) -> bool:
        """Take in an epoch's fitness; whether it is the best so far. NaN never is."""
        if not fitness > self.best_fitness:
            return False
        self.best_epoch, self.best_fitness = epoch, fitness
        return True

    def should_stop(self, epoch: int) -> bool:
        return self.patience > 0 and epoch - self.best_epoch >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"best_epoch": self.best_epoch, "best_fitness": self.best_fitness}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_epoch = int(state["best_epoch"])
        self.best_fitness = float(state["best_fitness"])
