"""What is around the pools: the cluster's definitions, places of data and checkpoints, and everybody's clocks."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from masktrain_operator.api.v1alpha1 import GPUNodePool

from .findings import Check, Finding, Level, NotSeen, unseen
from .seen import Seen, SeenClock, SeenStore, pool_name

NATIVE = "oci://"
S3 = "s3://"
ORACLES = (".oraclecloud.com", ".oci.customer-oci.com")
_S3_HOST = re.compile(r"[\w-]+\.compat\.objectstorage\.[a-z0-9-]+\.(oraclecloud\.com|oci\.customer-oci\.com)")
S3_FORM = "https://<namespace>.compat.objectstorage.<region>.oraclecloud.com"


def addresses_to_reach(pools: Sequence[GPUNodePool], stores: Sequence[SeenStore]) -> list[str]:
    """Of Object Storage: in the regions of the pools, and where jobs keep things by Oracle's own API."""
    native = [store for store in stores if store.uri.startswith(NATIVE)]
    regions = [*(pool.spec.region for pool in pools), *(s.region for s in native if s.region and not s.endpoint)]
    named = [_origin(store.endpoint) for store in native if store.endpoint]
    return list(dict.fromkeys([*map(object_storage_in, regions), *named]))


def object_storage_in(region: str) -> str:
    return f"https://objectstorage.{region}.oraclecloud.com"


def _origin(endpoint: str) -> str:
    address = urlsplit(endpoint)
    return f"{address.scheme}://{address.netloc}"


def surrounding_findings(seen: Seen) -> Iterator[Finding]:
    """All but the pools themselves."""
    yield from _cluster(seen)
    yield from _reached(seen)
    yield from _s3(seen)
    for clock in seen.clocks:
        yield _clock(clock)


def _cluster(seen: Seen) -> Iterator[Finding]:
    about = "GPUNodePools"
    if isinstance(seen.pools, NotSeen):
        yield unseen(Check.CLUSTER, about, seen.pools, blind=True)
        return
    for name, problem in seen.unreadable:
        said = f"this version cannot read it: {problem}"
        yield Finding(Check.CLUSTER, f"GPUNodePool {name}", Level.FAULT, said, "Correct its spec.")
    if not seen.pools and not seen.unreadable:
        yield Finding(
            Check.CLUSTER, about, Level.WARNING, "there are none, so hardly anything can be looked at", "Create one."
        )
    if isinstance(seen.nodes, NotSeen):
        yield unseen(Check.CLUSTER, "nodes", seen.nodes, blind=True)
    by_ocid = defaultdict[str, list[GPUNodePool]](list)
    for pool in seen.pools:
        by_ocid[pool.spec.node_pool_id].append(pool)
    for ocid, same in by_ocid.items():
        if len(same) > 1:
            names = " and ".join(map(pool_name, same))
            said = f"both name node pool {ocid}, and would undo each other's changes"
            yield Finding(Check.CLUSTER, names, Level.FAULT, said, "Delete all but one.")


def _reached(seen: Seen) -> Iterator[Finding]:
    for look in seen.reached:
        if look.failure is None:
            yield Finding(Check.OBJECT_STORAGE, look.address, Level.OK, "answers from where the doctor runs")
            continue
        said = f"does not answer from where the doctor runs: {look.failure.sentence}"
        advice = (
            "Check the service or NAT gateway of the subnet, its route table, security lists and NetworkPolicies; pods "
            "of jobs need the same way."
        )
        yield Finding(Check.OBJECT_STORAGE, look.address, Level.FAULT, said, advice)


def _s3(seen: Seen) -> Iterator[Finding]:
    """Endpoints of Oracle that cannot speak S3, by their names."""
    if isinstance(seen.stores, NotSeen):
        yield unseen(Check.OBJECT_STORAGE, "the stores of jobs", seen.stores)
        return
    wrong = defaultdict[str, list[str]](list)
    for store in seen.stores:
        host = urlsplit(store.endpoint or "").hostname or ""
        if store.uri.startswith(S3) and host.endswith(ORACLES) and not _S3_HOST.fullmatch(host):
            wrong[store.endpoint or ""].append(store.job)
    for endpoint, jobs in wrong.items():
        said = f"{endpoint} is not Oracle's endpoint for s3:// URIs"
        advice = f"Set store.endpoint to {S3_FORM}, or use an oci:// URI."
        yield Finding(
            Check.OBJECT_STORAGE, ", ".join(dict.fromkeys(f"job {j}" for j in jobs)), Level.FAULT, said, advice
        )


REFUSED_SECONDS = 300
"""Oracle refuses requests whose date is more than five minutes off. As long without a sign of life the operator counts
as gone, by the sweeper's clock."""
NOTICED_SECONDS = 30


def _clock(clock: SeenClock) -> Finding:
    if clock.ahead_seconds is None:
        return Finding(Check.CLOCKS, clock.whose, Level.UNKNOWN, "nobody answered who would have told the time")
    off = abs(clock.ahead_seconds)
    if off < NOTICED_SECONDS:
        return Finding(Check.CLOCKS, clock.whose, Level.OK, f"within {max(1, round(off))} s of this machine's clock")
    direction = "ahead of" if clock.ahead_seconds > 0 else "behind"
    said = f"{off:.0f} s {direction} this machine's clock"
    if off >= REFUSED_SECONDS:
        said += ", and beyond five minutes Oracle refuses every request"
    level = Level.FAULT if off >= REFUSED_SECONDS else Level.WARNING
    advice = "Have the nodes keep time: chrony with Oracle's 169.254.169.254 as its server."
    return Finding(Check.CLOCKS, clock.whose, level, said, advice)
