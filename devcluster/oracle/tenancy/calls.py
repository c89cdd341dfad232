"""Calls of Identity (base path /20160918) and those of Container Engine about the cluster, as far as a look takes them.

https://docs.oracle.com/iaas/api/#/en/identity/20160918/ and https://docs.oracle.com/iaas/api/#/en/containerengine/20180222/
"""

from devcluster.oracle.api import COMPUTE_BASE, ENGINE_BASE, Answer, Parameters, Route, page
from devcluster.oracle.cloud import FakeCloud
from devcluster.oracle.failures import not_found

IDENTITY_BASE = COMPUTE_BASE


class Identity:
    """Reads compartments and policies."""

    def __init__(self, cloud: FakeCloud) -> None:
        """Serve what `cloud` holds."""
        self._tenancy = cloud.tenancy

    @property
    def routes(self) -> list[Route]:
        """Every operation with its path."""
        compartment = f"{IDENTITY_BASE}/compartments/{{compartment}}"
        return [
            Route("GET", compartment, "get_compartment", self.get_compartment),
            Route("GET", f"{IDENTITY_BASE}/policies", "list_policies", self.list_policies),
        ]

    def get_compartment(self, parameters: Parameters) -> Answer:
        ocid = parameters.path["compartment"]
        found = self._tenancy.compartments.get(ocid)
        if found is None:
            raise not_found(f"compartment {ocid}")
        return Answer({"id": ocid, "name": found.name, "compartmentId": found.parent, "lifecycleState": "ACTIVE"})

    def list_policies(self, parameters: Parameters) -> Answer:
        """Only those of this very compartment: what holds below it stands with its parents."""
        wanted = parameters.required("compartmentId")
        policies = [
            {
                "id": f"ocid1.policy.oc1..fakepolicy{number}",
                "name": f"policy-{number}",
                "compartmentId": policy.compartment,
                "statements": policy.statements,
                "lifecycleState": policy.state,
            }
            for number, policy in enumerate(self._tenancy.policies)
            if policy.compartment == wanted
        ]
        return page(policies, parameters)


class Clusters:
    """Reads the one cluster that the node pools belong to."""

    def __init__(self, cloud: FakeCloud) -> None:
        """Serve what `cloud` holds."""
        self._cloud = cloud

    @property
    def routes(self) -> list[Route]:
        """Every operation with its path."""
        cluster = f"{ENGINE_BASE}/clusters/{{cluster}}"
        return [
            Route("GET", cluster, "get_cluster", self.get_cluster),
            Route("GET", f"{cluster}/addons", "list_addons", self.list_addons),
        ]

    def get_cluster(self, parameters: Parameters) -> Answer:
        ocid = self._known(parameters)
        return Answer({"id": ocid, "name": "gpu", "lifecycleState": "ACTIVE", "type": self._cloud.tenancy.cluster_type})

    def list_addons(self, parameters: Parameters) -> Answer:
        self._known(parameters)
        addons = self._cloud.tenancy.addons.items()
        return page([{"name": name, "lifecycleState": state} for name, state in addons], parameters)

    def _known(self, parameters: Parameters) -> str:
        ocid = parameters.path["cluster"]
        if ocid not in {pool.settings.cluster_id for pool in self._cloud.pools.values()}:
            raise not_found(f"cluster {ocid}")
        return ocid
