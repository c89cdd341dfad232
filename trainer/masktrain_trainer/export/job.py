"""The step of a pod that makes best.pt's twins, in a process of its own: what fails here costs a twin.

`python -m masktrain_trainer.export.job --run-directory FOLDER --data FOLDER`
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from masktrain_trainer.config import CONFIG_VARIABLE, ExportSpec, RunConfig
from masktrain_trainer.data.prepared import PreparedDataset, load_prepared
from masktrain_trainer.errors import MaskTrainError, UnwritableResults
from masktrain_trainer.files import write_reserved
from masktrain_trainer.run_directory import ExportResult, RunDirectory, TwinRow
from masktrain_trainer.weights.load import load_weights

from .twin import Twin, TwinOptions, TwinScores, export_twins

log = logging.getLogger(__name__)


def export_job(spec: ExportSpec, run: RunDirectory, prepared: PreparedDataset) -> ExportResult:
    """Write the twins that are not refused among the artifacts."""
    options = TwinOptions([kind.value for kind in spec.formats], spec.int8, spec.max_accuracy_loss)
    try:
        file = load_weights(str(run.best_model), None)
        # Apart until each is measured: what is cut off leaves nothing unproven among the artifacts.
        twins = export_twins(file, prepared, options, run.unproven_twins, log.info)
    except MaskTrainError as error:
        return ExportResult(done=False, reason=str(error.reason), message=str(error))
    except OSError as error:
        sentence = f"The twins could not be written: {error.strerror or error}."
        return ExportResult(done=False, reason=UnwritableResults.reason, message=sentence)
    for twin in twins:
        log.info("%s", twin)
        if twin.refused is None:
            twin.path.replace(run.artifacts / twin.path.name)
    refused = [twin.refused for twin in twins if twin.refused is not None]
    kept = [twin.path.name for twin in twins if twin.refused is None]
    beside = f"{' and '.join(kept)} {'lies' if len(kept) == 1 else 'lie'} beside best.pt." if kept else ""
    return ExportResult(
        done=not refused,
        reason="AccuracyLoss" if refused else "Exported",
        message=" ".join([*refused, beside]).strip(),
        original=_row("best.pt", "PyTorch", run.best_model.stat().st_size, twins[0].original) if twins else None,
        twins=rows(twins),
    )


def rows(twins: Sequence[Twin]) -> list[TwinRow]:
    return [
        _row(twin.path.name, f"{twin.format} {twin.precision}", twin.size, twin.scores, twin.refused) for twin in twins
    ]


def _row(name: str, kind: str, size: int, scores: TwinScores, refused: str | None = None) -> TwinRow:
    return TwinRow(
        name=name,
        kind=kind,
        megabytes=round(size / 1e6, 1),
        map50=scores.map50,
        map50_95=scores.map50_95,
        frames_per_second=scores.frames_per_second,
        refused=refused,
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="export: %(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-directory", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the prepared data set")
    options = parser.parse_args()
    config, run = RunConfig.model_validate_json(os.environ[CONFIG_VARIABLE]), RunDirectory(options.run_directory)
    assert config.export is not None, "started for a job that exports nothing"
    result = export_job(config.export, run, load_prepared(options.data))
    write_reserved(run.export_result, result.to_json())
    log.info("%s", result.message)


if __name__ == "__main__":
    main()
