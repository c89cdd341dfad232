"""Connects its input and output to a pod's port: `python -m devcluster.node.container.port_forward NETNS PORT`."""

import os
import socket
import sys
import threading

from devcluster.processes import kernel

CHUNK = 64 * 1024


def main() -> None:
    """Copy both ways until the pod closes the connection."""
    kernel.enter_namespace(sys.argv[1])
    with socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as connection:
        threading.Thread(target=_send, args=(connection,), daemon=True).start()
        while chunk := connection.recv(CHUNK):
            os.write(sys.stdout.fileno(), chunk)


def _send(connection: socket.socket) -> None:
    while chunk := os.read(sys.stdin.fileno(), CHUNK):
        connection.sendall(chunk)
    connection.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
