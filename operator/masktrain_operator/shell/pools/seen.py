"""What was last seen of a node pool from outside the operator's caches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from masktrain_operator.core.pools.gpu_pods import GpuPod
from masktrain_operator.core.pools.oke import Instance, OkePool


@dataclass(frozen=True)
class Seen:
    """`foreign_pods`: by Node, those with GPUs that work for no MaskTrainingJob; other Nodes were not asked for."""

    oke: OkePool
    at: float
    foreign_pods: Mapping[str, tuple[GpuPod, ...]] = field(default_factory=dict)
    instances: Mapping[str, Instance] = field(default_factory=dict)
    ended: Mapping[str, datetime] = field(default_factory=dict)
