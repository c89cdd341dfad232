"""Command lines of the control plane's programs, as a managed cluster would run them, minus high availability."""

import dataclasses
from pathlib import Path

from tests.devcluster.certificates import Authority
from tests.devcluster.daemons import Daemon
from tests.devcluster.kubeconfig import write_kubeconfig
from tests.devcluster.layout import ClusterLayout

BRIDGE = "cluster0"
# Left to itself, a bridge takes the lowest address of its ports, so it changes with every pod that comes or goes,
# and other pods lose the API server until they ask for its address again, up to a minute later.
BRIDGE_MAC = "02:00:0a:4d:00:01"
ADDRESS = "10.77.0.1"  # of the control plane, the name server, the object store and the cloud on the bridge
NETWORK_PREFIX = 16
SERVICE_NETWORK = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"  # of the Service `kubernetes`, which the bridge itself answers: there is no kube-proxy
API_PORT = 443
API_URL = f"https://{ADDRESS}:{API_PORT}"
S3_PORT = 9000
CLOUD_PORT = 9100
CLUSTER_DOMAIN = "cluster.local"
SERVER_NAMES = (
    ADDRESS, SERVICE_ADDRESS, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default",
    "kubernetes.default.svc", f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
)  # fmt: skip
ETCD_URL = "http://127.0.0.1:2379"

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
            "--bind-address=0.0.0.0",
            f"--advertise-address={ADDRESS}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--authorization-mode=Node,RBAC",
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
        return (f"--kubeconfig={kubeconfig}", *same, "--bind-address=127.0.0.1", "--leader-elect=false")

    def _daemon(self, name: str, *arguments: str) -> Daemon:
        return Daemon(name, (str(self.binaries[name]), *arguments))
