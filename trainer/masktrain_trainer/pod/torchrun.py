"""torchrun that ends with its supervisor: `python -m masktrain_trainer.pod.torchrun SUPERVISOR OPTIONS…`.

SUPERVISOR is its process number. In a pod it is process 1, and the kernel ends everything with it. Elsewhere one that
is killed outright would leave a training behind that nobody watches, on a GPU that somebody pays for.
"""

import ctypes
import os
import signal
import sys

from .launch import ONE_NODE_RENDEZVOUS

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets when its parent dies."""


def end_with_parent(parent: int) -> None:
    """From now on the parent's death is SIGTERM for this process; exit if it is dead already. Linux only."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(f"the supervisor, process {parent}, is gone")


def register_one_node_rendezvous() -> None:
    """For a gang on one node: torchrun is alone and meets nobody, so nothing listens.

    Its own backends open a TCPStore, which listens on all addresses and lets everybody in who finds it.
    """
    # Not at the top: torch takes a second, in which the parent may die.
    from torch.distributed import HashStore  # type: ignore[attr-defined]  # noqa: PLC0415
    from torch.distributed.elastic import rendezvous  # noqa: PLC0415

    class OneNodeRendezvous(rendezvous.RendezvousHandler):
        def __init__(self, parameters: rendezvous.RendezvousParameters) -> None:
            self._parameters = parameters

        def get_backend(self) -> str:
            return self._parameters.backend

        def get_run_id(self) -> str:
            return self._parameters.run_id

        @property
        def use_agent_store(self) -> bool:
            return False

        def next_rendezvous(self) -> rendezvous.RendezvousInfo:
            # The address goes to the ranks' environment, where they don't need it: they meet in a file.
            nowhere = rendezvous.RendezvousStoreInfo("127.0.0.1", 0)
            return rendezvous.RendezvousInfo(HashStore(), 0, 1, nowhere)

        def is_closed(self) -> bool:
            return False

        def set_closed(self) -> None:
            """No other node could ask."""

        def num_nodes_waiting(self) -> int:
            return 0

        def shutdown(self) -> bool:
            return True

    rendezvous.rendezvous_handler_registry.register(ONE_NODE_RENDEZVOUS, OneNodeRendezvous)


RANK_PATIENCE_SECONDS = 3
"""Between SIGTERM and SIGKILL for the ranks that are left when one has failed: they only wait in a collective."""


def end_ranks_within(seconds: int) -> None:
    """Its own 30 s would be 30 s of an idle gang, and torchrun's option for them is newer than the locked torch."""
    from torch.distributed.elastic.multiprocessing.api import PContext  # noqa: PLC0415

    close = PContext.close

    def close_soon(context: PContext, death_sig: signal.Signals | None = None, timeout: int = seconds) -> None:
        close(context, death_sig, min(timeout, seconds))

    PContext.close = close_soon  # type: ignore[assignment,method-assign]


def main() -> None:
    supervisor, *options = sys.argv[1:]
    end_with_parent(int(supervisor))
    from torch.distributed.run import main as run  # noqa: PLC0415

    register_one_node_rendezvous()
    end_ranks_within(RANK_PATIENCE_SECONDS)
    run(options)


if __name__ == "__main__":
    main()
