"""A data set's zip from a download link: what it is called, what never shows, and what came in its place."""

import gzip
import io
import json
import logging
import tarfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from masktrain_trainer.config import DATASET_URL_VARIABLE, DatasetSpec, SecretKeyRef
from masktrain_trainer.data.source import fetch as fetching
from masktrain_trainer.errors import InvalidDataset, StoreUnavailable
from masktrain_trainer.files import sha256_of
from tests.unit.trainer.stores.web_server import Page, Site, redirect, serving_site

KEY = "hunter2"
HIDDEN = DatasetSpec(uri_secret_ref=SecretKeyRef(name="roboflow", key="link"))
NAMED = "the link in key link of Secret roboflow to localhost"
NO_HOSTS = [f"https://[a/x?key={KEY}", f"https://[a]/x?key={KEY}", f"https://:1/x?key={KEY}", f"https://a\u2100b/{KEY}"]
"""Links by their form, of which Python's own parser makes nothing."""


@cache
def packed() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("data.yaml", "names: [mask]")
    return content.getvalue()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv(DATASET_URL_VARIABLE, raising=False)
    monkeypatch.setattr(fetching, "DATASET_URL", str(tmp_path / "url"))
    with serving_site(tmp_path, monkeypatch) as found:
        found.pages = {"/ds/abc": redirect(f"/export/set.zip?signature={KEY}"), "/export/set.zip": Page(body=packed())}
        yield found


@pytest.fixture
def lines() -> list[str]:
    return []


def fetch(dataset: DatasetSpec, folder: Path, lines: list[str]) -> bytes:
    (folder / "download").mkdir(exist_ok=True)
    fetching.fetch(dataset, folder / "download" / "set.zip", None, lines.append)
    return (folder / "download" / "set.zip").read_bytes()


def hide(site: Site, folder: Path) -> None:
    """As Roboflow gives it, in the mounted Secret."""
    (folder / "url").write_text(f"{site.url}/ds/abc?key={KEY}\n")


def test_a_link_without_a_key_stands_in_the_job(site: Site, tmp_path: Path, lines: list[str]) -> None:
    assert fetch(DatasetSpec(uri=f"{site.url}/ds/abc"), tmp_path, lines) == packed()
    assert lines[0].startswith(f"downloading {site.url}/ds/abc (0.0 MiB)")


def test_a_link_with_a_key_comes_from_a_secret_and_shows_nowhere(
    site: Site, tmp_path: Path, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    hide(site, tmp_path)
    assert fetch(HIDDEN, tmp_path, lines) == packed()
    assert site.asked[0][0] == f"/ds/abc?key={KEY}"
    assert lines[0].startswith(f"downloading {NAMED}")
    shown = "\n".join([*lines, caplog.text, HIDDEN.to_json(), HIDDEN.shown])
    assert KEY not in shown
    assert "/ds/abc" not in shown, "a path may be a key as well"


@pytest.mark.parametrize("trouble", ["busy", "gone"])
def test_no_try_of_a_hidden_link_is_logged_with_its_path(
    site: Site, tmp_path: Path, lines: list[str], caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    """urllib3 warns of each retry with the path, which Python prints where no log is set up."""
    caplog.set_level(logging.DEBUG)
    site.pages[f"/{KEY}/set.zip"] = Page(503)
    host = site.url if trouble == "busy" else "https://localhost:1"
    (tmp_path / "url").write_text(f"{host}/{KEY}/set.zip?key={KEY}" if trouble == "busy" else f"{host}/{KEY}/set.zip")
    with pytest.raises(StoreUnavailable) as caught:
        fetch(HIDDEN, tmp_path, lines)
    assert KEY not in "\n".join([str(caught.value), *lines, caplog.text])


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        (Page(404), "does not exist on its server; correct the link, or get a new one"),
        (Page(403), "was refused by its server with status 403; get a new link, one that needs no login"),
        (redirect("http://localhost/set.zip"), "is redirected to an address without TLS, .*; give the link of the zip"),
        (redirect("https://169.254.169.254/"), "is redirected to a link-local address"),
    ],
)
def test_what_a_server_says_to_a_hidden_link_is_said_without_it(
    site: Site, tmp_path: Path, lines: list[str], page: Page, sentence: str
) -> None:
    hide(site, tmp_path)
    site.pages["/ds/abc"] = page
    with pytest.raises(InvalidDataset, match=f"^{NAMED} {sentence}") as caught:
        fetch(HIDDEN, tmp_path, lines)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("content", [None, "", KEY, f"https://a.example/{KEY} b", f"http://a.example/{KEY}", *NO_HOSTS])
def test_an_unusable_link_in_the_secret_is_not_shown(
    site: Site, tmp_path: Path, lines: list[str], content: str | None
) -> None:
    if content is not None:
        (tmp_path / "url").write_text(content)
    with pytest.raises(InvalidDataset, match=r"Secret 'roboflow' of dataset\.uriSecretRef") as caught:
        fetch(HIDDEN, tmp_path, lines)
    assert KEY not in str(caught.value)


def test_the_environments_link_is_asked_for_what_shows_of_it(
    site: Site, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATASET_URL_VARIABLE, f"{site.url}/ds/abc?key={KEY}")
    assert fetch(DatasetSpec(uri=f"{site.url}/ds/abc"), tmp_path, lines) == packed()
    assert site.asked[0][0] == f"/ds/abc?key={KEY}"
    site.asked.clear()
    assert fetch(DatasetSpec(uri=f"{site.url}/export/set.zip"), tmp_path, lines) == packed()
    assert site.asked[0][0] == "/export/set.zip", "another data set"


def test_a_cut_download_goes_on_and_is_compared(site: Site, tmp_path: Path, lines: list[str]) -> None:
    site.cuts = [50]
    dataset = DatasetSpec(uri=f"{site.url}/ds/abc", sha256=sha256_of(packed()).upper())
    assert fetch(dataset, tmp_path, lines) == packed()
    with pytest.raises(InvalidDataset, match=r"has the SHA-256 .* was replaced or damaged"):
        fetch(dataset.model_copy(update={"sha256": "0" * 64}), tmp_path, lines)


def test_a_server_that_is_gone_may_come_back(site: Site, tmp_path: Path, lines: list[str]) -> None:
    site.pages["/ds/abc"] = redirect(f"https://localhost:1/x?key={KEY}")
    with pytest.raises(
        StoreUnavailable, match=f"^{site.url}/ds/abc cannot be downloaded: NewConnectionError"
    ) as caught:
        fetch(DatasetSpec(uri=f"{site.url}/ds/abc"), tmp_path, lines)
    assert KEY not in str(caught.value)


def tarred() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("data.yaml"))
    return content.getvalue()


OTHERS = {
    "a page": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page, not a zip"),
    "a page after a mark and blanks": (b"\xef\xbb\xbf\r\n <HTML lang=en>", "is a web page, not a zip"),
    "a page after a comment": (b"<!-- saved --><html>", "is a web page, not a zip"),
    "XHTML": (b"<?xml version='1.0'?><html xmlns='x'>", "is a web page, not a zip"),
    "a store's refusal": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is an answer in XML"),
    "an API's answer": (json.dumps({"export": {"link": "https://x"}}).encode(), "the download link that stands in it"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
    "a tar": (tarred(), "is not a zip file but packed with tar"),
    "a packed tar": (gzip.compress(tarred()), "is not a zip file but packed with gzip"),
    "RAR": (b"Rar!\x1a\x07\x01\x00", "is not a zip file but packed with RAR"),
}


@pytest.mark.parametrize(("body", "sentence"), OTHERS.values(), ids=OTHERS)
def test_what_came_in_place_of_the_zip_is_called_by_its_name(
    site: Site, tmp_path: Path, lines: list[str], body: bytes, sentence: str
) -> None:
    """Also where a checksum is given, which is wrong as well, but not the reason."""
    site.pages["/ds/abc"] = Page(body=body)
    dataset = DatasetSpec(uri=f"{site.url}/ds/abc", sha256="0" * 64)
    with pytest.raises(InvalidDataset, match=f"^{site.url}/ds/abc .*{sentence}"):
        fetch(dataset, tmp_path, lines)


def test_a_zip_that_begins_with_something_else_is_one(site: Site, tmp_path: Path, lines: list[str]) -> None:
    site.pages["/ds/abc"] = Page(body=b"<html>" + packed())
    assert fetch(DatasetSpec(uri=f"{site.url}/ds/abc"), tmp_path, lines).endswith(packed())
