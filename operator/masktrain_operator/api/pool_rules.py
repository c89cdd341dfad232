"""The cross-field rules of a GPUNodePool in CEL, checked by the API server before anything is stored."""

from .rules import Rule

MAX_POOL_NAME = 63
"""The name is the value of a label on nodes and pods."""


def pool_object_rules() -> list[dict[str, str]]:
    """Rules on the whole object: the only place that sees metadata.name."""
    return [
        Rule(
            f"self.metadata.name.size() <= {MAX_POOL_NAME}",
            f"metadata.name must be at most {MAX_POOL_NAME} characters, because nodes carry it as a label.",
        ).to_manifest()
    ]


def pool_spec_rules() -> list[dict[str, str]]:
    return [rule.to_manifest() for rule in (*_sizes(), *_auth(), *_immutability())]


def _sizes() -> list[Rule]:
    return [Rule("self.minNodes <= self.maxNodes", "minNodes must not be larger than maxNodes.", "minNodes")]


def _auth() -> list[Rule]:
    return [
        Rule(
            "(self.auth.type == 'ConfigSecret') == has(self.auth.configSecretRef)",
            "auth.configSecretRef belongs to auth.type ConfigSecret, and only to it.",
            "auth",
        )
    ]


def _immutability() -> list[Rule]:
    """Another pool would make the nodes and costs in the status those of the wrong one."""
    return [
        Rule(
            f"self.{field} == oldSelf.{field}",
            f"{field} cannot change: create another GPUNodePool for another node pool.",
            field,
        )
        for field in ("nodePoolId", "region")
    ]
