"""The fake as a process of its own: `python -m devcluster.oracle --pools pools.json --credentials key.json`."""

import argparse
import json
from pathlib import Path

from aiohttp import web

from .cloud import FakeCloud
from .pools import pools_from_json
from .server import application
from .signing import Credentials, SignatureCheck


def main() -> None:
    """Serve until killed."""
    arguments = _arguments()
    if not arguments.credentials.exists():
        Credentials.create().save(arguments.credentials)
    cloud = FakeCloud(pools_from_json(json.loads(arguments.pools.read_text())))
    app = application(cloud, SignatureCheck(Credentials.load(arguments.credentials)))
    web.run_app(app, host=arguments.host, port=arguments.port)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devcluster.oracle", description="Container Engine and Compute.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--pools", type=Path, required=True, help='JSON list of pools: [{"id": "ocid1.nodepool…"}]')
    parser.add_argument("--credentials", type=Path, required=True, help="the SDK's config as JSON; made if missing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
