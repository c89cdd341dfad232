"""The exchange of tokens by which pods and instances become principals of Oracle.

In an enhanced OKE cluster an agent answers at port 12250 of the API server's address: it takes the token of a pod's
ServiceAccount, which the API server has signed, and the public half of a key that the SDK has just drawn, and hands out
a token of Oracle's for that key. Requests are then signed with the key, and name the token as `ST$<token>`.
"""

import base64
import binascii
import json
import time
from dataclasses import dataclass, field

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from .signing import SignatureCheck

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
