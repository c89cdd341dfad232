"""An operator's first look at the batch Jobs of a cluster: prints by how many MB its memory grew, and what it kept.

A process of its own, because the test's has grown by all tests before it.
"""

import asyncio
import json
import re
import sys
from pathlib import Path

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import JOBS, KubernetesClient


def peak_mb() -> float:
    """Not getrusage's, which begins with the peak of whoever started the process."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def main() -> None:
    configuration = Configuration()
    await config.load_kube_config(sys.argv[1], client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with ApiClient(configuration) as api_client:
        known, before = KnownObjects(), peak_mb()
        await known.refresh(KubernetesClient(api_client), (), (JOBS,))
        sys.stdout.write(json.dumps({"grown": peak_mb() - before, "kept": len(known.jobs)}))


asyncio.run(main())
