"""A throw-away API key, and the configuration the SDK signs with it."""

import configparser
import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

KEY_BITS = 2048


@dataclasses.dataclass(frozen=True)
class Credentials:
    """One user's API key. `key_content` is the private key as PEM."""

    tenancy: str
    user: str
    fingerprint: str
    region: str
    key_content: str = dataclasses.field(repr=False)

    @classmethod
    def create(cls, region: str = "us-ashburn-1") -> Self:
        """Draw a new key."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return cls("ocid1.tenancy.oc1..faketenancy", "ocid1.user.oc1..fakeuser", fingerprint(key), region, pem)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text()))

    def save(self, path: Path) -> None:
        """Store as JSON, readable by the owner only."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(self.sdk_config))

    @property
    def sdk_config(self) -> dict[str, str]:
        """What the SDK's clients take as `config`."""
        return dataclasses.asdict(self)

    @property
    def key_id(self) -> str:
        """How a signature names its key."""
        return f"{self.tenancy}/{self.user}/{self.fingerprint}"

    @property
    def public_key(self) -> rsa.RSAPublicKey:
        """The half that the service keeps."""
        return _private_key(self.key_content).public_key()

    def write_config_file(self, folder: Path) -> Path:
        """Write `config` and `key.pem` as they lie in `~/.oci`, and return the path of `config`."""
        key_file = folder / "key.pem"
        profile = configparser.ConfigParser()
        profile["DEFAULT"] = {
            "tenancy": self.tenancy,
            "user": self.user,
            "fingerprint": self.fingerprint,
            "region": self.region,
            "key_file": str(key_file),
        }
        text = io.StringIO()
        profile.write(text)
        for path, content in ((key_file, self.key_content), (folder / "config", text.getvalue())):
            path.touch(mode=0o600)
            path.write_text(content)
        return folder / "config"


def fingerprint(key: rsa.RSAPrivateKey) -> str:
    """Oracle's name of a key: MD5 of the public half in DER, in pairs of hex digits."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.md5(der, usedforsecurity=False).digest().hex(":")


def _private_key(pem: str) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("an API key is an RSA key")
    return key
