"""The cluster's own certificate authority and the certificates it issues."""

from pathlib import Path

import trustme

NO_HOST = "client.invalid"


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
