"""What `model.weights` may name, the ten checkpoints of YOLOv5 v7.0's release or a URI, and the download."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import urllib3

from masktrain_trainer.config import (
    WEIGHTS_MIRROR_VARIABLE,
    WEIGHTS_URL,
    Architecture,
    ModelSpec,
    StoreSpec,
    mirror_objection,
    shown_url,
)
from masktrain_trainer.errors import InvalidWeights, ObjectMissing, StoreDenied, StoreUnavailable, UnusableWeights
from masktrain_trainer.stores import lines_while, open_object
from masktrain_trainer.stores.web import (
    PASSING,
    RETRY,
    NotTheFile,
    NotThere,
    Refused,
    Unreachable,
    download,
    link_in_secret,
)

log = logging.getLogger(__name__)

RELEASE: Final = "https://github.com/ultralytics/yolov5/releases/download/v7.0"
LARGEST_DOWNLOAD: Final = 8 << 30
_RETRY = RETRY
# Three tries, the last one 20 s after the second: then the job fails for good, and a node's network may be up by then.
_OFFICIAL_RETRY = urllib3.Retry(
    total=None,
    connect=2,
    read=2,
    status=2,
    other=2,
    backoff_factor=10,
    status_forcelist=PASSING,
    respect_retry_after_header=False,
)


def official_url(architecture: Architecture) -> str:
    """Of the file that YOLOv5's v7.0 release has for this size."""
    return f"{RELEASE}/{architecture.value}.pt"


def weights_uri(model: ModelSpec) -> str:
    """Where the weights lie, unless they are `scratch`; it may hold a key. Raises InvalidWeights without the Secret."""
    if model.weights_secret_ref is not None:
        return link_in_secret(WEIGHTS_URL, model.weights_secret_ref, "model.weightsSecretRef", InvalidWeights)
    return _official_uri(model.architecture) if model.from_official else model.weights


def _official_uri(architecture: Architecture) -> str:
    mirror = os.environ.get(WEIGHTS_MIRROR_VARIABLE)
    if not mirror:
        return official_url(architecture)
    if objection := mirror_objection(mirror):
        raise InvalidWeights(f"{WEIGHTS_MIRROR_VARIABLE} {objection}.")
    return f"{mirror.rstrip('/')}/{architecture.value}.pt"


def download_weights(model: ModelSpec, store: StoreSpec | None, credentials: Path | None, path: Path) -> None:
    """Write the file that `model.weights` names to `path`.

    Raises UnusableWeights if there is none, StoreError if its store or server fails, and InvalidWeights if official
    ones cannot be had: trying again would keep GPUs waiting for a release that the pods do not reach.
    """
    uri = weights_uri(model)
    with lines_while(lambda seconds: f"waiting for {shown_url(uri)} for {seconds:.0f} s", log.info):
        _download_from(uri, model, store, credentials, path)


def _download_from(uri: str, model: ModelSpec, store: StoreSpec | None, credentials: Path | None, path: Path) -> None:
    if not model.from_official:
        _fetch(uri, store, credentials, path, _RETRY)
        return
    try:
        _fetch(uri, store, credentials, path, _OFFICIAL_RETRY)
    except UnusableWeights as error:
        # What it says to do, after the semicolon, is for addresses that people choose themselves.
        raise _not_to_be_had(uri, f"it {str(error).partition(';')[0]}") from error
    except (Unreachable, StoreDenied) as error:
        raise _not_to_be_had(uri, str(error)) from error


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
        download(url, path, largest=LARGEST_DOWNLOAD, retries=retries)
    except NotThere as error:
        raise UnusableWeights(f"{error}; correct model.weights.") from None
    except Refused as error:
        raise UnusableWeights(f"{error}; give an address without login.") from None
    except NotTheFile as error:
        raise UnusableWeights(f"{error}; correct model.weights.") from None
    except OSError as error:
        raise StoreUnavailable(f"{shown_url(url)} cannot be downloaded: {error.strerror}.") from None


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
