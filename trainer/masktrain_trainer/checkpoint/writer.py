"""One run's writes to its job's store: a checkpoint, what follows from the checkpoints, and the job's end.

Nothing here imports torch: the restore stage, which starts without it, writes too.
"""

import logging
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from masktrain_trainer.config import CHECKPOINT_CREDENTIALS, CheckpointRef, Keep, RunConfig, Steps
from masktrain_trainer.errors import (
    ConditionsUnsupported,
    NothingToPublish,
    ObjectMissing,
    StoreError,
    StoreUnavailable,
)
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores import ObjectInfo, Store, open_store

from .catalog import Catalog, Result, fetch_problem, read_any_result, read_catalog, read_result
from .fence import check_fence, read_claims
from .keys import BEST_FILE, MANIFEST_FILE, MODEL_FILE, RESULT_FILE, STATE_FILE, Fence, JobKeys
from .manifest import LocalFile, Manifest, StoredFile
from .selection import (
    LONGEST_UPLOAD,
    SWEEP_AGE,
    abandoned,
    delete_all_but,
    delete_checkpoint,
    discard_unfinished,
    kept_when_complete,
    models_best_first,
    newest_first,
    superseded,
)
from .spool import SnapshotMeta

log = logging.getLogger(__name__)

ReadMetrics = Callable[[Path], dict[str, float]]
"""What a model file says of itself; ValueError if it cannot be loaded."""


@dataclass(frozen=True)
class CheckpointRefs:
    """What a job has in its store."""

    best: CheckpointRef | None = None
    last: CheckpointRef | None = None


def open_checkpoint_store(config: RunConfig) -> Store:
    """The store of `checkpoint.uri`. Raises StoreDenied."""
    return open_store(config.checkpoint.uri, config.checkpoint.store, Path(CHECKPOINT_CREDENTIALS))


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class CheckpointWriter:
    """The one way to write to a job's store: every method looks at the fence before it changes anything.

    All of them raise Fenced once a later run has claimed the job, and StoreError for the store's failures.
    """

    store: Store
    keys: JobKeys
    fence: Fence
    now: Callable[[], datetime] = _utc_now

    def check_fence(self) -> None:
        """Raise Fenced unless this run is the job's newest."""
        check_fence(self.store, self.keys, self.fence)

    def publish(self, files: Sequence[LocalFile], meta: SnapshotMeta) -> Manifest:
        """Store a checkpoint; repeated after a failure, it sends only what is missing."""
        self.check_fence()
        begun = self.now()
        manifest = _manifest(self.fence, files, meta, begun)
        prefix = manifest.prefix(self.keys)
        for file in files:
            if not self._may_take_over(file.stored(), self.store.head(prefix + file.name), begun):
                self._put_verified(prefix + file.name, file)
        # Again, because uploading takes minutes: whoever has claimed a run meanwhile counts on our silence.
        self.check_fence()
        # Later than this, a sweep of the next run could take the files before their manifest stands: start anew.
        if self.now() - begun > LONGEST_UPLOAD:
            raise StoreUnavailable(f"Storing checkpoint {manifest.id} took longer than {LONGEST_UPLOAD}.")
        # Sweeping and the status count from when the checkpoint exists, not from when its upload began.
        manifest = manifest.model_copy(update={"created_at": self.now()})
        self.store.put(prefix + MANIFEST_FILE, manifest.seal())
        return manifest

    def publish_picture(self, path: Path) -> None:
        """Store a picture of the data, for as long as the job is not complete."""
        self.check_fence()
        self._put_verified(self.keys.picture(path.name), _local(path.name, path))

    def discard_leavings(self) -> None:
        """Remove unfinished uploads: those of this run's earlier processes, and old ones of earlier runs."""
        self.check_fence()
        for own in (self.keys.checkpoints_of(self.fence), self.keys.best):
            discard_unfinished(self.store, own)
        discard_unfinished(self.store, self.keys.root, before=self.now() - SWEEP_AGE)

    def reconcile(self, catalog: Catalog, keep: Keep) -> CheckpointRefs:
        """Bring everything that follows from the checkpoints in line with them: best.pt, and what may be deleted.

        Done after every checkpoint and when an uploader starts, so that a kill at any point is repaired by whoever
        comes next.
        """
        self.check_fence()
        refs = CheckpointRefs(best=self._refresh_best(self.with_models(catalog)), last=self._last(catalog.manifests))
        self._delete_superseded(catalog, keep)
        return refs

    def complete(
        self, artifacts: Path, keep: Keep, read_metrics: ReadMetrics, steps: Callable[[], Steps] = Steps
    ) -> Result:
        """Publish best.pt, read it back, publish the artifacts, write the result, clean up.

        `steps`: what became of what followed the training. May be repeated after a kill. Also raises NothingToPublish.
        """
        self.check_fence()
        # They lie outside the job's uid, where its own clean-up does not reach.
        for name in (BEST_FILE, RESULT_FILE):
            discard_unfinished(self.store, self.keys.output(name))
        catalog = read_catalog(self.store, self.keys)
        finished = read_result(self.store, self.keys)
        if finished is None or not self._is_in_place(finished):
            finished = self._publish_outputs(self.with_models(catalog), artifacts, read_metrics, steps())
        self.clean_up(finished, catalog.manifests, keep)
        return finished

    def finished_before(self) -> Result | None:
        """The result of a job that no run has a claim on any more, if all of it is in place."""
        if read_claims(self.store, self.keys):
            return None
        result = read_result(self.store, self.keys)
        return result if result is not None and self._is_in_place(result) else None

    def clean_up(self, result: Result, manifests: Sequence[Manifest], keep: Keep) -> None:
        """Delete what a complete job needs no more; also where an earlier try was cut off.

        Raises StoreUnavailable, with all checkpoints in place, if another writer has meanwhile replaced an output.
        """
        self.check_fence()
        # First: every writer copies its output from here, and one that was cut off right before it finds nothing.
        self.store.delete(self.keys.best)
        self._require_outputs(result)
        delete_all_but(self.store, self.keys, kept_when_complete(manifests, keep))

    def with_models(self, catalog: Catalog) -> list[Manifest]:
        """Whole checkpoints, and those whose model is left, as their own file or as its second copy best.pt: a model is
        not given up for a worse one because a resume cannot use what else there is.
        """
        copy = self.store.head(self.keys.best) if catalog.modelless else None
        saved = [manifest for manifest in catalog.modelless if _is_stored(_model_of(manifest), copy)]
        return [*catalog.manifests, *catalog.only_models, *saved]

    def _put_verified(self, key: str, file: LocalFile) -> None:
        _verify(file, self.store.put(key, file.path, sha256=file.sha256))

    def _delete_superseded(self, catalog: Catalog, keep: Keep) -> None:
        """Never worth an error: what stays now goes after the next checkpoint."""
        # By the store's clock, which has marked the files: with a fast clock a live writer's would look abandoned.
        now = min(self.now(), catalog.newest or self.now())
        try:
            for manifest in superseded(catalog.manifests, self.fence, keep, now):
                delete_checkpoint(self.store, self.keys, manifest)
            for key in abandoned(catalog.orphans, self.keys, self.fence, now):
                self.store.delete(key)
        except StoreError as error:
            log.warning("older checkpoints stay for now: %s", error)

    def _may_take_over(self, expected: StoredFile, found: ObjectInfo | None, now: datetime) -> bool:
        """Whether an earlier try has stored the file, and so lately that no later run may take it for abandoned."""
        # One from the future says that the clocks differ by more than the allowance for that: its age is unknown.
        return _is_stored(expected, found) and found is not None and abs(now - found.modified) < LONGEST_UPLOAD

    def _refresh_best(self, manifests: Sequence[Manifest]) -> CheckpointRef | None:
        """Have the fittest model, or without any fitness the newest, as `best.pt`, so that every ending leaves one; a
        broken one gives way to the next.
        """
        for manifest in models_best_first(manifests):
            # A model that no epoch has validated is good enough for a job's end at most.
            if manifest.fitness is not None and self._holds_best(manifest):
                return reference(self.store, manifest, MODEL_FILE, self.keys.best, verified_at=manifest.created_at)
        return None

    def _holds_best(self, manifest: Manifest) -> bool:
        """Whether best.pt is this checkpoint's model, by now."""
        expected = _model_of(manifest)
        # Strictly by checksum: where the server loses it, another copy is cheaper than a best.pt of another checkpoint.
        if _is_stored(expected, self.store.head(self.keys.best)):
            return True
        source = manifest.prefix(self.keys) + MODEL_FILE
        # Looked at first, so that a damaged model never replaces a sound best.pt.
        if _differs(expected, self.store.head(source)):
            log.warning("%s of checkpoint %s is gone or damaged", MODEL_FILE, manifest.id)
            return False
        try:
            self.store.copy(source, self.keys.best)
        except ObjectMissing:  # deleted since
            return False
        _verify(expected, self.store.head(self.keys.best))
        return True

    def _last(self, manifests: Sequence[Manifest]) -> CheckpointRef | None:
        newest = next(iter(newest_first(manifests)), None)
        if newest is None or newest.file(STATE_FILE) is None:
            return None
        key = newest.prefix(self.keys) + STATE_FILE
        return reference(self.store, newest, STATE_FILE, key, verified_at=newest.created_at)

    def _is_in_place(self, result: Result) -> bool:
        """Whether best.pt is still what the result says. That it loads was proven before the result was written,
        maybe by a version that reads more than this one.
        """
        with tempfile.TemporaryDirectory() as folder:
            target = self.keys.output(BEST_FILE)
            return fetch_problem(self.store, target, result.best.sha256, Path(folder) / BEST_FILE) is None

    def _require_outputs(self, result: Result) -> None:
        found = self.store.head(self.keys.output(BEST_FILE))
        model = StoredFile(name=BEST_FILE, size_bytes=result.best.size_bytes, sha256=result.best.sha256)
        if _differs(model, found) or read_result(self.store, self.keys) != result:
            raise StoreUnavailable("Another writer has replaced what this one published; it is published anew.")

    def _proven_metrics(self, key: str, sha256: str, read_metrics: ReadMetrics) -> dict[str, float] | None:
        """What the model file at `key` says of itself if it has the expected content: downloaded, hashed, loaded."""
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / BEST_FILE
            problem = fetch_problem(self.store, key, sha256, local)
            if problem is None:
                try:
                    return read_metrics(local)
                except ValueError as error:  # of a newer version, say: the next best is better than none
                    problem = f"no model that this version reads ({error})"
        log.warning("%s is %s", self.store.uri(key), problem)
        return None

    def _publish_outputs(
        self, manifests: Sequence[Manifest], artifacts: Path, read_metrics: ReadMetrics, steps: Steps
    ) -> Result:
        # Before the fence is read for the last time: a later writer either changes the result after this, and the write
        # below is refused, or has claimed its run by then.
        earlier = self._etag_of_result()
        best, metrics = self._publish_best(models_best_first(manifests), read_metrics)
        result_key = self.keys.output(RESULT_FILE)
        outputs = [best.uri, *self._publish_artifacts(artifacts), self.store.uri(result_key)]
        # What is no number has no place in JSON, and the result would never be read again.
        metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
        result = Result(
            uid=self.keys.uid, best=best, metrics=metrics, outputs=outputs, completed_at=self.now(), steps=steps
        )
        # Again: the result makes the job complete, and to prove best.pt has taken its time.
        self.check_fence()
        content = result.to_json().encode()
        try:
            self.store.put(result_key, content, if_absent=earlier is None, if_match=earlier)
        except ConditionsUnsupported:
            self.store.put(result_key, content)
        return result

    def _etag_of_result(self) -> str | None:
        try:
            return self.store.read_with_etag(self.keys.output(RESULT_FILE))[1]
        except ObjectMissing:
            return None

    def _publish_best(
        self, candidates: Sequence[Manifest], read_metrics: ReadMetrics
    ) -> tuple[CheckpointRef, dict[str, float]]:
        """The first model that reads back from among the outputs, and its metrics.

        Always by way of `<uid>/best.pt`, which `clean_up` of the writer that completes the job takes away first.
        """
        target = self.keys.output(BEST_FILE)
        for manifest in candidates:
            for source in self._model_copies(manifest):
                self.check_fence()
                if source != self.keys.best:
                    self.store.copy(source, self.keys.best)
                self._delete_earlier_outputs()
                self.check_fence()
                self.store.copy(self.keys.best, target)
                metrics = self._proven_metrics(target, _model_of(manifest).sha256, read_metrics)
                if metrics is not None:
                    return reference(self.store, manifest, MODEL_FILE, target), metrics
        # What is gone may be gone because another run has completed the job and cleaned up.
        self.check_fence()
        raise NothingToPublish(
            "No stored checkpoint has a model that reads back: there is nothing that best.pt could be made of."
        )

    def _delete_earlier_outputs(self) -> None:
        """All that an earlier best.pt left, by this name, beside itself: twins and videos of another model would pass
        for those of the new one. What somebody else has put there is in no result, and stays.
        """
        earlier = read_any_result(self.store, self.keys)
        left = set(earlier.outputs if earlier else ()) - {
            self.store.uri(self.keys.output(name)) for name in (BEST_FILE, RESULT_FILE)
        }
        if not left:
            return
        for info in list(self.store.list(self.keys.output(""))):
            # Whatever a result says, jobs have folders of their own for their checkpoints.
            if self.store.uri(info.key) in left and not info.key.startswith(self.keys.root):
                self.check_fence()
                self.store.delete(info.key)

    def _model_copies(self, manifest: Manifest) -> Iterator[str]:
        """Where the checkpoint's model is stored, the bucket's second copy, which is where it is needed, first."""
        own = manifest.prefix(self.keys) + MODEL_FILE
        # Its own twice, since the last act of a writer that is cut off may be to replace the copy between two steps.
        for key in (self.keys.best, own, own):
            # Reading back will tell whether the content is right.
            if not _differs(_model_of(manifest), self.store.head(key)):
                yield key

    def _publish_artifacts(self, folder: Path) -> list[str]:
        # Both names stand for what is proven; an artifact so called would replace it.
        names = [name for name in _publishable(folder) if name not in (BEST_FILE, RESULT_FILE)]
        for name in names:
            file = _local(name, folder / name)
            self.check_fence()
            discard_unfinished(self.store, self.keys.output(name))
            self._put_verified(self.keys.output(name), file)
        return [self.store.uri(self.keys.output(name)) for name in names]


def reference(
    store: Store, manifest: Manifest, name: str, key: str, *, verified_at: datetime | None = None
) -> CheckpointRef:
    """A verified file of a checkpoint, for the job's status; verified now unless said otherwise."""
    file = manifest.file(name)
    assert file is not None, f"{manifest.id} has no {name}"
    return CheckpointRef(
        uri=store.uri(key),
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        epoch=manifest.epoch,
        step=manifest.step,
        fitness=manifest.fitness,
        verified_at=verified_at or datetime.now(UTC),
    )


def _model_of(manifest: Manifest) -> StoredFile:
    file = manifest.file(MODEL_FILE)
    assert file is not None, f"{manifest.id} has no {MODEL_FILE}"
    return file


def _is_stored(expected: StoredFile, found: ObjectInfo | None) -> bool:
    """Whether the store shows the file that is meant, by size and checksum."""
    return found is not None and (found.size, found.sha256) == (expected.size_bytes, expected.sha256)


def _differs(expected: StoredFile | LocalFile, found: ObjectInfo | None) -> bool:
    """Whether the store shows another file than is meant; one without a checksum passes, since some servers lose it."""
    return found is None or found.size != expected.size_bytes or found.sha256 not in (None, expected.sha256)


def _verify(expected: StoredFile | LocalFile, found: ObjectInfo | None) -> None:
    if _differs(expected, found):
        raise StoreUnavailable(f"{expected.name} was uploaded, but the store shows another file than was sent.")


def _publishable(folder: Path) -> list[str]:
    """Files at any depth, by their paths below `folder`, but for what is hidden or lies in something hidden."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))


def _local(name: str, path: Path) -> LocalFile:
    return LocalFile(name, path, sha256_of(path), path.stat().st_size)


def _manifest(fence: Fence, files: Sequence[LocalFile], meta: SnapshotMeta, now: datetime) -> Manifest:
    return Manifest(
        attempt=fence.attempt,
        run=fence.run,
        epoch=meta.epoch,
        step=meta.step,
        # NaN compares with nothing, so that no order of the checkpoints could hold it.
        fitness=meta.fitness if meta.fitness is not None and math.isfinite(meta.fitness) else None,
        periodic=meta.periodic,
        created_at=now,
        files=[file.stored() for file in files],
    )
