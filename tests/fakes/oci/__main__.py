"""The fake as a process of its own: `python -m tests.fakes.oci --pools pools.json --credentials key.json`."""

import argparse
import json
from pathlib import Path

from aiohttp import web

from tests.fakes.oci.cloud import FakeCloud
from tests.fakes.oci.credentials import Credentials
from tests.fakes.oci.pool_state import pools_from_json
from tests.fakes.oci.server import application
from tests.fakes.oci.signatures import SignatureCheck


def main() -> None:
    """Serve until killed."""
    arguments = _arguments()
    if not arguments.credentials.exists():
        Credentials.create().save(arguments.credentials)
    cloud = FakeCloud(pools_from_json(json.loads(arguments.pools.read_text())))
    app = application(cloud, SignatureCheck(Credentials.load(arguments.credentials)))
    web.run_app(app, host=arguments.host, port=arguments.port)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.oci", description="Container Engine and Compute.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--pools", type=Path, required=True, help='JSON list of pools: [{"id": "ocid1.nodepool…"}]')
    parser.add_argument("--credentials", type=Path, required=True, help="the SDK's config as JSON; made if missing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
