"""Offers a cluster's servers on 127.0.0.1: `python -m devcluster.processes.forwarder PORTS_FILE`.

It runs in the cluster's PID namespace, where process 1 holds the network namespace, but on the machine's own network.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
from pathlib import Path

from . import kernel

# setns(2) moves one thread, not the process.
OWN_NETWORK = "/proc/thread-self/ns/net"
CLUSTER_NETWORK = "/proc/1/ns/net"
CHUNK = 256 * 1024


def main() -> None:
    """Serve until killed. PORTS_FILE maps names to `{"target": [host, port], "port": 0}`; 0 becomes the port chosen."""
    ports_file = Path(sys.argv[1])
    wanted = json.loads(ports_file.read_text())
    with asyncio.Runner() as runner:
        servers = [runner.run(listen(tuple(entry["target"]), entry["port"])) for entry in wanted.values()]
        for entry, server in zip(wanted.values(), servers, strict=True):
            entry["port"] = server.sockets[0].getsockname()[1]
        _write_atomically(ports_file, json.dumps(wanted))
        runner.run(_serve(servers))


def _write_atomically(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text)
    unfinished.rename(path)


async def _serve(servers: list[asyncio.Server]) -> None:
    await asyncio.gather(*(server.serve_forever() for server in servers))


async def listen(target: tuple[str, int], port: int) -> asyncio.Server:
    """Forward 127.0.0.1:`port` to `target` inside the cluster."""

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await connect(target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, upstream_writer), _copy(upstream_reader, writer))

    return await asyncio.start_server(forward, "127.0.0.1", port, limit=CHUNK)


async def connect(target: tuple[str, int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection inside the cluster. A socket keeps the network namespace it was created in."""
    connection = cluster_socket()
    await asyncio.get_running_loop().sock_connect(connection, target)
    return await asyncio.open_connection(sock=connection, limit=CHUNK)


def cluster_socket() -> socket.socket:
    """A TCP socket that belongs to the cluster's network."""
    # Without any await until the thread is back: another task would open its sockets in the cluster's network.
    own = os.open(OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
    kernel.enter_namespace(CLUSTER_NETWORK)
    try:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    finally:
        kernel.enter_namespace(f"/proc/self/fd/{own}")
        os.close(own)
    connection.setblocking(False)
    return connection


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
        # Only this direction has ended: the answer may still be on its way in the other.
        if writer.can_write_eof():
            writer.write_eof()
            return
    writer.close()


if __name__ == "__main__":
    main()
