"""The S3 server: versitygw over a folder, one sub-folder for each bucket."""

import dataclasses
import json
import secrets
from pathlib import Path
from typing import Self

from tests.devcluster.control_plane import ADDRESS, S3_PORT
from tests.devcluster.daemons import Daemon

IN_CLUSTER_ENDPOINT = f"http://{ADDRESS}:{S3_PORT}"


@dataclasses.dataclass(frozen=True)
class ObjectStoreKeys:
    """The root account of one cluster's object store."""

    access_key: str
    secret_key: str

    @classmethod
    def create(cls, path: Path) -> Self:
        """Draw new keys and store them, readable by the owner only."""
        keys = cls(access_key=f"AK{secrets.token_hex(8).upper()}", secret_key=secrets.token_urlsafe(30))
        path.touch(mode=0o600)
        path.write_text(json.dumps(dataclasses.asdict(keys)))
        return keys

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the keys of a running cluster."""
        return cls(**json.loads(path.read_text()))


def object_store(program: Path, folder: Path, keys: ObjectStoreKeys) -> Daemon:
    """The server on the bridge address, reachable by pods and forwarder."""
    environment = {"ROOT_ACCESS_KEY": keys.access_key, "ROOT_SECRET_KEY": keys.secret_key, "PATH": "/usr/bin:/bin"}
    command = (str(program), "--quiet", "--port", f"{ADDRESS}:{S3_PORT}", "posix", str(folder))
    return Daemon("versitygw", command, environment)
