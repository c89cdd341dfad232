"""The machines behind the instances: nothing by default, real kubelets in the dev cluster."""

from typing import Protocol

from tests.fakes.oci.pool_state import Node


class Machines(Protocol):
    """Told by the life cycle, which holds the cloud's lock meanwhile: slow work belongs elsewhere."""

    def switch_on(self, node: Node) -> None:
        """It has booted: let it join Kubernetes."""

    def switch_off(self, node: Node) -> None:
        """It was terminated: end it, and remove its Node as OKE's controller does."""

    def cut_power(self, node: Node) -> None:
        """It dies; Kubernetes is not told."""


class NoMachines:
    """Instances exist in the books alone."""

    def switch_on(self, node: Node) -> None: ...

    def switch_off(self, node: Node) -> None: ...

    def cut_power(self, node: Node) -> None: ...
