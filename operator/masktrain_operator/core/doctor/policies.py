"""Whether Oracle's policies let the operator do what it does, from their text and from calls that were tried.

What the operator asks of Oracle stands in `shell/oci/calls`; a resize then makes Container Engine start and end
instances on behalf of whoever asked. Reading can be tried, changing cannot: that is judged by the text alone, where it
may be read.
Grammar: https://docs.oracle.com/en-us/iaas/Content/Identity/Concepts/policysyntax.htm
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from masktrain_operator.api.pool_spec import PoolAuth
from masktrain_operator.api.v1alpha1 import GPUNodePool

from .findings import Check, Finding, Level, NotSeen, unseen
from .seen import Operator, OraclePool, OracleView, Policies, Seen, pool_name

VERBS = ("inspect", "read", "use", "manage")
"""Each includes those before it."""
ALL_RESOURCES = "all-resources"
FAMILY_OF = {
    "cluster-node-pools": "cluster-family",
    "cluster-work-requests": "cluster-family",
    "subnets": "virtual-network-family",
    "vnics": "virtual-network-family",
    "network-security-groups": "virtual-network-family",
}


@dataclass(frozen=True)
class Right:
    """A statement that is needed. `calls`: those of the SDK that prove by an answer that it may at least be read.

    `elsewhere`: it may be about another compartment than the pool's, such as the network's.
    """

    verb: str
    resource: str
    why: str
    calls: tuple[str, ...] = ()
    elsewhere: bool = False
    of_node_pool: bool = False
    """Asked of the node pool itself and not of the operator."""


ALWAYS = (
    Right("manage", "cluster-node-pools", "to read, grow and shrink the pool", ("get_node_pool",)),
    Right("read", "cluster-work-requests", "to see why a change failed", ("list_work_requests",)),
    Right("manage", "instance-family", "to read instances, and to start and end them", ("get_instance",)),
    Right("use", "subnets", "to put nodes into their subnet", elsewhere=True),
    Right("read", "virtual-network-family", "to find that subnet and its network", elsewhere=True),
    Right("use", "vnics", "to give nodes their network interface", elsewhere=True),
    Right("inspect", "compartments", "to find the pool's compartment", ("get_compartment",)),
)
"""As for Oracle's cluster-autoscaler: github.com/kubernetes/autoscaler, cluster-autoscaler/cloudprovider/oci/README.md,
which asks the same two changes of Container Engine."""
SECURITY_GROUPS = Right(
    "use", "network-security-groups", "because the pool names network security groups", elsewhere=True
)
RESERVATIONS = Right(
    "use", "compute-capacity-reservations", "because the pool names a capacity reservation", elsewhere=True
)
TAGS = Right("use", "tag-namespaces", "because the pool gives its nodes defined tags", elsewhere=True)
KEYS = Right(
    "use", "key-delegate", "because a key of yours encrypts the boot volumes", elsewhere=True, of_node_pool=True
)
"""The node pool signs for itself here since August 2026:
https://blogs.oracle.com/cloud-infrastructure/oke-node-pool-authorization-path-update"""


def rights_for(pool: OraclePool | None) -> tuple[Right, ...]:
    """All that this pool takes."""
    if pool is None:
        return ALWAYS
    conditional = (
        (SECURITY_GROUPS, pool.has_security_groups),
        (RESERVATIONS, any(placement.capacity_reservation for placement in pool.placements)),
        (TAGS, pool.has_defined_tags),
        (KEYS, pool.kms_key_id is not None),
    )
    return (*ALWAYS, *(right for right, is_needed in conditional if is_needed))


Variables = Mapping[str, str]
"""What is known of a request, by the names that conditions use. Anything else may be true or not."""


@dataclass(frozen=True)
class Principal:
    """Who asks. `subject`: how a statement that is to be pasted names it."""

    subject: str
    variables: Variables
    subjects: tuple[str, ...] = ("any-user",)
    """First words of the subjects that may mean it."""

    def statement(self, right: Right, compartment_id: str) -> str:
        place = f"compartment id {compartment_id}"
        text = f"Allow {self.subject} to {right.verb} {right.resource} in {place}"
        if self.subject != "any-user":
            return text
        conditions = ", ".join(f"{name} = '{value}'" for name, value in self.variables.items())
        return f"{text} where all {{{conditions}}}"


def workload(namespace: str, account: str, cluster_id: str) -> Principal:
    """A ServiceAccount of an enhanced cluster, by the four conditions that tell it from all others."""
    return Principal(
        "any-user",
        {
            "request.principal.type": "workload",
            "request.principal.namespace": namespace,
            "request.principal.service_account": account,
            "request.principal.cluster_id": cluster_id,
        },
    )


GROUP = "masktrain"
INSTANCE = Principal(
    f"dynamic-group {GROUP}", {"request.principal.type": "instance"}, subjects=("any-user", "dynamic-group")
)
USER = Principal(f"group {GROUP}", {"request.principal.type": "user"}, subjects=())
"""Of which groups a user is a member is not looked at, so no statement is ever taken for his."""
NODE_POOL = Principal("any-user", {"request.principal.type": "nodepool"})
UNKNOWN_CLUSTER = "<OCID of the OKE cluster>"
UNKNOWN_COMPARTMENT = "<OCID of the node pool's compartment>"


def principals_of(auth: PoolAuth, operator: Operator, pool: OraclePool | None) -> tuple[Principal, ...]:
    """Who asks in the operator's name: the sweeper does too, as a ServiceAccount of its own."""
    if auth is PoolAuth.WORKLOAD_IDENTITY:
        cluster = UNKNOWN_CLUSTER if pool is None else pool.cluster_id
        return tuple(workload(operator.namespace, account, cluster) for account in operator.accounts)
    return (INSTANCE if auth is PoolAuth.INSTANCE_PRINCIPAL else USER,)


_STATEMENT = re.compile(
    r"\s*allow\s+(?P<subject>.+?)\s+to\s+(?P<verb>inspect|read|use|manage)\s+(?P<resource>[\w-]+)\s+in\s+"
    r"(?P<place>tenancy|compartment\s+(?:id\s+)?(?:'[^']+'|\"[^\"]+\"|\S+))(?:\s+where\s+(?P<conditions>.+?))?\s*",
    re.IGNORECASE | re.DOTALL,
)
_COMPARISON = re.compile(r"(?P<name>[\w.\-]+)\s*(?P<sign>!?=)\s*(?P<quote>['\"])(?P<value>[^'\"]*)(?P=quote)")
_GROUPED = re.compile(r"(?P<how>all|any)\s*\{(?P<inner>.*)\}", re.IGNORECASE | re.DOTALL)
MOST_BRACES = 50


def holds(conditions: str, variables: Variables) -> bool | None:
    """Whether the conditions of a statement hold; None if that depends on more than the variables tell."""
    text = conditions.strip()
    # Whoever may write policies may nest them beyond what can be walked.
    grouped = _GROUPED.fullmatch(text) if text.count("{") <= MOST_BRACES else None
    if grouped is not None:
        answers = [holds(part, variables) for part in _parts(grouped["inner"])]
        decisive = grouped["how"].lower() == "any"
        if decisive in answers:
            return decisive
        return None if None in answers else not decisive
    compared = _COMPARISON.fullmatch(text)
    if compared is None or compared["name"].lower() not in variables:
        return None
    is_same = variables[compared["name"].lower()].lower() == compared["value"].lower()
    return is_same if compared["sign"] == "=" else not is_same


def _parts(text: str) -> Iterator[str]:
    """At the commas that stand in no braces and no quotes."""
    start, depth, quote = 0, 0, ""
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "{}":
            depth += 1 if letter == "{" else -1
        elif letter == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]


class Verdict(Enum):
    GRANTED = auto()
    MISSING = auto()
    UNDECIDED = auto()
    """There is a statement whose conditions, permissions or subject this reader does not understand."""


@dataclass(frozen=True)
class Judgement:
    """`near`: what a statement that just misses says instead."""

    verdict: Verdict
    near: str = ""


def judge(right: Right, who: Principal, policies: Policies) -> Judgement:
    """By the text of the policies."""
    if not who.subjects:
        return Judgement(Verdict.UNDECIDED)
    answers, near = list[bool | None](), ""
    for text in policies.statements:
        answer, misses = _answer(text, right, who, policies)
        answers.append(answer)
        near = near or misses
    if True in answers:
        return Judgement(Verdict.GRANTED)
    return Judgement(Verdict.UNDECIDED if None in answers else Verdict.MISSING, near)


def _answer(text: str, right: Right, who: Principal, policies: Policies) -> tuple[bool | None, str]:
    found = _STATEMENT.fullmatch(text)
    if found is None:
        # Single permissions in braces, and statements that deny: not read, so nothing can be said for certain.
        first, _, rest = text.strip().lower().partition(" ")
        is_about = any(word in rest for word in ("{", *_covering(right.resource))) and rest.startswith(who.subjects)
        return (None if first in ("allow", "deny") and is_about else False), ""
    enough = VERBS.index(found["verb"].lower()) >= VERBS.index(right.verb)
    covered = _singular(found["resource"]) in _covering(right.resource)
    if not (enough and covered and found["subject"].lower().startswith(who.subjects)):
        return False, ""
    if not right.elsewhere and not _is_in(found["place"], policies):
        return False, f"there is one for {found['place']}, which the node pool is not in"
    if found["conditions"] is None:
        return True, ""
    answer = holds(found["conditions"], who.variables)
    return answer, "" if answer is not False else _difference(found["conditions"], who)


def _covering(resource: str) -> tuple[str, ...]:
    """Resource types of a statement that is about this one too."""
    family = FAMILY_OF.get(resource)
    return tuple(map(_singular, (resource, ALL_RESOURCES, *([family] if family else []))))


def _singular(resource: str) -> str:
    # Oracle's own pages write key-delegate and key-delegates.
    return resource.lower().removesuffix("s")


def _is_in(place: str, policies: Policies) -> bool:
    kind, _, name = place.partition(" ")
    if kind.lower() == "tenancy":
        return True
    name = re.sub(r"^id\s+", "", name.strip(), flags=re.IGNORECASE).strip("'\"")
    names = {word.lower() for one in policies.compartments for word in (one.id, one.name)}
    # A path of names, from where the policy is attached.
    return name.rpartition(":")[2].lower() in names


def _difference(conditions: str, who: Principal) -> str:
    """What differs, if the statement is about such a principal and is not simply one for another account."""
    said = {found["name"].lower(): found["value"] for found in _COMPARISON.finditer(conditions) if found["sign"] == "="}
    wrong = [name for name, value in who.variables.items() if name in said and said[name].lower() != value.lower()]
    is_other = {"request.principal.type", "request.principal.service_account"} & set(wrong)
    if is_other or not wrong:
        return ""
    return "there is one with " + " and ".join(f"{n} = '{said[n]}' instead of '{who.variables[n]}'" for n in wrong)


def policy_findings(seen: Seen, pool: GPUNodePool) -> Iterator[Finding]:
    """One for each statement that is missing, else one that says what is known."""
    view = seen.oracle.get(pool.metadata.name)
    if view is None or view.sign_in is not None:
        return
    auth, oke = pool.spec.auth.type, None if isinstance(view.pool, NotSeen) else view.pool
    who = principals_of(auth, seen.operator, oke)
    refused = [right for right in ALWAYS if _refusal(right, view) is not None]
    if oke is None and not (view.as_operator and refused):
        # Nothing about the pool's compartment can be known; `pool_findings` says that it was not seen.
        return
    place = UNKNOWN_COMPARTMENT if oke is None else oke.compartment_id
    missing = list(_missing(rights_for(oke), who, view)) if oke is not None else [(ALWAYS[0], who, "")]
    for right, lacking, near in missing:
        statements = tuple(one.statement(right, place) for one in lacking)
        yield _fault(pool, view, _Missing(right, statements, near))
    if oke is not None and not missing:
        yield _no_fault(pool, oke, who, view)


def _missing(
    rights: Sequence[Right], principals: Sequence[Principal], view: OracleView
) -> Iterator[tuple[Right, Sequence[Principal], str]]:
    for right in rights:
        who = (NODE_POOL,) if right.of_node_pool else principals
        if view.as_operator and _refusal(right, view) is not None:
            # The call was the operator's own; what the sweeper lacks only the text can tell.
            yield right, who, ""
            continue
        if not isinstance(view.policies, Policies):
            continue
        judged = [(one, judge(right, one, view.policies)) for one in who]
        lacking = [one for one, judgement in judged if judgement.verdict is Verdict.MISSING]
        if lacking:
            yield right, lacking, next((judgement.near for _, judgement in judged if judgement.near), "")


def _refusal(right: Right, view: OracleView) -> NotSeen | None:
    """Of a call that this right allows. An answer that did not come refuses nothing."""
    tried = (view.probes.get(call) for call in right.calls)
    return next((look for look in tried if look is not None and look.right), None)


@dataclass(frozen=True)
class _Missing:
    right: Right
    statements: tuple[str, ...]
    near: str


def _fault(pool: GPUNodePool, view: OracleView, missing: _Missing) -> Finding:
    right, refusal = missing.right, _refusal(missing.right, view) if view.as_operator else None
    said = f'no policy lets the operator "{right.verb} {right.resource}", {right.why}'
    if refusal is not None:
        said = f'Oracle refuses what "{right.verb} {right.resource}" allows, {right.why}: {refusal.sentence}'
    elif missing.near:
        said = f"{said}; {missing.near}"
    advice = "Add the statement to a policy of the compartment or one above it; it takes effect within minutes."
    if right is ALWAYS[0] and refusal is not None:
        advice = (
            "Check spec.nodePoolId and spec.region, then add the statement; Oracle does not tell a wrong OCID from a "
            "missing right, and nothing else of this pool can be looked at before."
        )
    if pool.spec.auth.type is PoolAuth.INSTANCE_PRINCIPAL:
        advice += f" The dynamic group ({GROUP} here) has to hold the nodes that the operator runs on."
    return Finding(Check.POLICIES, pool_name(pool), Level.FAULT, said, advice, missing.statements)


def _no_fault(pool: GPUNodePool, oke: OraclePool, who: Sequence[Principal], view: OracleView) -> Finding:
    about, rights = pool_name(pool), rights_for(oke)
    policies = view.policies
    statements = [
        one.statement(right, oke.compartment_id)
        for right in rights
        for one in ((NODE_POOL,) if right.of_node_pool else who)
    ]
    if not isinstance(policies, Policies):
        read = "what the operator reads is answered, but " if view.as_operator else ""
        reason = "they were not asked for" if policies is None else policies.sentence
        look = NotSeen(
            f"{read}whether it may change the pool only the policies tell: {reason}",
            "" if policies is None else policies.right,
        )
        return unseen(Check.POLICIES, about, look, paste=statements)
    doubtful = [
        right
        for right in rights
        for one in ((NODE_POOL,) if right.of_node_pool else who)
        if judge(right, one, policies).verdict is Verdict.UNDECIDED
    ]
    if not doubtful:
        return Finding(Check.POLICIES, about, Level.OK, f"all {len(rights)} rights are granted")
    named = ", ".join(dict.fromkeys(f'"{right.verb} {right.resource}"' for right in doubtful))
    user = pool.spec.auth.type is PoolAuth.CONFIG_SECRET
    reason = "the groups of an API key's user are not looked at" if user else "the statements have more conditions"
    said = f"whether {named} is granted cannot be told: {reason}"
    return Finding(
        Check.POLICIES, about, Level.UNKNOWN, said, "Compare the policies with these statements.", tuple(statements)
    )
