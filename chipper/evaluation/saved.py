"""evaluation.json: the evaluation of a run, in its folder."""

from __future__ import annotations

from pathlib import Path

import msgspec

from chipper.errors import CheckpointError, option
from chipper.evaluation.scores import Evaluation
from chipper.storage.files import read_struct, write_json

PER_CLASS = {"AP", "AP50", "AP75", "AR100"}
EVALUATION = "evaluation.json"  # in the folder of a training run


class SavedEvaluation(msgspec.Struct):
    """evaluation.json: an `Evaluation`, and the names of the evaluated files."""

    coco: str  # file name
    detections: str  # file name
    masks: bool
    numbers: dict[str, float]
    per_class: dict[str, dict[str, float]]
    curves: dict[str, list[float]]
    recall: list[float]

    def __post_init__(self) -> None:
        """Raise ValueError if a number is missing."""
        if any(not numbers.keys() >= PER_CLASS for numbers in self.per_class.values()):
            raise ValueError(f"a class lacks one of {', '.join(sorted(PER_CLASS))}")
        if (
            any(len(curve) != len(self.recall) for curve in self.curves.values())
            or not self.curves.keys() <= self.per_class.keys()
        ):
            raise ValueError("its curves do not belong to its classes")


def require_run(run_dir: Path) -> None:
    """Raise CheckpointError if the folder of the training run does not exist."""
    if not run_dir.is_dir():
        raise CheckpointError(
            f"{run_dir} does not exist: there is no training run; train first, or give {option('run')}"
        )


def read_evaluation(run_dir: Path) -> SavedEvaluation | None:
    """The saved evaluation of a run, or None if it was not evaluated.

    Raises:
        OSError: the file cannot be read.
        ValueError: its content is not a `SavedEvaluation`.
    """
    try:
        return read_struct(run_dir / EVALUATION, SavedEvaluation)
    except FileNotFoundError:
        return None


def save_evaluation(evaluation: Evaluation, coco: Path, detections: Path, masks: bool, run_dir: Path) -> Path:
    """Save an evaluation in the folder of the run that made the detections, where `chipper report` finds it.

    Raises:
        CheckpointError: the folder of the run does not exist.
        StorageError: the file cannot be written.
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
