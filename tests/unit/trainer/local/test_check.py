"""`masktrain data check` without a training: what it writes, and where."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from masktrain_trainer.cli.main import main
from masktrain_trainer.local.check import in_order, render
from masktrain_trainer.local.findings import Finding, Kind
from tests.unit.trainer.data.exports import changed, export, picture, unpacked

YAML = "train: train/images\nval: valid/images\nnames: ['<b>cat</b>', '=dog']\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["data", "check", *arguments])


def leaking(root: Path) -> Path:
    same = picture(77)
    pictures = {"train/images/<i>x</i>.jpg": same, "valid/images/y.jpg": same}
    return unpacked(root, changed(export(), {"data.yaml": YAML, **pictures}))


def test_a_clean_set_leaves_nothing_behind(here: Path) -> None:
    result = check(str(unpacked(here / "set", export())))
    assert result.exit_code == 0, result.output
    assert "Nothing looks like a mistake." in result.output
    assert not (here / "data-check").exists()


def test_suspects_are_on_one_page_and_in_a_table(here: Path) -> None:
    result = check(str(leaking(here / "set")))
    assert result.exit_code == 0, result.output
    assert "Pictures in more than one split: 1" in result.output
    page = (here / "data-check" / "suspects.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 2
    assert "<i>x" not in page
    assert "&lt;i&gt;x" in page
    with (here / "data-check" / "suspects.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["kind"] == "leak"
    assert row["pictures"] == "train/images/<i>x</i>.jpg valid/images/y.jpg"


def test_a_second_check_neither_overwrites_the_first_nor_reads_it(here: Path) -> None:
    leaking(here)
    first, second = check("."), check(".")
    assert first.exit_code == second.exit_code == 0, second.output
    assert sorted(path.name for path in here.glob("data-check*")) == ["data-check", "data-check2"]
    counts = [[line for line in result.output.splitlines() if " images: " in line] for result in (first, second)]
    assert counts[0] == counts[1] != []


def test_where_something_lies_a_numbered_folder_is_taken(here: Path) -> None:
    """As `masktrain detect` does, whatever --output says."""
    before = {path: path.read_bytes() for path in leaking(here / "set").rglob("*") if path.is_file()}
    assert check("set", "--output", "set").exit_code == 0
    assert {path: path.read_bytes() for path in (here / "set").rglob("*") if path.is_file()} == before
    assert (here / "set2" / "suspects.html").is_file()


@pytest.mark.parametrize("output", ["a file", "a file/below"])
def test_an_output_that_is_a_file_is_refused_before_anything_is_read(here: Path, output: str) -> None:
    (here / "a file").write_text("mine")
    result = check("nothing", "--output", output)
    assert result.exit_code == 64
    assert result.output.endswith("a file is a file; --output is the folder for the page and the table.\n")
    assert (here / "a file").read_text() == "mine"


def test_of_a_kind_with_many_findings_the_page_shows_the_worst() -> None:
    found = [Finding(Kind.SIZE, f"box {number}", score=number) for number in range(250)]
    page = render(in_order(found), "set")
    assert "of which 200 are shown" in page
    assert "box 249<" in page
    assert "box 49<" not in page


def test_kinds_stand_in_their_order() -> None:
    kinds = [finding.kind for finding in in_order([Finding(kind, "") for kind in reversed(Kind)])]
    assert kinds == list(Kind)
