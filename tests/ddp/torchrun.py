"""torchrun with two ranks on gloo, as the supervisor starts it."""

import os
import subprocess
import sys

from tests.ddp.ports import free_port


def torchrun(module: str, *arguments: str) -> None:
    """Run a module of the tests on two ranks. Raises if one fails."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    environment = {**os.environ, "MASKTRAIN_DEVICE": "cpu", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    subprocess.run([*command, "-m", module, *arguments], env=environment, check=True, timeout=240)
