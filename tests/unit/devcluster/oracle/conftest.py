"""The real SDK's clients, pointed at the fake; without their retries, so that each answer is seen."""

from collections.abc import Iterator
from typing import Any

import oci
import pytest

from devcluster.oracle.clock import FakeClock
from devcluster.oracle.running import FakeOci
from tests.devcluster.fixtures import POOL

Fake = FakeOci[FakeClock]


class Oke:
    """Container Engine and Compute in the words of these tests."""

    def __init__(self, fake: Fake) -> None:
        options = {"service_endpoint": fake.endpoint, "retry_strategy": oci.retry.NoneRetryStrategy()}
        self.engine = oci.container_engine.ContainerEngineClient(fake.sdk_config, **options)
        self.compute = oci.core.ComputeClient(fake.sdk_config, **options)
        self._fake = fake

    @property
    def pool(self) -> Any:
        return self.engine.get_node_pool(POOL.id).data

    @property
    def etag(self) -> str:
        return str(self.engine.get_node_pool(POOL.id).headers["etag"])

    @property
    def instance_ids(self) -> list[str]:
        return [node.id for node in self.pool.nodes if node.lifecycle_state != "DELETED"]

    def resize(self, size: int, **options: Any) -> str:
        """Returns the work request."""
        models = oci.container_engine.models
        details = models.UpdateNodePoolDetails(node_config_details=models.UpdateNodePoolNodeConfigDetails(size=size))
        return str(self.engine.update_node_pool(POOL.id, details, **options).headers["opc-work-request-id"])

    def delete(self, instance_id: str, **options: Any) -> str:
        """As a careful client does it. Returns the work request."""
        careful = {
            "is_decrement_size": True,
            "override_eviction_grace_duration": "PT0M",
            "is_force_deletion_after_override_grace_duration": True,
        }
        answer = self.engine.delete_node(POOL.id, instance_id, **{**careful, **options})
        return str(answer.headers["opc-work-request-id"])

    def grow(self, size: int) -> list[str]:
        """Returns the instances, all ACTIVE."""
        self.resize(size)
        self._fake.clock.advance(POOL.boot_seconds * 2)
        return self.instance_ids

    def work_request(self, work_request: str) -> Any:
        return self.engine.get_work_request(work_request).data

    def errors(self, work_request: str) -> list[Any]:
        found: list[Any] = self.engine.list_work_request_errors(POOL.compartment_id, work_request).data
        return found


@pytest.fixture
def oke(fake_oci: Fake) -> Iterator[Oke]:
    clients = Oke(fake_oci)
    yield clients
    clients.engine.base_client.session.close()
    clients.compute.base_client.session.close()
