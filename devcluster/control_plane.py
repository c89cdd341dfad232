"""The cluster's servers as command lines, and who may speak to them: certificate authority, kubeconfigs, store keys.

The control plane runs as a managed cluster would run it, minus high availability. The object store is versitygw over a
folder, with one sub-folder for each bucket.
"""

import base64
import dataclasses
import json
import secrets
from pathlib import Path
from typing import Self

import trustme

from devcluster.node.network import ADDRESS
from devcluster.processes.daemons import Daemon

from .layout import ClusterLayout

NO_HOST = "client.invalid"
# Left to itself, a bridge takes the lowest address of its ports, so it changes with every pod that comes or goes,
# and other pods lose the API server until they ask for its address again, up to a minute later.
BRIDGE_MAC = "02:00:0a:4d:00:01"
SERVICE_NETWORK = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"  # of the Service `kubernetes`, which the bridge itself answers: there is no kube-proxy
# Without a kube-proxy nobody maps ports: the server has to be where the Service `kubernetes` says.
API_PORT = 443
API_URL = f"https://{ADDRESS}:{API_PORT}"
S3_PORT = 9000
CLOUD_PORT = 9100
CLUSTER_DOMAIN = "cluster.local"
# Pods are given the addresses of the Service and of the bridge: the certificate has to name both.
SERVER_NAMES = (
    ADDRESS, SERVICE_ADDRESS, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default",
    "kubernetes.default.svc", f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
)  # fmt: skip
ETCD_URL = "http://127.0.0.1:2379"
# Whatever else is asked for does not exist: a server that forwards to nowhere costs minutes, because torch's c10d
# looks up the name of each peer's address.
COREFILE = """
{domain} in-addr.arpa ip6.arpa {{
    bind {address}
    errors
    kubernetes {domain} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
}}
. {{
    bind {address}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""
OBJECT_STORE_ENDPOINT = f"http://{ADDRESS}:{S3_PORT}"


class Authority:
    """A certificate authority kept as `ca.crt` and `ca.key` in a folder."""

    def __init__(self, folder: Path) -> None:
        """Load it, or create it the first time."""
        self.folder = folder
        self.certificate = folder / "ca.crt"
        key = folder / "ca.key"
        if not key.exists():
            created = trustme.CA(organization_name="kubernetes")
            created.cert_pem.write_to_path(str(self.certificate))
            created.private_key_pem.write_to_path(str(key))
        self._authority = trustme.CA.from_pem(self.certificate.read_bytes(), key.read_bytes())

    def issue(self, name: str, *identities: str, user: str, group: str | None = None) -> tuple[Path, Path]:
        """Issue `NAME.crt` and `NAME.key`, once. `user` and `group` are what Kubernetes reads as such."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        if not key.exists():
            # Without any host name the certificate gets an empty critical extension that Go refuses.
            names = identities or (f"{name}.{NO_HOST}",)
            leaf = self._authority.issue_cert(*names, common_name=user, organization_name=group)
            leaf.cert_chain_pems[0].write_to_path(str(certificate))
            leaf.private_key_pem.write_to_path(str(key))
        return certificate, key


def write_kubeconfig(path: Path, server: str, authority: Path, certificate: Path, key: Path) -> Path:
    """Write access to `server` as the user of `certificate`; readable by the owner only."""
    cluster = {"server": server, "certificate-authority-data": _encoded(authority)}
    user = {"client-certificate-data": _encoded(certificate), "client-key-data": _encoded(key)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "devcluster", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "devcluster", "context": {"cluster": "devcluster", "user": "user"}}],
        "current-context": "devcluster",
    }
    # Before the content: a file made by writing it can be read by others for a moment.
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))
    return path


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@dataclasses.dataclass(frozen=True)
class ControlPlane:
    """Builds the daemons of one cluster's control plane. `node_grace_seconds` makes a silent node NotReady."""

    layout: ClusterLayout
    authority: Authority
    binaries: dict[str, Path]
    node_grace_seconds: int

    def etcd(self) -> Daemon:
        """etcd on loopback, out of the pods' reach."""
        return self._daemon(
            "etcd",
            f"--data-dir={self.layout.etcd}",
            f"--listen-client-urls={ETCD_URL}",
            f"--advertise-client-urls={ETCD_URL}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            # A cluster never outlives its processes, so nothing has to outlive a power cut.
            "--unsafe-no-fsync",
            "--log-level=warn",
        )

    def api_server(self) -> Daemon:
        """kube-apiserver with RBAC and the Node authorizer."""
        certificate, key = self.authority.issue("apiserver", *SERVER_NAMES, user="kube-apiserver")
        _, account_key = self.authority.issue("service-account", user="service-account")
        client, client_key = self.authority.issue("kubelet-client", user="kube-apiserver", group="system:masters")
        return self._daemon(
            "kube-apiserver",
            f"--etcd-servers={ETCD_URL}",
            # Also on the Service's address, which pods are given and which the bridge has as its second.
            "--bind-address=0.0.0.0",
            # The network namespace has no default route by which the server could find its own address.
            f"--advertise-address={ADDRESS}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--authorization-mode=Node,RBAC",
            # As on a managed cluster, where a kubelet may not change the Nodes of others.
            "--enable-admission-plugins=NodeRestriction",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.authority.certificate}",
            f"--requestheader-client-ca-file={self.authority.certificate}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
            f"--service-account-key-file={account_key}",
            f"--service-account-signing-key-file={account_key}",
            f"--kubelet-client-certificate={client}",
            f"--kubelet-client-key={client_key}",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            # Names of nodes are in no name server, and `kubectl logs` has to find the kubelet.
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged",
        )

    def controller_manager(self) -> Daemon:
        """kube-controller-manager with Kubernetes' default rates."""
        _, account_key = self.authority.issue("service-account", user="service-account")
        return self._daemon(
            "kube-controller-manager",
            *self._access("kube-controller-manager"),
            f"--service-account-private-key-file={account_key}",
            f"--root-ca-file={self.authority.certificate}",
            "--use-service-account-credentials",
            f"--node-monitor-grace-period={self.node_grace_seconds}s",
        )

    def scheduler(self) -> Daemon:
        """kube-scheduler."""
        return self._daemon("kube-scheduler", *self._access("kube-scheduler"))

    def name_server(self) -> Daemon:
        """CoreDNS; names outside the cluster do not exist, and that is answered at once."""
        kubeconfig = self.kubeconfig("coredns", group="system:masters")
        corefile = self.layout.root / "Corefile"
        corefile.write_text(COREFILE.format(address=ADDRESS, domain=CLUSTER_DOMAIN, kubeconfig=kubeconfig))
        return self._daemon("coredns", f"-conf={corefile}")

    def kubeconfig(self, user: str, group: str | None = None, name: str = "") -> Path:
        """Access from inside the cluster's network for one of Kubernetes' own users."""
        file = name or user
        certificate, key = self.authority.issue(file, user=f"system:{user}", group=group)
        path = self.layout.pki / f"{file}.kubeconfig"
        return write_kubeconfig(path, API_URL, self.authority.certificate, certificate, key)

    def _access(self, user: str) -> tuple[str, ...]:
        kubeconfig = self.kubeconfig(user)
        same = (f"--{kind}-kubeconfig={kubeconfig}" for kind in ("authentication", "authorization"))
        # There is one of each: an election would only delay the start.
        return (f"--kubeconfig={kubeconfig}", *same, "--bind-address=127.0.0.1", "--leader-elect=false")

    def _daemon(self, name: str, *arguments: str) -> Daemon:
        return Daemon(name, (str(self.binaries[name]), *arguments))


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
