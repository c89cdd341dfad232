"""What a node pool at Oracle is like: can it be seen, where its nodes go, what they cost, how their disks begin."""

import re
from collections.abc import Iterator, Sequence

from masktrain_operator.api.pool_spec import PoolAuth
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.shapes import Fit, check_shape, find_shape

from .findings import Check, Finding, Level, NotSeen, unseen
from .policies import UNKNOWN_CLUSTER, UNKNOWN_COMPARTMENT, workload
from .seen import GIB, OraclePool, OracleView, Seen, SeenNode, pool_name

DEFAULT_BOOT_GB = 50
"""An image's own boot volume is about 46.6 GB; whoever asks for as much has nothing to grow."""
GROWN_PART = 0.75
"""Of a boot volume that was grown, the root file system has at least this; what is not grown stays at about 36 GiB:
https://www.ateam-oracle.com/oke-node-sizing-for-very-large-container-images"""
GROWS = ("growfs", "growpart")
JOINS = ("oke_init_script", "oke-init", "oke bootstrap", "oke-install")
"""What makes a node of Oracle's images, or of Ubuntu's, join the cluster. A script of one's own replaces Oracle's:
https://docs.oracle.com/en-us/iaas/Content/ContEng/Tasks/contengusingcustomcloudinitscripts.htm"""
CLOUD_INIT = (
    "#!/bin/bash",
    (
        'curl --fail -H "Authorization: Bearer Oracle" -L0 '
        "http://169.254.169.254/opc/v2/instance/metadata/oke_init_script | base64 --decode >/var/run/oke-init.sh"
    ),
    "bash /var/run/oke-init.sh",
    "/usr/libexec/oci-growfs -y",
)
_ORACLE_LINUX = re.compile(r"^Oracle-Linux-", re.IGNORECASE)
_WITHOUT_DRIVER = re.compile(r"^Oracle-Linux-[\d.]+-(?!.*GPU)(aarch64-)?\d{4}\.\d{2}\.\d{2}", re.IGNORECASE)
"""Oracle's names, as in Oracle-Linux-8.10-2024.09.30-0-OKE-1.30.1-747; those with a driver have Gen2-GPU in them."""


def has_no_driver(image: str) -> bool:
    """Whether it is known that Oracle made the image without NVIDIA's driver."""
    return _WITHOUT_DRIVER.match(image) is not None


def pool_findings(seen: Seen, pool: GPUNodePool) -> Iterator[Finding]:
    """Everything but the policies and the nodes."""
    view = seen.oracle.get(pool.metadata.name)
    if view is not None:
        yield from _access(seen, pool, view)
    oke = seen.oracle_pool(pool)
    if oke is None:
        return
    yield _cluster_type(pool, oke, view)
    yield _domains(pool, oke)
    yield from _prices(pool, oke)
    yield from _boot_volume(pool, oke, seen.nodes_of(pool))


def _access(seen: Seen, pool: GPUNodePool, view: OracleView) -> Iterator[Finding]:
    about, auth = pool_name(pool), pool.spec.auth.type
    if view.sign_in is not None:
        level = Level.FAULT if view.is_refused_for_good else Level.UNKNOWN
        yield Finding(Check.SIGN_IN, about, level, view.sign_in.sentence, view.sign_in.advice, blind=True)
        return
    if isinstance(view.pool, OraclePool):
        yield Finding(
            Check.SIGN_IN, about, Level.OK, f"{auth}: Oracle shows node pool {view.pool.name or view.pool.id}"
        )
        return
    if view.as_operator and view.pool.right:
        # A fault of the policies, which say it.
        return
    yield _blind(seen, pool, view.pool, auth)


def _blind(seen: Seen, pool: GPUNodePool, look: NotSeen, auth: PoolAuth) -> Finding:
    """The doctor may not look, which says nothing about the operator."""
    own = seen.operator.own_account
    if auth is not PoolAuth.WORKLOAD_IDENTITY or own is None or not look.right:
        return unseen(Check.SIGN_IN, pool_name(pool), look, blind=True)
    namespace, _, account = own.partition("/")
    statements = doctor_statements(namespace, account, UNKNOWN_CLUSTER, UNKNOWN_COMPARTMENT)
    advice = (
        f"ServiceAccount {own}, which the doctor runs as, may not look. Let it read with these statements, or run the "
        f"doctor in the operator's own pod: kubectl -n {seen.operator.namespace} exec "
        f"deploy/{seen.operator.accounts[0]} -- masktrain doctor"
    )
    about = pool_name(pool)
    return Finding(Check.SIGN_IN, about, Level.UNKNOWN, look.sentence, advice, statements, blind=True)


DOCTOR_READS = ("cluster-family", "instance-family", "policies", "compartments")


def doctor_statements(namespace: str, account: str, cluster_id: str, compartment_id: str) -> tuple[str, ...]:
    """What lets a doctor with a ServiceAccount of its own look at everything, and change nothing."""
    who = workload(namespace, account, cluster_id)
    conditions = ", ".join(f"{name} = '{value}'" for name, value in who.variables.items())
    places = {"policies": "tenancy", "compartments": "tenancy"}
    return tuple(
        f"Allow any-user to read {resource} in {places.get(resource, f'compartment id {compartment_id}')} "
        f"where all {{{conditions}}}"
        for resource in DOCTOR_READS
    )


def _cluster_type(pool: GPUNodePool, oke: OraclePool, view: OracleView | None) -> Finding:
    about, look = pool_name(pool), None if view is None else view.cluster
    if pool.spec.auth.type is not PoolAuth.WORKLOAD_IDENTITY:
        return Finding(Check.CLUSTER, about, Level.OK, f"{pool.spec.auth.type} works in every kind of cluster")
    if look is None or isinstance(look, NotSeen):
        return unseen(Check.CLUSTER, about, look or NotSeen("the cluster was not looked at"))
    if look.is_enhanced is False:
        return Finding(
            Check.CLUSTER,
            about,
            Level.FAULT,
            "WorkloadIdentity takes an enhanced cluster, and this is a basic one",
            "Upgrade it, which cannot be undone, or choose another spec.auth.type.",
            (f"oci ce cluster update --cluster-id {oke.cluster_id} --type ENHANCED_CLUSTER",),
        )
    return Finding(Check.CLUSTER, about, Level.OK, "the cluster is an enhanced one, as WorkloadIdentity takes")


def _domains(pool: GPUNodePool, oke: OraclePool) -> Finding:
    domains = list(dict.fromkeys(placement.availability_domain for placement in oke.placements))
    if len(domains) <= 1:
        return Finding(Check.DOMAINS, pool_name(pool), Level.OK, f"all nodes in {''.join(domains) or 'one domain'}")
    return Finding(
        Check.DOMAINS,
        pool_name(pool),
        Level.WARNING,
        f"nodes come in {', '.join(domains)}: the gang of a job may be spread over them, and where one has no capacity "
        "a request for more nodes may fail as a whole",
        "Make one OKE node pool for each availability domain, and a GPUNodePool for each of those.",
    )


def _prices(pool: GPUNodePool, oke: OraclePool) -> Iterator[Finding]:
    about, shape, fit = pool_name(pool), find_shape(oke.shape), check_shape(oke.shape)
    if fit.fit is Fit.NOT_SUPPORTED and not pool.spec.skip_shape_check:
        advice = "Use another shape, or see docs/gpus.md for images of your own."
        yield Finding(Check.PRICES, about, Level.FAULT, f"{fit.sentence}: the pool never grows", advice)
        return
    if shape is None and pool.spec.gpus_per_node is None:
        yield Finding(
            Check.PRICES,
            about,
            Level.FAULT,
            f"shape {oke.shape} is not in the table of shapes, so the pool is Stalled",
            "Set spec.gpusPerNode, and spec.hourlyPrice so that its costs are known.",
        )
        return
    if shape is None and pool.spec.hourly_price is None:
        said = f"what a node of shape {oke.shape} costs is not known: costs are not counted, jobs with maxCost refused"
        yield Finding(Check.PRICES, about, Level.WARNING, said, "Set spec.hourlyPrice.")
        return
    if shape is not None and oke.preemptible and not shape.allows_preemptible:
        said = f"the pool asks for preemptible nodes, which Oracle does not offer for shape {oke.shape}"
        advice = "Make the pool anew without preemptible capacity."
        yield Finding(Check.PRICES, about, Level.WARNING, said, advice)
        return
    price = pool.spec.hourly_price or f"{shape.usd_per_hour if shape else ''}"
    yield Finding(Check.PRICES, about, Level.OK, f"{oke.shape}, {price} USD an hour on demand")


def _boot_volume(pool: GPUNodePool, oke: OraclePool, nodes: Sequence[SeenNode]) -> Iterator[Finding]:
    """What stands is the best witness; without nodes the script says what will be."""
    about, script = pool_name(pool), oke.cloud_init
    readable = script if isinstance(script, str) else None
    if readable is not None and not any(word in readable for word in JOINS) and not any(n.ready for n in nodes):
        yield Finding(
            Check.BOOT_VOLUME,
            about,
            Level.FAULT,
            "the pool's own cloud-init script replaces Oracle's and does not start it: its nodes never join",
            "Put Oracle's lines into it.",
            CLOUD_INIT,
        )
        return
    size = oke.boot_volume_gb
    if size is None or size <= DEFAULT_BOOT_GB:
        yield Finding(Check.BOOT_VOLUME, about, Level.OK, "as large as the image makes it, so nothing is to be grown")
        return
    witnesses = [node for node in nodes if node.capacity_bytes is not None]
    if witnesses:
        yield _grown(about, size, witnesses)
    elif isinstance(script, NotSeen):
        yield unseen(Check.BOOT_VOLUME, about, script)
    elif readable is not None and any(word in readable for word in GROWS):
        yield Finding(Check.BOOT_VOLUME, about, Level.OK, f"{size} GB, and cloud-init grows the file system")
    else:
        yield _not_grown(about, size, oke)


def _grown(about: str, size: int, witnesses: Sequence[SeenNode]) -> Finding:
    small = [node for node in witnesses if (node.capacity_bytes or 0) < GROWN_PART * size * 10**9]
    if not small:
        return Finding(Check.BOOT_VOLUME, about, Level.OK, f"{size} GB, and the nodes have it")
    have = ", ".join(f"{node.name} {(node.capacity_bytes or 0) / GIB:.0f} GiB" for node in small)
    return Finding(
        Check.BOOT_VOLUME,
        about,
        Level.FAULT,
        f"the boot volume has {size} GB, but the file system was not grown: {have}",
        "Grow it in cloud-init; nodes that stand keep theirs until they are replaced.",
        CLOUD_INIT,
    )


def _not_grown(about: str, size: int, oke: OraclePool) -> Finding:
    if _ORACLE_LINUX.match(oke.image) is None:
        said = f"the boot volume has {size} GB; whether image {oke.image} grows its file system is not known"
        return Finding(Check.BOOT_VOLUME, about, Level.WARNING, said, "If it does not, grow it in cloud-init.")
    said = f"the boot volume has {size} GB, but nothing grows the file system: nodes will have about 36 GiB"
    return Finding(Check.BOOT_VOLUME, about, Level.FAULT, said, "Grow it in cloud-init.", CLOUD_INIT)
