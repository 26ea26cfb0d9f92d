"""chipper demo."""

from __future__ import annotations

from pathlib import Path

import click

from chipper.cli.command import command
from chipper.cli.console import ConsoleMonitor, print_summary
from chipper.cli.options import Place, dry_run_option


@command()
@click.option(
    "--out",
    type=Place(file_okay=False, path_type=Path),
    default="chipper-demo",
    show_default=True,
    help="Folder to fill; an earlier demo in it is replaced.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the drawn images and of the training.")
@dry_run_option
def demo(out: Path, seed: int, dry_run: bool) -> None:
    """Run all stages on drawn images, in a few minutes on a CPU.

    \b
    Example: chipper demo
    """
    from chipper.demo.chain import DemoSettings, require_free, run_demo
    from chipper.demo.data import DemoOptions

    settings = DemoSettings(data=DemoOptions(seed=seed), seed=seed)
    if dry_run:
        require_free(out)
        images = settings.data.train_images + settings.data.val_images
        rows = [("images", f"{images} to draw"), ("training", f"{settings.rpn_steps} and {settings.steps} steps")]
        print_summary(f"Demo in {out} (dry run: nothing written)", rows, {"folder": str(out), "images": images})
        return
    result = run_demo(out, settings, ConsoleMonitor())
    chips = result.dataset.counts["positive_chips"]
    assert result.dataset.negatives is not None
    negatives = result.dataset.negatives.counts["negative_chips"]
    numbers = result.evaluation.numbers
    print_summary(
        f"Demo in {out}",
        [
            ("positive chips", ", ".join(f"{n} at scale {s}" for s, n in chips.items())),
            ("negative chips", ", ".join(f"{n} at scale {s}" for s, n in negatives.items())),
            (
                "AP",
                f"{numbers['AP']:.3f} (AP50 {numbers['AP50']:.3f}; "
                f"small {numbers['APs']:.3f}, medium {numbers['APm']:.3f}, large {numbers['APl']:.3f})",
            ),
            (
                "AP by class",
                ", ".join(f"{name} {numbers['AP']:.3f}" for name, numbers in result.evaluation.per_class.items()),
            ),
            ("time by stage", ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in result.seconds.items())),
            (
                "look at",
                f"{out / 'preview'} (chips on images), {out / 'detections'} (what was found), "
                f"{out / 'chips'} (manifests, shards, runs)",
            ),
        ],
        {
            "folder": str(out),
            "positive_chips": chips,
            "negative_chips": negatives,
            "evaluation": {"numbers": numbers, "per_class": result.evaluation.per_class},
            "seconds_by_command": result.seconds,
        },
    )
