"""A throw-away API key, the check of request signatures as Oracle's API gateway does it, and the exchange of tokens.

RSA with SHA-256 over chosen headers: https://docs.oracle.com/en-us/iaas/Content/API/Concepts/signingrequests.htm

In an enhanced OKE cluster an agent answers at port 12250 of the API server's address: it takes the token of a pod's
ServiceAccount, which the API server has signed, and the public half of a key that the SDK has just drawn, and hands out
a token of Oracle's for that key. Requests are then signed with the key, and name the token as `ST$<token>`.
"""

import base64
import binascii
import configparser
import dataclasses
import hashlib
import io
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Self

import jwt
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from .failures import not_authenticated

# The least that Oracle accepts; longer keys take longer to draw.
KEY_BITS = 2048
# Oracle refuses dates that are more than five minutes off.
MAX_SKEW_SECONDS = 300.0
ALWAYS_SIGNED = frozenset({"date", "(request-target)", "host"})
SIGNED_WITH_BODY = frozenset({"content-length", "content-type", "x-content-sha256"})
# DELETE may have a body, but the SDK's signer never signs one.
METHODS_WITH_BODY = frozenset({"PUT", "POST", "PATCH"})


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


@dataclass(frozen=True)
class SignedRequest:
    """A request as it came over the wire. `target` is the path with its query, still encoded.

    `streamed`: its body is an object or a part of one, which clients do not read twice to sign it.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    streamed: bool = False


class SignatureCheck:
    """Knows the public keys of all users, and of those who got a token for a key of theirs."""

    def __init__(self, *known: Credentials) -> None:
        """Accept signatures of these keys."""
        self._keys: dict[str, RSAPublicKey] = {credentials.key_id: credentials.public_key for credentials in known}
        self._principals: dict[str, str] = {credentials.key_id: credentials.user for credentials in known}

    def trust(self, key_id: str, key: RSAPublicKey, principal: str) -> None:
        """Accept its signatures as those of `principal`."""
        self._keys[key_id] = key
        self._principals[key_id] = principal

    def revoke(self, principal: str) -> None:
        """Forget its keys, as when its tokens have expired."""
        for key_id in [key_id for key_id, known in self._principals.items() if known == principal]:
            del self._keys[key_id], self._principals[key_id]

    def verify(self, request: SignedRequest) -> str:
        """Who signed this very request a moment ago. Raises ServiceError 401 if that is nobody known."""
        fields = _authorization(request.headers.get("authorization", ""))
        signed = fields["headers"].split(" ")
        signs_body = request.method in METHODS_WITH_BODY and not request.streamed
        _require_headers(signed, with_body=signs_body)
        _require_fresh(request.headers.get("date", ""))
        if signs_body:
            _require_body(request)
        key = self._keys.get(fields["keyId"])
        if key is None:
            raise not_authenticated(f"no API key {fields['keyId']!r} is registered")
        _verify(key, fields["signature"], _signing_string(request, signed))
        return self._principals[fields["keyId"]]


def _authorization(header: str) -> dict[str, str]:
    scheme, _, rest = header.partition(" ")
    fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    missing = {"keyId", "headers", "signature", "algorithm"} - fields.keys()
    if scheme != "Signature" or missing or fields["algorithm"] != "rsa-sha256":
        raise not_authenticated("the Authorization header is not an rsa-sha256 signature")
    return fields


def _require_headers(signed: list[str], *, with_body: bool) -> None:
    needed = ALWAYS_SIGNED | (SIGNED_WITH_BODY if with_body else frozenset())
    if missing := needed - set(signed):
        raise not_authenticated(f"the signature does not cover {', '.join(sorted(missing))}")


def _require_fresh(date: str) -> None:
    """Against the machine's time, whatever clock the cloud runs on: the client's dates follow the machine's."""
    try:
        sent = parsedate_to_datetime(date).timestamp()
    except ValueError:
        raise not_authenticated(f"{date!r} is not a date") from None
    if abs(time.time() - sent) > MAX_SKEW_SECONDS:
        raise not_authenticated(f"the date {date!r} is more than {MAX_SKEW_SECONDS:.0f} s off")


def _require_body(request: SignedRequest) -> None:
    digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
    if request.headers.get("x-content-sha256") != digest:
        raise not_authenticated("x-content-sha256 does not match the body")


def _signing_string(request: SignedRequest, signed: list[str]) -> bytes:
    target = f"{request.method.lower()} {request.target}"
    values = (target if name == "(request-target)" else request.headers.get(name, "") for name in signed)
    return "\n".join(f"{name}: {value}" for name, value in zip(signed, values, strict=True)).encode()


def _verify(key: RSAPublicKey, signature: str, content: bytes) -> None:
    try:
        key.verify(base64.b64decode(signature), content, PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        raise not_authenticated("the signature does not match the request") from None


EXCHANGE_PATH = "/resourcePrincipalSessionTokens"
API_SERVER = "https://kubernetes.default.svc.cluster.local"
"""The audience of tokens that name none: the only one that the exchange takes."""
_VALID_SECONDS = 3600
_ALGORITHM = "HS256"
"""An API server signs with a key pair; that is all the same to the SDK, which only looks at when a token ends."""


class _Refused(Exception):
    """With the status of the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass
class TokenExchange:
    """Knows the key of tokens of ServiceAccounts. Whatever `failures` holds is answered first, as a status."""

    signatures: SignatureCheck
    service_account_key: str = field(repr=False)
    failures: list[int] = field(default_factory=list)
    requests: int = 0

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post(EXCHANGE_PATH, self.answer)
        return app

    async def answer(self, request: web.Request) -> web.Response:
        """The token in JSON in Base64, as the SDK reads it."""
        self.requests += 1
        if self.failures:
            return web.Response(status=self.failures.pop(0))
        try:
            account = self._account(request.headers.get("Authorization", ""))
            token = self.issue(account, (await request.json())["podKey"])
            response = web.Response(body=base64.b64encode(json.dumps({"token": f"ST${token}"}).encode()))
        except _Refused as refused:
            response = web.Response(status=refused.status)
        # The SDK's signer never closes its connections.
        response.force_close()
        return response

    def issue(self, principal: str, public_key: str) -> str:
        """A token for the key, of which the service accepts signatures from now on. Raises on what is no key."""
        try:
            key = load_der_public_key(base64.b64decode(public_key))
        except (binascii.Error, ValueError):
            raise _Refused(400) from None
        if not isinstance(key, RSAPublicKey):
            raise _Refused(400)
        now = int(time.time())
        claims = {"iat": now, "exp": now + _VALID_SECONDS, "sub": principal}
        token = jwt.encode(claims, self.service_account_key, algorithm=_ALGORITHM)
        self.signatures.trust(f"ST${token}", key, principal)
        return token

    def _account(self, authorization: str) -> str:
        """`namespace/name`. Raises _Refused unless the API server has signed the token for itself, and it is fresh."""
        try:
            claims = jwt.decode(
                authorization.removeprefix("Bearer "),
                self.service_account_key,
                algorithms=[_ALGORITHM],
                audience=API_SERVER,
            )
            kind, _, account = str(claims["sub"]).partition("system:serviceaccount:")
        except (jwt.PyJWTError, KeyError):
            raise _Refused(401) from None
        if kind or account.count(":") != 1:
            raise _Refused(401)
        return account.replace(":", "/")


def service_account_token(namespace: str, name: str, key: str, lifetime: int = 3600) -> str:
    """As the kubelet mounts it."""
    now = int(time.time())
    claims = {
        "iss": API_SERVER,
        "aud": [API_SERVER],
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "iat": now,
        "exp": now + lifetime,
    }
    return jwt.encode(claims, key, algorithm=_ALGORITHM)
