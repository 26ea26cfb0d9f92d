"""AutoFocus: AP and processed pixels, compared with the full pyramid, for one detector (see `benchmarks.claims` for the data)."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.claims import METHODS, NUMBERS, SIZES, Study
from chipper.coco.reading import read_images
from chipper.demo.data import DemoOptions, draw_demo
from chipper.detection.model import build_model
from chipper.detection.predict import predict
from chipper.evaluation.scores import evaluate
from chipper.inference.scales import InferenceScales
from chipper.mining.scales import parse_scales, parse_valid_ranges
from chipper.parallel.progress import Monitor
from chipper.storage.files import write_json


class Listening(Monitor):
    """A monitor that stores the last note."""

    said = ""

    def note(self, message: str) -> None:
        """Store the note."""
        self.said = message


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="cpu")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, default=Path("claims"))
    given = parser.parse_args()
    size, folder, method = SIZES[given.size], given.folder / "drawn", METHODS[1]
    train_json, val_json = (folder / "data" / split / "coco.json" for split in ("train", "val"))
    if not val_json.exists():
        draw_demo(folder / "data", DemoOptions(*size.images))
    study = Study(folder, train_json, val_json, size, given.device)
    workdir, run = study.workdir(method, 0), folder / "autofocus"
    classes = len(workdir.dataset().categories)
    model = build_model(size.model, classes, size.chip, "none" if size.model == "tiny" else "auto", 0, focus=True)
    if not run.exists():
        study.train_on_chips(run, workdir, model, 0, round(size.pixels / (size.batch * size.chip**2)))
    scales = parse_scales(study.scales(method))
    pyramid = InferenceScales.trained_on(scales, parse_valid_ranges(method.ranges, scales))
    images = read_images(val_json)
    print(
        "| finer scales where small objects are at least so likely | AP | APs | APm | APl | pixels |\n|---|---|---|---|---|---|"
    )
    for focus in (None, 0.05, 0.1, 0.2, 0.4):
        heard = Listening()
        found = predict(
            run,
            images,
            val_json.parent / "images",
            pyramid,
            device=given.device,
            score_floor=0.01,
            focus=focus,
            monitor=heard,
        )
        write_json(run / "detections.json", found)
        numbers = evaluate(val_json, run / "detections.json").numbers
        cells = " | ".join(f"{100 * numbers[name]:.1f}" for name in NUMBERS)
        share = "100 %" if focus is None else heard.said.split()[2]
        print(f"| {'(everywhere)' if focus is None else focus} | {cells} | {share} |", flush=True)


if __name__ == "__main__":
    main()
