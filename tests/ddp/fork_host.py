"""A process that has torch imported already and forks ranks from itself: a gang then starts in a moment.

Not multiprocessing's fork server, which is one for the whole test session and has imported what the first user wished.
"""

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from tests.ddp.traced_rank import RankOrder, run_rank

LONGEST_LIFE_SECONDS = 300


class ForkHost:
    """The test's side of the process."""

    def __init__(self) -> None:
        self._pipe, remote = Pipe()
        command = [sys.executable, "-m", "tests.ddp.fork_host", str(remote.fileno())]
        self._process = subprocess.Popen(command, pass_fds=(remote.fileno(),))
        remote.close()

    def run_gang(self, orders: Sequence[RankOrder]) -> list[int]:
        """Exit codes by rank. A killed rank takes the others with it, as a supervisor sees to."""
        self._pipe.send(list(orders))
        codes: list[int] = self._pipe.recv()
        return codes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.wait()


def serve(pipe: Connection) -> None:
    while True:
        try:
            orders = pipe.recv()
        except EOFError:
            return
        pipe.send(run_gang(orders))


def run_gang(orders: Sequence[RankOrder]) -> list[int]:
    pids = [fork(order) for order in orders]
    codes: dict[int, int] = {}
    while len(codes) < len(pids):
        pid, status = os.wait()
        codes[pid] = os.waitstatus_to_exitcode(status)
        if codes[pid] == -signal.SIGKILL:
            for other in set(pids) - codes.keys():
                os.kill(other, signal.SIGKILL)
    return [codes[pid] for pid in pids]


def fork(order: RankOrder) -> int:
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(LONGEST_LIFE_SECONDS)
    code = 1
    try:
        run_rank(order)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
