"""What a manifest means without a cluster, and the sentences about one that means nothing."""

from pathlib import Path

import pytest
import yaml

from masktrain_operator.api.compute import ComputeSpec
from masktrain_operator.api.spec import LimitsSpec
from masktrain_trainer.config import Contract
from masktrain_trainer.errors import UserError
from masktrain_trainer.local.job import (
    JobOptions,
    LocalCompute,
    LocalLimits,
    Manifest,
    Overrides,
    plan_job,
    read_manifest,
)
from masktrain_trainer.stores.web import whole_link

EXAMPLES = sorted((Path(__file__).parents[4] / "examples").glob("*/job*.yaml"))
RESULTS = "file:///results"
JOB = """\
apiVersion: masktrain.dev/v1alpha1
kind: MaskTrainingJob
metadata: {name: masks}
spec:
  dataset: {uri: s3://datasets/masks.zip, store: {endpoint: https://s3.example, credentialsSecretRef: {name: keys}}}
"""


def read(tmp_path: Path, text: str, changes: Overrides | None = None) -> Manifest:
    (tmp_path / "job.yaml").write_text(text)
    return read_manifest(tmp_path / "job.yaml", changes or Overrides(results=RESULTS))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_examples_can_be_trained_here(example: Path) -> None:
    manifest = read_manifest(example, Overrides(results=RESULTS))
    document = yaml.safe_load(example.read_text())
    assert manifest.spec.training.epochs == document["spec"]["training"]["epochs"]
    assert manifest.spec.checkpoint.uri == RESULTS


@pytest.mark.parametrize(("local", "cluster"), [(LocalCompute, ComputeSpec), (LocalLimits, LimitsSpec)])
def test_the_sections_have_the_fields_of_the_api(local: type[Contract], cluster: type[Contract]) -> None:
    assert local.model_fields.keys() == cluster.model_fields.keys()


def test_secrets_are_left_to_the_cluster(tmp_path: Path) -> None:
    manifest = read(tmp_path, JOB)
    assert manifest.ignored == ["dataset.store.credentialsSecretRef"]
    assert manifest.spec.dataset.store is not None
    assert manifest.spec.dataset.store.credentials_secret_ref is None
    assert manifest.spec.dataset.store.endpoint == "https://s3.example"


def test_who_signs_is_left_to_the_cluster(tmp_path: Path) -> None:
    manifest = read(tmp_path, JOB.replace("credentialsSecretRef: {name: keys}", "auth: WorkloadIdentity"))
    assert manifest.ignored == ["dataset.store.auth"]
    assert manifest.spec.dataset.store is not None
    assert manifest.spec.dataset.store.auth is None


def test_what_needs_a_cluster_is_listed(tmp_path: Path) -> None:
    text = JOB + "  compute: {nodes: 2, gpusPerNode: 2, nodePoolRef: {name: v100}}\n  limits: {maxCost: 5}\n"
    changes = Overrides(results=RESULTS, dataset="file:///data.zip")
    manifest = read(tmp_path, text + "  checkpoint: {uri: s3://checkpoints}\n", changes)
    assert manifest.ignored == ["checkpoint.uri", "compute.nodes", "compute.nodePoolRef", "limits.maxCost"]
    assert manifest.spec.dataset.uri == "file:///data.zip"


def test_another_data_set_keeps_what_the_manifest_allows(tmp_path: Path) -> None:
    changes = Overrides(
        results=RESULTS, dataset="file:///data.zip", assignments=["dataset.allowUnlabelledValidation=true"]
    )
    dataset = read(tmp_path, JOB, changes).spec.dataset
    assert (dataset.uri, dataset.store, dataset.allow_unlabelled_validation) == ("file:///data.zip", None, True)


def test_one_node_is_nothing_to_ignore(tmp_path: Path) -> None:
    assert "compute.nodes" not in read(tmp_path, JOB + "  compute: {nodes: 1}\n").ignored


def test_the_endpoint_of_the_command_line_wins(tmp_path: Path) -> None:
    manifest = read(tmp_path, JOB, Overrides(results="s3://here", endpoint="http://127.0.0.1:9000"))
    for store in (manifest.spec.dataset.store, manifest.spec.checkpoint.store):
        assert store is not None
        assert store.endpoint == "http://127.0.0.1:9000"


def test_assignments_are_yaml(tmp_path: Path) -> None:
    assignments = ("training.epochs=3", "spec.model.architecture=yolov5n", "training.hyperparameters.mosaic=0.5")
    spec = read(tmp_path, JOB, Overrides(results=RESULTS, assignments=assignments)).spec
    assert (spec.training.epochs, spec.model.architecture.value) == (3, "yolov5n")
    assert spec.training.hyperparameters.mosaic == 0.5


def test_other_documents_of_the_file_are_passed_over(tmp_path: Path) -> None:
    assert read(tmp_path, f"kind: Secret\n---\n{JOB}").name == "masks"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no MaskTrainingJob but nothing"),
        ("kind: Pod", "holds no MaskTrainingJob but Pod"),
        (f"{JOB}---\n{JOB}", "holds 2 documents of kind MaskTrainingJob; keep one job in a file."),
        ("- a\n- b", "must hold a manifest, but holds a list"),
        ("a: [", "is not valid YAML (line 1"),
        (JOB.replace("masktrain.dev/", "example.org/"), "apiVersion is 'example.org/v1alpha1'"),
        (JOB.replace("{name: masks}", "{}"), "metadata.name must be"),
        (JOB.partition("spec:")[0], "has no spec"),
        (JOB + "  training: {epoch: 3}\n", "training has no field 'epoch'; did you mean training.epochs?"),
        (JOB + "  compute: {gpuPerNode: 3}\n", "compute has no field 'gpuPerNode'; did you mean compute.gpusPerNode?"),
        (JOB + "  model: {architecture: yolov5s6}\n  training: {imageSize: 96}\n", "must be a multiple of 64"),
        (JOB + "  compute: {env: [{name: RANK, value: '1'}]}\n", "compute.env must not name RANK"),
        (JOB + "  training: {compile: true, multiScale: true}\n", "exclude each other"),
        (JOB + "  model: {weights: 'https://a.example/w.pt?key=x'}\n", "put the URL into a Secret"),
        (JOB + "  model: {weights: 'https://a.example/p/key/n/ns/b/w/o/w.pt'}\n", "put the URL into a Secret"),
        (JOB.replace("s3://datasets/masks.zip", "'https://a.example/ds/a?key=x'"), "name that in dataset.uriSecretRef"),
        (
            JOB.replace("uri: s3://datasets/masks.zip", "uriSecretRef: {name: a, key: b}"),
            "variable MASKTRAIN_DATASET_URL",
        ),
        (JOB.replace("uri: s3://datasets/masks.zip, ", ""), "dataset needs either uri or uriSecretRef"),
        (JOB + "  model: {weightsSecretRef: {name: a, key: b}}\n", "which only a cluster has: download the file"),
        (JOB.replace("https://s3", "https://me:word@s3"), "store.endpoint must not hold a login"),
        (JOB.replace("https://s3", "https://a.example/p/key/n/s3"), "store.endpoint must not hold a login"),
    ],
)
def test_a_wrong_manifest_is_told_in_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        read(tmp_path, text)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("assignment", ["training.epochs", "=3", "dataset.uri.x=3", "training.epochs=["])
def test_a_wrong_assignment_is_told_in_a_sentence(tmp_path: Path, assignment: str) -> None:
    with pytest.raises(UserError, match="--set"):
        read(tmp_path, JOB, Overrides(results=RESULTS, assignments=(assignment,)))


def test_a_missing_file_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_manifest(tmp_path / "none.yaml", Overrides())


LINK = "https://app.roboflow.com/ds/abc?key=hunter2"


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        (LINK, "https://app.roboflow.com/ds/abc"),
        ("https://a.example/?key=hunter2", "https://a.example/…"),
        ("https://o.example/p/hunter2/n/ns/b/data/o/set.zip", "https://o.example/p/…/n/ns/b/data/o/set.zip"),
    ],
)
def test_the_environments_link_takes_the_place_of_the_manifests_data_and_shows_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: str, shown: str
) -> None:
    monkeypatch.setenv("MASKTRAIN_DATASET_URL", link)
    monkeypatch.setenv("MASKTRAIN_DEVICE", "cpu")
    (tmp_path / "job.yaml").write_text(JOB.replace("uri: s3://datasets/masks.zip", "uriSecretRef: {name: a, key: b}"))
    job = plan_job(JobOptions(tmp_path / "job.yaml"), tmp_path)
    assert job.config.dataset.uri == shown
    assert whole_link(shown) == link
    assert f"The data set comes from the link in MASKTRAIN_DATASET_URL, {shown}." in job.notes
    assert "hunter2" not in job.config.to_json() + str(job)
    again = plan_job(JobOptions(tmp_path / "job.yaml"), tmp_path)
    monkeypatch.setenv("MASKTRAIN_DATASET_URL", link.replace("key=hunter2", "key=renewed"))
    assert plan_job(JobOptions(tmp_path / "job.yaml"), tmp_path).config.uid == again.config.uid, "goes on from there"


def test_an_argument_beats_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKTRAIN_DATASET_URL", LINK)
    monkeypatch.setenv("MASKTRAIN_DEVICE", "cpu")
    (tmp_path / "job.yaml").write_text(JOB)
    found = plan_job(JobOptions(tmp_path / "job.yaml", data="https://a.example/set.zip"), tmp_path)
    assert found.config.dataset.uri == "https://a.example/set.zip"


@pytest.mark.parametrize(
    ("data", "variable", "sentence"),
    [
        (LINK, None, "put the whole link into the environment variable MASKTRAIN_DATASET_URL"),
        (None, "http://a.example/hunter2", "MASKTRAIN_DATASET_URL must hold an https:// download link"),
    ],
)
def test_a_link_in_the_wrong_place_is_refused_without_showing_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str | None, variable: str | None, sentence: str
) -> None:
    monkeypatch.delenv("MASKTRAIN_DATASET_URL", raising=False)
    if variable is not None:
        monkeypatch.setenv("MASKTRAIN_DATASET_URL", variable)
    (tmp_path / "job.yaml").write_text(JOB)
    with pytest.raises(UserError, match=sentence) as caught:
        plan_job(JobOptions(tmp_path / "job.yaml", data=data), tmp_path)
    assert "hunter2" not in str(caught.value)
