"""How kopf's watches get in: as the pod's ServiceAccount, else by the kubeconfig, whose plugins the client runs."""

from typing import Any

import kopf


def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """Called again by kopf whenever the credentials were refused, so a rotated token is read anew."""
    return kopf.login_with_service_account(**arguments) or kopf.login_via_client(**arguments)
