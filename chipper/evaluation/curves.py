"""Draw precision over recall."""

from __future__ import annotations

from pathlib import Path

from chipper.errors import DependencyError
from chipper.evaluation.scores import Evaluation
from chipper.storage.files import atomic
from chipper.storage.replacing import head, require_replaceable

MOST_NAMED = 12  # classes in the legend
_SOFTWARE = "chipper evaluate"


def require_curves_place(path: Path) -> None:
    """Raise OptionError if there is a file that is not a picture of curves."""
    require_replaceable(path, "a picture of curves", lambda path: _SOFTWARE.encode() in head(path), "curves")


def draw_curves(evaluation: Evaluation, path: Path) -> None:
    """Write a picture of precision over recall at IoU 0.5, with one curve per class.

    Raises:
        DependencyError: matplotlib is not installed.
        OptionError: there is a file that is not a picture of curves.
    """
    require_curves_place(path)
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise DependencyError(
            "a picture of curves needs matplotlib; run: pip install 'sniper-chipper[report]'"
        ) from None
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    order = sorted(evaluation.curves, key=lambda name: -evaluation.per_class[name]["AP"])
    for k, name in enumerate(order):
        values = evaluation.per_class[name]
        if values["AP"] >= 0:
            label = f"{name} (AP50 {100 * values['AP50']:.1f})" if k < MOST_NAMED else None
            axes.plot(evaluation.recall, evaluation.curves[name], label=label, linewidth=1.5 if k < MOST_NAMED else 0.5)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="Precision over recall at IoU 0.5")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left", fontsize="small")
    with atomic(path) as file:
        figure.savefig(file, format="png", dpi=120, metadata={"Software": _SOFTWARE})
