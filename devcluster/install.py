"""Puts the project on a running cluster as a user would: images, chart, buckets, credentials.

An image is one environment for each Dockerfile target, from the locked requirements and this checkout. It holds what
the real image holds, so an operator that imports torch or a trainer that imports kopf fails here too. Environments lie
in the cache and not in the checkout, which may be below /tmp: pods mount a volume of their own there.
"""

import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3

from .cloud import Cloud
from .cluster import Cluster
from .images import Image, python_image
from .layout import REPOSITORY, cache
from .progress import one_at_a_time, step

ENTRYPOINTS = {"operator": "masktrain-operator", "trainer": "masktrain"}
# The program and not `python -m uv`, which installs into the interpreter that it runs from.
UV = Path(sys.executable).with_name("uv")


def build_project_images() -> list[Image]:
    """Build or refresh the environments of `masktrain-operator:dev` and `masktrain-trainer:dev`.

    What is up to date is not touched, because pods of other clusters may run from it: an image is a live environment.
    Raises subprocess.CalledProcessError with uv's own message if a package cannot be installed.
    """
    checkout = hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:12]
    folder = cache() / "images" / checkout
    with one_at_a_time(folder / "lock", "another build of the same images"):
        return [_build(folder / target, target, entrypoint) for target, entrypoint in ENTRYPOINTS.items()]


def _build(environment: Path, target: str, entrypoint: str) -> Image:
    python = ("--python", str(environment))
    requirements = REPOSITORY / "requirements" / f"{target}.txt"
    with _if_changed(environment / "requirements.sha256", requirements) as changed:
        if changed:
            _uv("venv", "--clear", "--python", sys.executable, str(environment))
            hashed = ("--require-hashes", "--requirement", str(requirements))
            # Pods see the environment read-only: what is not compiled here they would compile anew at every start.
            _uv("pip", "install", *python, *hashed, "--compile-bytecode")
    with _if_changed(environment / "sources.sha256", *_sources()) as changed:
        if changed:
            # Its requirements are there, locked; its version stays while the sources change, so uv would skip it.
            ours = ("--no-deps", "--reinstall-package", "masktrain", str(REPOSITORY))
            _uv("pip", "install", *python, *ours, "--compile-bytecode")
    return python_image(f"masktrain-{target}:dev", environment, (f"{environment}/bin/{entrypoint}",))


@contextlib.contextmanager
def _if_changed(stamp: Path, *files: Path) -> Iterator[bool]:
    """Whether `files` differ from those of the last block that came to its end, which `stamp` remembers."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    yield not stamp.exists() or stamp.read_text() != digest.hexdigest()
    stamp.write_text(digest.hexdigest())


def _sources() -> list[Path]:
    """What the wheel is made of, as pyproject.toml says."""
    packages = (REPOSITORY / "operator", REPOSITORY / "trainer")
    files = (path for folder in packages for path in folder.rglob("*") if path.is_file())
    return [REPOSITORY / "pyproject.toml", *sorted(path for path in files if "__pycache__" not in path.parts)]


def _uv(*arguments: str) -> None:
    subprocess.run([UV, *arguments, "--quiet"], check=True)


RELEASE = "masktrain-operator"
OPERATOR_NAMESPACE = "masktrain-system"
ORACLE_KEY_SECRET = "oracle-api-key"
CREDENTIALS_SECRET = "store-credentials"
DATASETS = "datasets"
CHECKPOINTS = "checkpoints"


def install_operator(cluster: Cluster, **values: str) -> None:
    """Offer both images to the nodes and install or upgrade the chart; returns when the operator is ready."""
    with step("Images of operator and trainer from this checkout"):
        for image in build_project_images():
            cluster.add_image(image)
    images = {
        "image.repository": "masktrain-operator",
        "image.tag": "dev",
        "trainer.image.repository": "masktrain-trainer",
        "trainer.image.tag": "dev",
    }
    settings = [f"--set={key}={value}" for key, value in (images | values).items()]
    with step("helm install: operator in its own pod"):
        chart = str(REPOSITORY / "charts" / RELEASE)
        options = ("--namespace", OPERATOR_NAMESPACE, "--create-namespace", "--wait", "--timeout=120s")
        cluster.helm("upgrade", "--install", RELEASE, chart, *options, *settings)


def provide_store(cluster: Cluster, namespace: str, objects: Mapping[str, Path]) -> None:
    """Make the namespace (Pod Security `restricted`), its credentials Secret and both buckets, and upload data sets."""
    keys = cluster.s3_keys
    # What a careful company sets; the trainer's pods have to pass it.
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    secret = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}})
    metadata = {"name": CREDENTIALS_SECRET, "namespace": namespace}
    apply(cluster, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": secret})
    s3 = s3_client(cluster)
    present = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    for bucket in {DATASETS, CHECKPOINTS} - present:
        s3.create_bucket(Bucket=bucket)
    for key, path in objects.items():
        s3.upload_file(str(path), DATASETS, key)


def provide_oracle_key(cluster: Cluster, cloud: Cloud) -> None:
    """Put the cloud's API key where GPUNodePools of `auth.type: ConfigSecret` find it."""
    config = cloud.sdk_config
    key = {name: config[name] for name in ("tenancy", "user", "fingerprint")} | {"key": config["key_content"]}
    metadata = {"name": ORACLE_KEY_SECRET, "namespace": OPERATOR_NAMESPACE}
    apply(cluster, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": key})


def apply(cluster: Cluster, manifest: Mapping[str, Any]) -> None:
    """Server-side apply of one object."""
    cluster.kubectl("apply", "--server-side", "--filename", "-", text=json.dumps(manifest))


def s3_client(cluster: Cluster) -> Any:
    """The cluster's object store from this machine."""
    keys = cluster.s3_keys
    return boto3.client(
        "s3",
        endpoint_url=cluster.s3_endpoint,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        region_name="us-east-1",
    )
