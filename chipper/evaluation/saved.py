"""evaluation.json: an evaluation in the folder of the run that made the detections."""

from __future__ import annotations

from pathlib import Path

import msgspec

from chipper.errors import CheckpointError, option
from chipper.evaluation.scores import Evaluation
from chipper.storage.files import read_struct, write_json

EVALUATION = "evaluation.json"  # in the folder of a training run


class SavedEvaluation(msgspec.Struct):
    """evaluation.json: an `Evaluation`, and of which files it is."""

    coco: str  # file name
    detections: str  # file name
    masks: bool
    numbers: dict[str, float]
    per_class: dict[str, dict[str, float]]
    curves: dict[str, list[float]]
    recall: list[float]


def require_run(run_dir: Path) -> None:
    """Raise CheckpointError where no training run lies."""
    if not run_dir.is_dir():
        raise CheckpointError(
            f"{run_dir} does not exist: no training run lies there; train first, or give {option('run')}"
        )


def read_evaluation(run_dir: Path) -> SavedEvaluation | None:
    """What was kept of a run, if it was evaluated.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a `SavedEvaluation`.
    """
    try:
        return read_struct(run_dir / EVALUATION, SavedEvaluation)
    except FileNotFoundError:
        return None


def save_evaluation(evaluation: Evaluation, coco: Path, detections: Path, masks: bool, run_dir: Path) -> Path:
    """Keep an evaluation in the folder of the run that made the detections, where `chipper report` finds it.

    Raises:
        CheckpointError: no run lies there.
        StorageError: it cannot be written.
    """
    require_run(run_dir)
    curves = {name: curve.tolist() for name, curve in evaluation.curves.items()}
    path = run_dir / EVALUATION
    write_json(
        path,
        SavedEvaluation(
            coco.name,
            detections.name,
            masks,
            evaluation.numbers,
            evaluation.per_class,
            curves,
            evaluation.recall.tolist(),
        ),
    )
    return path
