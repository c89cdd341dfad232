"""Signing in without a key of one's own, against stand-ins of the services that hand out tokens."""

import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from devcluster.oracle.clock import FakeClock
from devcluster.oracle.cloud import FakeCloud
from devcluster.oracle.server import application
from devcluster.oracle.signing import SignatureCheck, TokenExchange, service_account_token
from masktrain_operator.api.pool_spec import PoolAuth
from masktrain_operator.shell.oci.access import OciAccess, OciError, OciErrorKind
from masktrain_operator.shell.oci.client import NodePools
from tests.devcluster.fixtures import POOL

REGION = "us-ashburn-1"
NOBODY_LISTENS = "http://127.0.0.1:9"


KEY = "k" * 32


def token(lifetime: int = 3600) -> str:
    return service_account_token("masktrain-system", "masktrain-operator", KEY, lifetime)


@pytest.fixture
def signatures() -> SignatureCheck:
    return SignatureCheck()


@pytest.fixture
async def cloud(signatures: SignatureCheck) -> AsyncIterator[str]:
    async with TestServer(application(FakeCloud((POOL,), FakeClock()), signatures)) as server:
        yield f"http://127.0.0.1:{server.port}"


async def read_pool(auth: PoolAuth, endpoint: str) -> str:
    opened = NodePools(OciAccess(auth, REGION, endpoint=endpoint))
    try:
        return (await opened.get_pool(POOL.id)).id
    finally:
        opened.close()


# Workload identity


@pytest.fixture
async def node_agent(
    signatures: SignatureCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[TestServer]:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    server = TestServer(TokenExchange(signatures, KEY).application(), scheme="https")
    await server.start_server(ssl=context)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH", str(tmp_path / "ca.crt"))
    signers = "oci.auth.signers.resource_principals_signer"
    monkeypatch.setattr(f"{signers}.OCI_KUBERNETES_PROXYMUX_SERVICE_PORT", server.port)
    monkeypatch.setattr(
        "oci.auth.rpt_path_providers.OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH", str(tmp_path / "token")
    )
    yield server
    await server.close()


async def test_a_service_account_signs(cloud: str, node_agent: TestServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(token())
    assert await read_pool(PoolAuth.WORKLOAD_IDENTITY, cloud) == POOL.id


@pytest.mark.parametrize("content", [None, "no token", token(-3600)])
async def test_without_a_valid_token_of_the_pod_nothing_is_signed(
    cloud: str, node_agent: TestServer, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    with pytest.raises(
        OciError, match=r"Cannot sign in to Oracle as WorkloadIdentity: .* the operator's pods need the"
    ) as e:
        await read_pool(PoolAuth.WORKLOAD_IDENTITY, cloud)
    assert content is None or content not in str(e.value)


async def test_outside_a_cluster_there_is_no_workload_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(OciError, match="enhanced OKE cluster"):
        await read_pool(PoolAuth.WORKLOAD_IDENTITY, NOBODY_LISTENS)


# Instance principal


def identity_of_instance() -> tuple[bytes, bytes]:
    """Certificate, with the tenancy as its unit, and private key in PEM."""
    key = generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "opc-tenant:ocid1.tenancy.oc1..fake")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM), pem


@pytest.fixture
async def metadata_service(signatures: SignatureCheck, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    certificate, key = identity_of_instance()
    files = {"region": b"iad", "cert.pem": certificate, "intermediate.pem": certificate, "key.pem": key}

    async def metadata(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer Oracle"
        return web.Response(body=files[request.match_info["file"]])

    async def identity(request: web.Request) -> web.Response:
        """Oracle's identity service, which knows instances by their certificates."""
        public_key = (await request.json())["publicKey"]
        return web.json_response({"token": TokenExchange(signatures, KEY).issue("instance", public_key)})

    app = web.Application()
    app.router.add_get("/opc/v2/{folder}/{file}", metadata)
    app.router.add_post("/v1/x509", identity)
    async with TestServer(app) as server:
        base = f"http://127.0.0.1:{server.port}"
        monkeypatch.setenv("OCI_METADATA_BASE_URL", f"{base}/opc/v2")
        monkeypatch.setattr("oci.regions.endpoint_for", lambda *_arguments, **_options: base)
        yield


@pytest.mark.usefixtures("metadata_service")
async def test_an_instance_signs(cloud: str) -> None:
    assert await read_pool(PoolAuth.INSTANCE_PRINCIPAL, cloud) == POOL.id


async def test_outside_an_instance_there_is_no_instance_principal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCI_METADATA_BASE_URL", f"{NOBODY_LISTENS}/opc/v2")
    with pytest.raises(OciError, match=r"metadata service at 169\.254\.169\.254") as caught:
        await read_pool(PoolAuth.INSTANCE_PRINCIPAL, NOBODY_LISTENS)
    assert caught.value.kind is OciErrorKind.UNAVAILABLE
    assert "sign in to Oracle as InstancePrincipal: no answer came from Oracle (Connection refused)" in str(
        caught.value
    )
