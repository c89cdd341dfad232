"""The first process of a cluster: `python -m tests.devcluster.init IDENTITY_FILE OWNER_PID`.

It holds the cluster's network, mount and PID namespaces. All else of the cluster runs inside them, so when this one
process ends, however it ends, the kernel ends every other process, unmounts everything and removes bridge and veths.
With OWNER_PID other than 0 it ends itself as soon as that process is gone.
"""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from tests.devcluster.container import kernel
from tests.devcluster.process_identity import ProcessIdentity

NEW_NAMESPACES = kernel.CLONE_NEWNET | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC


def main() -> None:
    """Fork the holder, save its identity and return; the holder has its own /proc and loopback by then."""
    identity_file, owner = Path(sys.argv[1]), int(sys.argv[2])
    watched = os.pidfd_open(owner) if owner else None
    kernel.unshare(NEW_NAMESPACES)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        hold(watched, writer)
    os.close(writer)
    if os.read(reader, 1) != b"r":
        sys.exit("the cluster's namespaces could not be set up")
    ProcessIdentity.of(child).save(identity_file)


def hold(watched: int | None, ready: int) -> None:
    """Reap orphans until killed, or until the owner ends."""
    kernel.unshare(kernel.CLONE_NEWNS)  # not before the fork: the parent needs the machine's own /proc
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("proc", "/proc", "proc")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    os.write(ready, b"r")
    os.close(ready)
    if watched is None:
        while True:
            signal.pause()
    select.select([watched], [], [])
    os._exit(0)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    main()
