"""Where the results of a training on this machine go, and how they are kept from becoming data."""

from pathlib import Path

from masktrain_trainer.checkpoint.keys import JobKeys
from masktrain_trainer.config import RunConfig
from masktrain_trainer.files import RESULTS_MARK, make_results_folder
from masktrain_trainer.stores import shown_place

from .datasets import given_place

RUNS = "runs"


def local_path(uri: str) -> str:
    """How a person would write the place: a plain path for file:// URIs."""
    return shown_place(uri).removeprefix("file://")


def results_uri(manifest: Path, asked: str | None) -> str:
    """Of a folder or URI; by default of a folder beside the manifest."""
    results = asked or str(manifest.parent / RUNS)
    return results if "://" in results else Path(results).resolve().as_uri()


def results_folder(config: RunConfig) -> str:
    keys = JobKeys(config.namespace, config.name, config.uid)
    return local_path(f"{config.checkpoint.uri.rstrip('/')}/{keys.output('')}")


def keep_apart(results: str, data: str) -> None:
    """Results within a folder of data would be data the next time; they get a mark by which they are left out."""
    folder, top = Path(local_path(results)), _top(results, data)
    if top is not None and folder.is_relative_to(top) and not _is_shared(folder, top):
        make_results_folder(folder)


def keep_apart_in_data(results: str, data: str, job: str) -> None:
    """Among data it is the job's own folder, NAMESPACE/NAME, that has the mark, which would be about the data, too."""
    folder, top = Path(local_path(results)), _top(results, data)
    if top is None or not folder.is_relative_to(top) or not _is_shared(folder, top):
        return
    own = folder / job
    # What lies there already may be data.
    if not own.exists():
        make_results_folder(own)


def _is_shared(folder: Path, top: Path) -> bool:
    """Whether what lies in it may be data."""
    if folder == top:
        return True
    held = folder.name != RUNS and folder.is_dir() and any(folder.iterdir())
    return held and not (folder / RESULTS_MARK).exists()


def _top(results: str, data: str) -> Path | None:
    """The folder of the data, where data and results both are on this machine."""
    on_this_machine = results.startswith("file://") and "://" not in data
    return given_place(Path(data)).resolve() if on_this_machine else None
