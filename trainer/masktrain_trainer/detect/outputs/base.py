"""What every output takes: a frame with what was found in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from masktrain_trainer.detect.detector import Detection
from masktrain_trainer.detect.sources.base import Frame


@dataclass(frozen=True)
class Detected:
    """detections: by falling confidence, in pixels of the frame."""

    frame: Frame
    detections: Sequence[Detection]


class Output(Protocol):
    def write(self, detected: Detected) -> None:
        """Frames come in the order of the source. Raises UserError, of a full disk for instance."""

    def close(self) -> None:
        """Finish what is open, so that it can be read, also after an error. May be called again."""
