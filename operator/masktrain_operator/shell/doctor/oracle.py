"""Looking at one node pool through Oracle's SDK: what is answered, what is refused, and what time it is there.

Every call reads. What the operator would change is never tried.
"""

import base64
import binascii
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from oci.config import from_file
from oci.container_engine import ContainerEngineClient
from oci.core import ComputeClient
from oci.exceptions import ConfigFileNotFound, InvalidConfig, InvalidKeyFilePath, InvalidPrivateKey, ProfileNotFound
from oci.identity import IdentityClient
from oci.pagination import list_call_get_all_results
from oci.signer import Signer

from masktrain_operator.core.doctor.findings import NotSeen
from masktrain_operator.core.doctor.seen import (
    Compartment,
    Look,
    OraclePool,
    OracleView,
    PlacementConfig,
    Policies,
    SeenCluster,
)
from masktrain_operator.core.pools.oke import LEAVING_STATES
from masktrain_operator.shell.oci.access import OciAccess, OciError, OciErrorKind
from masktrain_operator.shell.oci.calls import (
    TIMEOUTS_SECONDS,
    Login,
    circuit_breaker,
    log_in,
    retry_strategy,
)
from masktrain_operator.shell.oci.errors import SDK_ERRORS, translate

REFUSALS = frozenset({OciErrorKind.DENIED, OciErrorKind.NOT_FOUND})
NOT_AUTHENTICATED = 401
DEEPEST = 10
"""Compartments lie at most six deep below the tenancy."""
PROFILE_ERRORS = (ConfigFileNotFound, ProfileNotFound, InvalidConfig, InvalidKeyFilePath, InvalidPrivateKey, OSError)
MOST_SCRIPT_BYTES = 1 << 20


@dataclass(frozen=True)
class Signing:
    """`access`: what the pool's spec says, unless `profile` of ~/.oci/config signs in its place."""

    region: str
    access: OciAccess | None
    profile: str | None = None
    as_operator: bool = False
    for_good: bool = False
    """Whether the operator could not sign in either, where the doctor cannot."""

    def login(self) -> Login:
        """Raises OciError."""
        if self.profile is None:
            assert self.access is not None
            return log_in(self.access)
        return profile_login(self.profile, self.region)


def profile_login(profile: str, region: str | None = None) -> Login:
    """A person's, in the region or that of the profile. Raises OciError if ~/.oci/config has no usable one."""
    try:
        config = from_file(profile_name=profile)
        config |= {"region": region} if region else {}
        return Login(config, Signer.from_config(config))
    except PROFILE_ERRORS as error:
        sentence = f"Cannot sign in with profile {profile} of ~/.oci/config ({type(error).__name__})."
        raise OciError(OciErrorKind.INVALID, sentence) from None


@dataclass
class Watch:
    """How far the clock of whoever answered is ahead, by the answer that took least."""

    best: tuple[float, float] | None = None
    now: Callable[[], float] = field(default=time.time)

    @property
    def ahead_seconds(self) -> float | None:
        return None if self.best is None else self.best[1]

    def note(self, headers: Mapping[str, str] | None, started: float) -> None:
        """`started`: when the question was sent, by this machine's clock."""
        sent, ended = next((v for k, v in (headers or {}).items() if k.lower() == "date"), None), self.now()
        try:
            # A Date is cut to whole seconds, so half of one is lost on average.
            there = parsedate_to_datetime(sent).timestamp() + 0.5 if sent else None
        except ValueError:
            return
        if there is not None and (self.best is None or ended - started < self.best[0]):
            self.best = (ended - started, there - (started + ended) / 2)


def look_at_pool(pool_id: str, signing: Signing, endpoint: str | None) -> tuple[OracleView, Watch]:
    """Blocks. Whatever Oracle refuses is part of the view."""
    watch = Watch()
    try:
        return _Eye(signing, endpoint, watch).view(pool_id), watch
    except OciError as error:
        refused = NotSeen(error.sentence)
        return OracleView(signing.as_operator, refused, refused, is_refused_for_good=signing.for_good), watch


class _Eye:
    def __init__(self, signing: Signing, endpoint: str | None, watch: Watch) -> None:
        """Sign in. Raises OciError."""
        login = signing.login()
        options = {
            "signer": login.signer,
            "service_endpoint": endpoint,
            "timeout": TIMEOUTS_SECONDS,
            "retry_strategy": retry_strategy(),
            "circuit_breaker_strategy": circuit_breaker(),
        }
        self._signing = signing
        self._watch = watch
        self._probes: dict[str, NotSeen | None] = {}
        self._engine = ContainerEngineClient(login.config, **options)
        self._compute = ComputeClient(login.config, **options)
        self._identity = IdentityClient(login.config, **options)

    def view(self, pool_id: str) -> OracleView:
        found = self._probe(
            "get_node_pool", f"read node pool {pool_id}", "read cluster-node-pools", self._engine.get_node_pool, pool_id
        )
        as_operator, for_good = self._signing.as_operator, self._signing.for_good
        if isinstance(found, NotSeen):
            if self._unauthenticated:
                return OracleView(as_operator, NotSeen(found.sentence), found, is_refused_for_good=for_good)
            return OracleView(as_operator, None, found, self._probes)
        pool = oracle_pool(found.data)
        self._probe_reading(pool)
        policies = self._policies(pool.compartment_id)
        return OracleView(as_operator, None, pool, self._probes, policies, self._cluster(pool.cluster_id))

    def _probe_reading(self, pool: OraclePool) -> None:
        self._probe(
            "list_work_requests",
            f"list the work requests of node pool {pool.id}",
            "read cluster-work-requests",
            self._engine.list_work_requests,
            pool.compartment_id,
            cluster_id=pool.cluster_id,
            resource_id=pool.id,
            resource_type="NODEPOOL",
            limit=1,
        )
        for instance in sorted(pool.instance_ids)[:1]:
            action = f"read instance {instance}"
            self._probe("get_instance", action, "read instance-family", self._compute.get_instance, instance)

    _unauthenticated = False

    def _probe(self, name: str, action: str, right: str, call: Any, *arguments: Any, **options: Any) -> Any:
        answer = self._ask(action, right, call, *arguments, **options)
        self._probes[name] = answer if isinstance(answer, NotSeen) else None
        return answer

    def _ask(self, action: str, right: str, call: Any, *arguments: Any, **options: Any) -> Any:
        """The SDK's response, or why there is none."""
        started = self._watch.now()
        try:
            response = call(*arguments, **options)
        except SDK_ERRORS as error:
            self._watch.note(getattr(error, "headers", None), started)
            self._unauthenticated |= getattr(error, "status", None) == NOT_AUTHENTICATED
            found = translate(error, action)
            return NotSeen(found.sentence, right if found.kind in REFUSALS else "")
        self._watch.note(response.headers, started)
        return response

    def _policies(self, compartment_id: str) -> Look[Policies]:
        chain = self._compartments(compartment_id)
        if isinstance(chain, NotSeen):
            return chain
        statements = list[str]()
        for compartment in chain:
            action, right = f"list the policies of compartment {compartment.name}", "read policies in the tenancy"
            found = self._ask(action, right, list_call_get_all_results, self._identity.list_policies, compartment.id)
            if isinstance(found, NotSeen):
                return found
            active = (policy for policy in found.data if policy.lifecycle_state in (None, "ACTIVE"))
            statements += [statement for policy in active for statement in policy.statements]
        return Policies(chain, tuple(statements))

    def _compartments(self, compartment_id: str) -> Look[tuple[Compartment, ...]]:
        """It and all that it lies in."""
        chain, wanted = list[Compartment](), compartment_id
        while wanted and len(chain) < DEEPEST and wanted not in [each.id for each in chain]:
            action, right = f"read compartment {wanted}", "inspect compartments in the tenancy"
            # The first is the operator's own need; those above are the doctor's.
            ask = self._ask if chain else self._probe_compartment
            found = ask(action, right, self._identity.get_compartment, wanted)
            if isinstance(found, NotSeen):
                return found
            chain.append(Compartment(found.data.id, found.data.name or ""))
            wanted = found.data.compartment_id
        return tuple(chain)

    def _probe_compartment(self, action: str, right: str, call: Any, wanted: str) -> Any:
        return self._probe("get_compartment", action, right, call, wanted)

    def _cluster(self, cluster_id: str) -> Look[SeenCluster]:
        right = "read clusters"
        cluster = self._ask(f"read cluster {cluster_id}", right, self._engine.get_cluster, cluster_id)
        if isinstance(cluster, NotSeen):
            return cluster
        listing = self._engine.list_addons
        addons = self._ask(f"list the add-ons of {cluster_id}", right, list_call_get_all_results, listing, cluster_id)
        if isinstance(addons, NotSeen):
            return addons
        kind = cluster.data.type
        enhanced = None if kind is None else kind == "ENHANCED_CLUSTER"
        return SeenCluster(enhanced, {addon.name: addon.lifecycle_state for addon in addons.data})


def oracle_pool(model: Any) -> OraclePool:
    """From oci.container_engine.models.NodePool."""
    settings, source = model.node_config_details, model.node_source_details
    placements = (settings.placement_configs if settings is not None else None) or ()
    name = getattr(model.node_source, "source_name", None) or model.node_image_name
    return OraclePool(
        id=model.id,
        name=model.name or "",
        compartment_id=model.compartment_id,
        cluster_id=model.cluster_id,
        shape=model.node_shape,
        image=name or getattr(source, "image_id", None) or "of an unknown name",
        placements=tuple(
            PlacementConfig(each.availability_domain, bool(each.capacity_reservation_id)) for each in placements
        ),
        preemptible=any(each.preemptible_node_config for each in placements),
        boot_volume_gb=getattr(source, "boot_volume_size_in_gbs", None),
        cloud_init=_script((model.node_metadata or {}).get("user_data")),
        kms_key_id=getattr(settings, "kms_key_id", None),
        has_security_groups=bool(getattr(settings, "nsg_ids", None)),
        has_defined_tags=bool(getattr(settings, "defined_tags", None)),
        instance_ids=frozenset(n.id for n in model.nodes or () if n.id and n.lifecycle_state not in LEAVING_STATES),
    )


def _script(encoded: str | None) -> Look[str] | None:
    """What cloud-init will be given: Base64, and compressed where it would be too long."""
    if not encoded:
        return None
    try:
        content = base64.b64decode(encoded, validate=False)
        if content.startswith(b"\x1f\x8b"):
            content = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, MOST_SCRIPT_BYTES)
        return content.decode(errors="replace")
    except (binascii.Error, ValueError, zlib.error):
        return NotSeen("the pool's user_data is no text in Base64, so what cloud-init does is not known")
