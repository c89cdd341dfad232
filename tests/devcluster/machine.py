"""What this machine must be for a cluster to run on it."""

import os
import shutil
import sys

TOOLS = ("ip", "mount", "nsenter", "pivot_root", "setsid")


def objection() -> str | None:
    """One sentence saying why no cluster can run here; nothing when one can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "The dev cluster needs Linux and root, because it makes network and mount namespaces."
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    if missing:
        return f"The dev cluster needs the programs {', '.join(missing)} (Debian packages iproute2 and util-linux)."
    return None
