"""The node pools that are simulated: one of virtual machines, one of bare metal."""

from dataclasses import dataclass
from decimal import Decimal

from masktrain_operator.core import shapes

MAX_NODES = 8


@dataclass(frozen=True)
class Shape:
    name: str

    @property
    def gpus(self) -> int:
        return self._listed.gpus

    @property
    def minimum_seconds(self) -> int:
        """Billed for each node at least."""
        return shapes.minimum_billed_seconds(self.name)

    @property
    def usd_per_gpu_hour(self) -> Decimal:
        return self._listed.usd_per_gpu_hour

    @property
    def _listed(self) -> shapes.Shape:
        found = shapes.find_shape(self.name)
        assert found is not None
        return found


SHAPES = (Shape("VM.GPU3.4"), Shape("BM.GPU.H100.8"))
