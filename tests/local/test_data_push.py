"""`masktrain data push` to a real S3 server, and the job that its block makes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from masktrain_trainer.config import ExitCode, StoreSpec
from masktrain_trainer.files import sha256_of
from tests.local.workplace import Workplace
from tests.stores.conftest import BUCKET, s3_spec  # noqa: F401 - a fixture
from tests.unit.trainer.stores.web_server import Page, Site, serving_site


@pytest.fixture
def connected(workplace: Workplace, s3_spec: tuple[StoreSpec, Path]) -> tuple[Workplace, str]:  # noqa: F811
    """A workplace with keys, and the endpoint that they are for."""
    spec, credentials = s3_spec
    assert spec.endpoint is not None
    keys = {path.name: path.read_text().strip() for path in credentials.iterdir()}
    return Workplace(workplace.folder, keys), spec.endpoint


def test_a_pushed_folder_is_a_job_s_data_set(connected: tuple[Workplace, str]) -> None:
    workplace, endpoint = connected
    target = f"s3://{BUCKET}/{workplace.folder.name}/"
    pushed = workplace.run("data", "push", "tiny", target, "--endpoint", endpoint)
    assert pushed.returncode == 0, pushed.stderr
    block = yaml.safe_load(pushed.stdout)["dataset"]
    assert block["uri"] == f"{target}tiny.zip"
    job = yaml.safe_load((workplace.folder / "job.yaml").read_text())
    job["spec"]["dataset"] = block
    (workplace.folder / "job.yaml").write_text(yaml.safe_dump(job))
    checked = workplace.run("preflight", "job.yaml")
    assert checked.returncode == 0, checked.stderr
    assert "Nothing stands in the way of a training." in checked.stdout

    again = workplace.run("data", "push", "tiny", target, "--endpoint", endpoint)
    assert "holds this data set already" in again.stderr
    assert yaml.safe_load(again.stdout)["dataset"] == block


def test_another_data_set_is_not_overwritten_unasked(connected: tuple[Workplace, str]) -> None:
    workplace, endpoint = connected
    command = ("data", "push", "tiny", f"s3://{BUCKET}/{workplace.folder.name}/other.zip", "--endpoint", endpoint)
    assert workplace.run(*command).returncode == 0
    next((workplace.folder / "tiny" / "train" / "labels").iterdir()).write_text("")
    refused = workplace.run(*command)
    assert refused.returncode == ExitCode.USER_ERROR
    assert "is another data set" in refused.stderr
    assert workplace.run(*command, "--replace").returncode == 0


def test_wrong_keys_are_one_sentence(connected: tuple[Workplace, str]) -> None:
    workplace, endpoint = connected
    stranger = Workplace(workplace.folder, {"AWS_ACCESS_KEY_ID": "NOBODY", "AWS_SECRET_ACCESS_KEY": "nothing"})
    refused = stranger.run("data", "push", "tiny", f"s3://{BUCKET}/x.zip", "--endpoint", endpoint)
    assert refused.returncode == ExitCode.USER_ERROR
    assert refused.stderr.splitlines()[-1].startswith("masktrain data push: ")
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("tiny", "gs://bucket/x.zip"), "gs://bucket/x.zip is no place for a data set"),
        (("nowhere", "file:///tmp/x.zip"), "nowhere does not exist"),
    ],
)
def test_what_cannot_be_pushed_is_one_sentence(workplace: Workplace, arguments: tuple[str, str], sentence: str) -> None:
    refused = workplace.run("data", "push", *arguments)
    assert refused.returncode == ExitCode.USER_ERROR
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_data_set_for_jobs_of_a_single_class_is_pushed_as_one(workplace: Workplace) -> None:
    folder = workplace.folder / "tiny"
    described = (folder / "data.yaml").read_text()
    (folder / "data.yaml").write_text(described.replace("nc: 2", "nc: 1").replace("['red', 'green']", "['item']"))
    command = ("data", "push", "tiny", f"file://{workplace.folder}/store.zip")
    refused = workplace.run(*command)
    assert refused.returncode == ExitCode.USER_ERROR
    assert "class 1 exceeds nc 1" in refused.stderr
    assert "training.singleClass takes any number" in refused.stderr
    pushed = workplace.run(*command, "--single-class")
    assert pushed.returncode == 0, pushed.stderr
    assert "train: 16 images: 16 labelled, 0 without label, 0 with an empty label; 0 labels without image" in (
        pushed.stderr
    )


def test_validation_without_labels_is_said_and_pushed(workplace: Workplace) -> None:
    for label in (workplace.folder / "tiny" / "valid" / "labels").iterdir():
        label.write_text("")
    pushed = workplace.run("data", "push", "tiny", f"file://{workplace.folder}/store.zip")
    assert pushed.returncode == 0, pushed.stderr
    assert "No val image has a box, so that no epoch can be measured: 4 of 4 images have an empty label" in (
        pushed.stderr
    )
    refused = workplace.run("preflight", "job.yaml", "--data", "tiny")
    assert refused.returncode == ExitCode.USER_ERROR
    assert "set dataset.allowUnlabelledValidation" in refused.stderr
    allowed = ("--set", "dataset.allowUnlabelledValidation=true")
    assert workplace.run("preflight", "job.yaml", "--data", "tiny", *allowed).returncode == 0


def test_missing_keys_are_named_as_what_they_are_here(workplace: Workplace, s3_spec: tuple[StoreSpec, Path]) -> None:  # noqa: F811
    endpoint = s3_spec[0].endpoint
    assert endpoint is not None
    refused = workplace.run("data", "push", "tiny", f"s3://{BUCKET}/x.zip", "--endpoint", endpoint)
    assert refused.returncode == ExitCode.USER_ERROR
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY." in refused.stderr


KEY = "hunter2"


@pytest.fixture
def site(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Where the zip of the workplace can be downloaded by a link with a key."""
    with serving_site(workplace.folder, monkeypatch) as found:
        found.pages = {"/ds/abc": Page(body=(workplace.folder / "tiny.zip").read_bytes())}
        yield found


@pytest.mark.parametrize("arguments", [(), ("-",)], ids=["environment", "standard input"])
def test_a_link_is_pushed_without_being_an_argument(
    workplace: Workplace, site: Site, arguments: tuple[str, ...]
) -> None:
    link, target = f"{site.url}/ds/abc?key={KEY}", f"{(workplace.folder / 'store').as_uri()}/"
    told = Workplace(workplace.folder, {} if arguments else {"MASKTRAIN_DATASET_URL": link})
    pushed = told.run("data", "push", *arguments, target, text=f"{link}\n" if arguments else "")
    assert pushed.returncode == 0, pushed.stderr
    block = yaml.safe_load(pushed.stdout)["dataset"]
    assert block == {"uri": f"{target}abc.zip", "sha256": sha256_of(workplace.folder / "tiny.zip")}
    assert site.asked[0][0] == f"/ds/abc?key={KEY}"
    assert KEY not in pushed.stdout + pushed.stderr
    assert workplace.left_over() == []


@pytest.mark.parametrize(
    ("arguments", "text", "sentence"),
    [
        (("https://app.roboflow.com/ds/abc?key=hunter2", "file:///s/x.zip"), "", "put the whole link into the environ"),
        (("-", "file:///s/x.zip"), "http://a.example/hunter2", "There is no data set to push"),
        (("-", "file:///s/x.zip"), "\udcff", "There is no data set to push"),
        (("file:///s/x.zip",), "", "There is no data set to push"),
        (("http://a.example/x?key=hunter2", "file:///s/x.zip"), "", "There is no data set to push"),
        (("HTTPS://a.example/x?key=hunter2", "file:///s/x.zip"), "", "There is no data set to push"),
        (("-", "file:///s/x.zip"), "https://[a/x.zip?key=hunter2", "There is no data set to push"),
        (("tiny", "https://a.example/x.zip?key=hunter2"), "", "is no place for a data set to be pushed to"),
    ],
)
def test_a_link_in_the_wrong_place_is_one_sentence(
    workplace: Workplace, arguments: tuple[str, ...], text: str, sentence: str
) -> None:
    refused = workplace.run("data", "push", *arguments, text=text)
    assert refused.returncode == ExitCode.USER_ERROR
    assert sentence in refused.stderr
    assert KEY not in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_link_is_checked_by_preflight(workplace: Workplace, site: Site) -> None:
    told = Workplace(workplace.folder, {"MASKTRAIN_DATASET_URL": f"{site.url}/ds/abc?key={KEY}"})
    checked = told.run("preflight", "job.yaml")
    assert checked.returncode == 0, checked.stderr
    assert f"The data set comes from the link in MASKTRAIN_DATASET_URL, {site.url}/ds/abc." in checked.stdout
    assert "Nothing stands in the way of a training." in checked.stdout
    assert KEY not in checked.stdout + checked.stderr
