"""What `model.weights` may name, the ten checkpoints of YOLOv5 v7.0's release or a URI, and the download."""

import contextlib
import logging
import os
import re
import ssl
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import urllib3

from masktrain_trainer.config import (
    WEIGHTS_MIRROR_VARIABLE,
    WEIGHTS_URL,
    Architecture,
    ModelSpec,
    SecretKeyRef,
    StoreSpec,
    is_signed,
    mirror_objection,
    shown_url,
)
from masktrain_trainer.errors import InvalidWeights, ObjectMissing, StoreDenied, StoreUnavailable, UnusableWeights
from masktrain_trainer.stores import open_object

RELEASE: Final = "https://github.com/ultralytics/yolov5/releases/download/v7.0"
LARGEST_DOWNLOAD: Final = 8 << 30
_CHUNK = 1 << 20
_WITHOUT_TLS: Final = "is redirected to an address without TLS, which is not followed."
# GitHub answers the address of a release's file with a redirect.
_PASSING = (429, 500, 502, 503, 504)
_RETRY = urllib3.Retry(total=5, redirect=5, backoff_factor=0.5, status_forcelist=_PASSING)
# Three tries, the last one 20 s after the second: then the job fails for good, and a node's network may be up by then.
_OFFICIAL_RETRY = urllib3.Retry(
    total=None, connect=2, read=2, status=2, other=2, redirect=5, backoff_factor=10, status_forcelist=_PASSING
)
_TIMEOUT = urllib3.Timeout(connect=20, read=60)


def official_url(architecture: Architecture) -> str:
    """Of the file that YOLOv5's v7.0 release has for this size."""
    return f"{RELEASE}/{architecture.value}.pt"


def weights_uri(model: ModelSpec) -> str:
    """Where the weights lie, unless they are `scratch`; it may hold a key. Raises InvalidWeights without the Secret."""
    if model.weights_secret_ref is not None:
        return _secret_url(model.weights_secret_ref)
    return _official_uri(model.architecture) if model.from_official else model.weights


def _official_uri(architecture: Architecture) -> str:
    mirror = os.environ.get(WEIGHTS_MIRROR_VARIABLE)
    if not mirror:
        return official_url(architecture)
    if objection := mirror_objection(mirror):
        raise InvalidWeights(f"{WEIGHTS_MIRROR_VARIABLE} {objection}.")
    return f"{mirror.rstrip('/')}/{architecture.value}.pt"


def _secret_url(secret: SecretKeyRef) -> str:
    """What is wrong with the URL is said without showing it."""
    where = f"Secret {secret.name!r} of model.weightsSecretRef"
    try:
        url = Path(WEIGHTS_URL).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise InvalidWeights(f"{where} does not exist or has no text under its key {secret.key!r}.") from None
    if not re.fullmatch(r"https://[^\s/@]+/\S+", url):
        raise InvalidWeights(f"The key {secret.key!r} of {where} must hold an https:// URL and nothing else.")
    return url


def download_weights(model: ModelSpec, store: StoreSpec | None, credentials: Path | None, path: Path) -> None:
    """Write the file that `model.weights` names to `path`.

    Raises UnusableWeights if there is none, StoreError if its store or server fails, and InvalidWeights if official
    ones cannot be had: trying again would keep GPUs waiting for a release that the pods do not reach.
    """
    uri = weights_uri(model)
    if not model.from_official:
        _fetch(uri, store, credentials, path, _RETRY)
        return
    try:
        _fetch(uri, store, credentials, path, _OFFICIAL_RETRY)
    except UnusableWeights as error:
        # What it says to do, after the semicolon, is for addresses that people choose themselves.
        raise _not_to_be_had(uri, f"it {str(error).partition(';')[0]}") from error
    except (_Unreachable, StoreDenied) as error:
        raise _not_to_be_had(uri, str(error)) from error


class _Unreachable(StoreUnavailable):
    """After the last try. A download that is cut off in the middle is no such thing."""


def _not_to_be_had(uri: str, cause: str) -> InvalidWeights:
    return InvalidWeights(
        f"The official weights {shown_url(uri)} cannot be had ({cause.rstrip('.')}): create the job anew with "
        "model.weights scratch or a URI of your own, or when the chart's trainer.weightsMirror names a copy of "
        "YOLOv5's release that the pods reach."
    )


def _fetch(uri: str, store: StoreSpec | None, credentials: Path | None, path: Path, retries: urllib3.Retry) -> None:
    if uri.startswith("https://"):
        _download(uri, path, retries)
        return
    origin, key = open_object(uri, store, credentials)
    try:
        origin.download(key, path)
    except ObjectMissing:
        raise UnusableWeights("does not exist; upload it, or correct model.weights.") from None


def _download(url: str, path: Path, retries: urllib3.Retry) -> None:
    try:
        with (
            _quiet_about_keys(),
            _client(url) as client,
            _get(client, url, retries) as response,
            path.open("wb") as file,
        ):
            # As it comes: weights are not compressed on the way, and a kilobyte of gzip may be a gigabyte.
            for chunk in _checked(response).stream(_CHUNK, decode_content=False):
                file.write(chunk)
                # The announced length may be missing, or a lie.
                _refuse_size(file.tell())
    except urllib3.exceptions.MaxRetryError as error:
        if isinstance(error.reason, urllib3.exceptions.URLSchemeUnknown):
            raise UnusableWeights(_WITHOUT_TLS) from None
        # Without the cause: its text has the whole address, and a crash's traceback would show it.
        raise _Unreachable(f"{shown_url(url)} cannot be downloaded: {_cause(error)}.") from None
    except urllib3.exceptions.URLSchemeUnknown:
        raise UnusableWeights(_WITHOUT_TLS) from None
    except UnusableWeights:
        raise
    # ValueError: a redirect to what is no address.
    except (urllib3.exceptions.HTTPError, ssl.SSLError, OSError, ValueError) as error:
        raise StoreUnavailable(f"{shown_url(url)} cannot be downloaded: {_cause(error)}.") from None


@contextlib.contextmanager
def _quiet_about_keys() -> Iterator[None]:
    """urllib3 logs the path of each retry and both addresses of a redirect, and a signed one carries its secret there
    or in the query.
    """
    loggers = [logging.getLogger(f"urllib3.{name}") for name in ("connectionpool", "poolmanager")]
    for logger in loggers:
        logger.addFilter(_has_no_key)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_has_no_key)


def _has_no_key(record: logging.LogRecord) -> bool:
    # Whatever redirects say names places that servers chose: they need not be in any log.
    return record.name != "urllib3.poolmanager" and not is_signed(f"https://{record.getMessage()}")


def _client(url: str) -> urllib3.PoolManager:
    """Through the proxy that HTTPS_PROXY and NO_PROXY ask for: many clusters reach the internet only so."""
    host = urlsplit(url).hostname or ""
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get("https")
    client = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()
    # Nor is a redirect to http followed: it may lead to a service of the node or the network, such as its metadata.
    client.key_fn_by_scheme = {"https": client.key_fn_by_scheme["https"]}
    return client


def _get(client: urllib3.PoolManager, url: str, retries: urllib3.Retry) -> urllib3.BaseHTTPResponse:
    # Not into memory: an unstripped file may have more than a gigabyte.
    return client.request("GET", url, preload_content=False, retries=retries, timeout=_TIMEOUT)


def _checked(response: urllib3.BaseHTTPResponse) -> urllib3.BaseHTTPResponse:
    """A response that is the file. Its length is compared by urllib3 itself."""
    if response.status in (404, 410):
        raise UnusableWeights("does not exist on its server; correct model.weights.")
    if response.status != 200:
        raise UnusableWeights(
            f"was refused by its server with status {response.status}; give an address without login."
        )
    announced = response.headers.get("Content-Length", "")
    _refuse_size(int(announced) if re.fullmatch(r"[0-9]{1,18}", announced) else 0)
    return response


def _refuse_size(size: int) -> None:
    if size > LARGEST_DOWNLOAD:
        raise UnusableWeights(f"is larger than {LARGEST_DOWNLOAD:,} bytes, which no weights are.")


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, urllib3.exceptions.SSLError):
        inner = reason.args[0]
        return f"TLS failed ({getattr(inner, 'reason', None) or inner})"
    return str(reason) if isinstance(reason, urllib3.exceptions.ResponseError) else type(reason).__name__


@dataclass(frozen=True)
class PublishedCheckpoint:
    """`parameters`: with COCO's 80 classes. `map50`, `map50_95`: percent on COCO val2017, at `image_size` pixels."""

    architecture: Architecture
    parameters: int
    map50: float
    map50_95: float

    @property
    def image_size(self) -> int:
        return self.architecture.native_image_size

    @property
    def url(self) -> str:
        return official_url(self.architecture)


PUBLISHED = (
    PublishedCheckpoint(Architecture.YOLOV5N, 1_872_157, 45.7, 28.0),
    PublishedCheckpoint(Architecture.YOLOV5S, 7_235_389, 56.8, 37.4),
    PublishedCheckpoint(Architecture.YOLOV5M, 21_190_557, 64.1, 45.4),
    PublishedCheckpoint(Architecture.YOLOV5L, 46_563_709, 67.3, 49.0),
    PublishedCheckpoint(Architecture.YOLOV5X, 86_749_405, 68.9, 50.7),
    PublishedCheckpoint(Architecture.YOLOV5N6, 3_246_940, 54.4, 36.0),
    PublishedCheckpoint(Architecture.YOLOV5S6, 12_626_620, 63.7, 44.8),
    PublishedCheckpoint(Architecture.YOLOV5M6, 35_731_932, 69.3, 51.3),
    PublishedCheckpoint(Architecture.YOLOV5L6, 76_770_172, 71.3, 53.7),
    PublishedCheckpoint(Architecture.YOLOV5X6, 140_794_780, 72.7, 55.0),
)
"""Parameters: those that `model.yolo` builds; scores: the README of that release."""
