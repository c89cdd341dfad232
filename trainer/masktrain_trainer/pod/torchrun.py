"""torchrun that ends with its supervisor: `python -m masktrain_trainer.pod.torchrun SUPERVISOR OPTIONS…`.

SUPERVISOR is its process number. In a pod it is process 1, and the kernel ends everything with it. Elsewhere one that
is killed outright would leave a training behind that nobody watches, on a GPU that somebody pays for.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets when its parent dies."""


def end_with_parent(parent: int) -> None:
    """From now on the parent's death is SIGTERM for this process; exit if it is dead already. Linux only."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(f"the supervisor, process {parent}, is gone")


def main() -> None:
    supervisor, *options = sys.argv[1:]
    end_with_parent(int(supervisor))
    from torch.distributed.run import main as run  # noqa: PLC0415 - takes a second, in which the parent may die

    run(options)


if __name__ == "__main__":
    main()
