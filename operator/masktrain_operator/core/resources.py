"""What a pod asks for, added up as Kubernetes does it, and whether quotas have room for a gang of such pods.

A ResourceQuota is asked about one object at a time, and reserves nothing for a dry run: the gang is summed up here.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from kubernetes.utils.quantity import parse_quantity

from .types import Manifest

Amounts = Mapping[str, Decimal]
ZERO = Decimal(0)
LARGEST_QUANTITY = Decimal(2**63 - 1)
"""Kubernetes caps what is larger; a text may say a number of a billion digits."""
POD_LEVEL = ("cpu", "memory", "hugepages-")
"""What `resources` of a pod itself may say; it replaces the sum over the containers."""


def amount(quantity: object) -> Decimal:
    """Of a resource.Quantity, which the API server itself may write as `1k`. Raises ValueError for what is none."""
    try:
        parsed: Decimal = parse_quantity(quantity)  # type: ignore[no-untyped-call]
        return max(min(parsed, LARGEST_QUANTITY), -LARGEST_QUANTITY)
    except ArithmeticError:
        # A number that is none, or whose suffix takes it beyond all bounds.
        raise ValueError(f"{str(quantity)[:64]!r} is no quantity") from None


def asked_by_pod(spec: Manifest, asked_by: Callable[[Manifest], Amounts]) -> Amounts:
    """What the containers of a pod ask for together, at most at any moment.

    Init containers run one after the other before the rest; sidecars, which restart always, stay and add up.
    """
    together, sidecars, first = dict[str, Decimal](), dict[str, Decimal](), dict[str, Decimal]()
    for container in spec.get("containers", ()):
        _add(together, asked_by(container))
    for container in spec.get("initContainers", ()):
        asked = asked_by(container)
        for name, quantity in asked.items():
            first[name] = max(first.get(name, ZERO), sidecars.get(name, ZERO) + quantity)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, asked)
    _add(together, sidecars)
    return {name: max(together.get(name, ZERO), first.get(name, ZERO)) for name in together | first}


def pod_amounts(spec: Manifest, section: str) -> Amounts:
    """The pod's `requests` or `limits`, with the overhead of its runtime class."""
    amounts = dict(asked_by_pod(spec, lambda container: _said(container, section)))
    amounts |= {name: a for name, a in _said(spec, section).items() if name.startswith(POD_LEVEL)}
    # A pod without a limit has none, whatever its overhead.
    overhead = {n: amount(q) for n, q in spec.get("overhead", {}).items() if section == "requests" or n in amounts}
    _add(amounts, overhead)
    return amounts


def quota_objection(
    pod: Manifest, nodes: int, quotas: Iterable[Manifest], promised: Mapping[str, int] | None = None
) -> str | None:
    """Why the quotas of a namespace have no room for a batch Job with `nodes` such pods; None if they have.

    `pod`: as the API server would create it, with its defaults. `promised`: what others will add to `used`.
    """
    asked = _gang_amounts(pod, nodes)
    for quota in quotas:
        if not _is_for(quota, pod):
            continue
        status = quota.get("status", {})
        for key, hard in sorted(status.get("hard", {}).items()):
            used = status.get("used", {}).get(key, "0")
            coming = (promised or {}).get(key, 0)
            if key in asked and asked[key] and amount(used) + coming + asked[key] > amount(hard):
                soon = f" and {coming} by jobs that start" if coming else ""
                return (
                    f"exceeded quota: {quota['metadata']['name']}, requested for all {nodes} pods: "
                    f"{key}={asked[key].normalize():f}, used: {key}={used}{soon}, limited: {key}={hard}"
                )
    return None


def _gang_amounts(pod: Manifest, nodes: int) -> Amounts:
    """What the gang adds to each count of a quota."""
    amounts = {"pods": Decimal(nodes), "count/pods": Decimal(nodes), "count/jobs.batch": Decimal(1)}
    for section in ("requests", "limits"):
        for name, quantity in pod_amounts(pod["spec"], section).items():
            amounts[f"{section}.{name}"] = quantity * nodes
            if section == "requests":
                amounts[name] = quantity * nodes
    return amounts


def _said(asking: Manifest, section: str) -> Amounts:
    """By a container or a pod. What is limited and not requested is requested as well: the API server's own default."""
    resources = asking.get("resources") or {}
    said = resources.get(section) or {}
    if section == "requests":
        said = {**(resources.get("limits") or {}), **said}
    return {name: amount(quantity) for name, quantity in said.items()}


def _add(amounts: dict[str, Decimal], more: Amounts) -> None:
    for name, quantity in more.items():
        amounts[name] = amounts.get(name, ZERO) + quantity


def _is_for(quota: Manifest, pod: Manifest) -> bool:
    """Whether the quota counts such pods. Of scopes that are not known here nothing is said."""
    spec = quota.get("spec", {})
    expressions = [
        *({"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes", ())),
        *spec.get("scopeSelector", {}).get("matchExpressions", ()),
    ]
    return all(_in_scope(expression, pod) for expression in expressions)


def _in_scope(expression: Manifest, pod: Manifest) -> bool:
    match expression["scopeName"]:
        case "NotTerminating" | "NotBestEffort":
            return True
        case "PriorityClass":
            name, values = pod["spec"].get("priorityClassName"), expression.get("values", ())
            operator = expression["operator"]
            is_in = name in values if operator in ("In", "NotIn") else bool(name)
            return is_in == (operator in ("In", "Exists"))
        case _:
            return False
