"""Oracle's Compute, base path /20160918: the few calls that tell what is billed."""

from tests.fakes.oci import wire
from tests.fakes.oci.calls import Answer, Parameters, Route, page
from tests.fakes.oci.cloud import FakeCloud
from tests.fakes.oci.shapes import SHAPES

BASE = "/20160918"


class Compute:
    """Reads instances and shapes."""

    def __init__(self, cloud: FakeCloud) -> None:
        """Serve what `cloud` holds."""
        self._cloud = cloud

    @property
    def routes(self) -> list[Route]:
        """Every operation with its path."""
        return [
            Route("GET", f"{BASE}/instances", "list_instances", self.list_instances),
            Route("GET", f"{BASE}/instances/{{instance}}", "get_instance", self.get_instance),
            Route("GET", f"{BASE}/shapes", "list_shapes", self.list_shapes),
        ]

    def list_instances(self, parameters: Parameters) -> Answer:
        compartment = parameters.required("compartmentId")
        found = [
            wire.instance(node)
            for node in self._cloud.instances()
            if node.pool.compartment_id == compartment
            and parameters.one("displayName") in (None, node.name)
            and parameters.one("availabilityDomain") in (None, node.availability_domain)
            and parameters.one("lifecycleState") in (None, node.instance_state)
        ]
        return page(found, parameters)

    def get_instance(self, parameters: Parameters) -> Answer:
        node = self._cloud.instance(parameters.path["instance"])
        return Answer(wire.instance(node), {"etag": f"{node.instance_id}-{node.instance_state}"})

    def list_shapes(self, parameters: Parameters) -> Answer:
        parameters.required("compartmentId")
        names = {*SHAPES, *(pool.settings.shape for pool in self._cloud.pools.values())}
        wanted = parameters.one("shape")
        return page([wire.shape(name) for name in sorted(names) if wanted in (None, name)], parameters)
