"""Small faults that would hurt silently, and the tests that see each of them: ``python -m tests.faults [WORD ...]``.

Each fault is planted in the source, its tests are run, and the source is restored. A fault that no test sees is a promise
that no test keeps.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Fault:
    """``new`` in the place of ``old`` in the file ``path``; the test file ``seen_by`` must fail."""

    name: str
    path: str
    old: str
    new: str
    seen_by: str


FAULTS = (
    Fault(
        "chips reach training as BGR",
        "chipper/detection/chips.py",
        "image=np.asarray(read_jpeg(jpeg, side)),",
        "image=np.asarray(read_jpeg(jpeg, side))[..., ::-1].copy(),",
        "tests/detection/test_promises.py",
    ),
    Fault(
        "the content is always the whole chip",
        "chipper/detection/chips.py",
        "content=sample.chip.content,",
        "content=(side, side),",
        "tests/detection/test_promises.py",
    ),
    Fault(
        "the valid range is always 0 to infinity",
        "chipper/detection/chips.py",
        "valid_range=(low, math.inf if high is None else high),",
        "valid_range=(0.0, math.inf),",
        "tests/detection/test_promises.py",
    ),
    Fault(
        "boxes are mirrored about the chip, not its content",
        "chipper/detection/flips.py",
        "boxes = torch.stack((width - x2, y1, width - x1, y2), dim=2)",
        "side = batch.images.shape[-1]; boxes = torch.stack((side - x2, y1, side - x1, y2), dim=2)",
        "tests/detection/test_promises.py",
    ),
    Fault(
        "the same flips in every epoch",
        "chipper/detection/engine.py",
        "flips_of(batch.chip_ids, options.seed, self.at.epoch)",
        "flips_of(batch.chip_ids, options.seed, 0)",
        "tests/detection/test_promises.py",
    ),
    Fault(
        "the same anchors are sampled in every epoch",
        "chipper/detection/engine.py",
        "seed = int(hashed(options.seed, self.at.epoch)) >> 1",
        "seed = int(hashed(options.seed, 0)) >> 1",
        "tests/detection/test_promises.py",
    ),
    Fault(
        "anchors of a pyramid are half as large",
        "chipper/detection/anchors.py",
        "(8.0 * stride,)",
        "(4.0 * stride,)",
        "tests/detection/test_promises.py",
    ),
    Fault(
        "mean and deviation in BGR order",
        "chipper/detection/model.py",
        "MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)",
        "MEAN, STD = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)",
        "tests/detection/test_promises.py",
    ),
    Fault(
        "AdamW's rate grows linearly with the batch",
        "chipper/detection/schedule.py",
        'ratio if spec.optimizer == "sgd" else ratio**0.5',
        "ratio",
        "tests/detection/test_promises.py",
    ),
    Fault(
        "generators are not restored on resume",
        "chipper/detection/engine.py",
        "            restore_rng(checkpoint.rng)\n",
        "",
        "tests/detection/test_promises.py",
    ),
    Fault(
        "the published ranges are not widened at inference",
        "chipper/inference/scales.py",
        "    if trained in PUBLISHED_RANGES:\n        return PUBLISHED_RANGES[trained]\n",
        "    if trained in PUBLISHED_RANGES:\n        return trained\n",
        "tests/detection/test_promises.py",
    ),
    Fault(
        "a run's own ranges are not widened at inference",
        "chipper/inference/scales.py",
        "    return ValidRange(low, trained.high * (180 / 150))",
        "    return trained",
        "tests/detection/test_promises.py",
    ),
    Fault(
        "labels of negatives are not weighed against positives",
        "chipper/manifest/mine_negatives.py",
        "labels = label_chips(both[np.argsort(both.chip_id)], images, annotations, options, assignments)",
        "labels = label_chips(negatives[np.argsort(negatives.chip_id)], images, annotations, options, assignments)",
        "tests/manifest/test_promises.py",
    ),
    Fault(
        "all variants are labelled with the assignment of the first",
        "chipper/manifest/mine_negatives.py",
        "assign(images, annotations, pyramid, options, v) for v",
        "assign(images, annotations, pyramid, options, 0) for v",
        "tests/manifest/test_promises.py",
    ),
    Fault(
        "always two negatives per image",
        "chipper/manifest/epoch_lists.py",
        'dataset.negatives.options["per_image"] if',
        "2 if",
        "tests/manifest/test_promises.py",
    ),
    Fault(
        "the hash is not rewound after an image that failed half-way",
        "chipper/shards/writing.py",
        "self.size, self.sha256 = size, sha256",
        "self.size = size",
        "tests/shards/test_promises.py",
    ),
    Fault(
        "a folder is not synced after a rename",
        "chipper/storage/files.py",
        "            sync_directory(path.parent)\n",
        "",
        "tests/storage/test_files.py",
    ),
    Fault(
        "annotations are not in the plan hash",
        "chipper/shards/planning.py",
        "*_arrays(images), *_arrays(annotations))",
        "*_arrays(images))",
        "tests/shards/test_promises.py",
    ),
    Fault(
        "valid ranges are not in the plan hash",
        "chipper/shards/planning.py",
        "tables.options.chip_size, ranges]",
        "tables.options.chip_size]",
        "tests/shards/test_promises.py",
    ),
    Fault(
        "APs and APl are swapped",
        "chipper/evaluation/scores.py",
        '"APs", "APm", "APl"',
        '"APl", "APm", "APs"',
        "tests/evaluation/test_scores.py",
    ),
    Fault(
        "keypoints of two numbers at 0 are lost",
        "chipper/formats/yolo.py",
        "min(x, y) >= 0",
        "min(x, y) > 0",
        "tests/formats/test_yolo.py",
    ),
    Fault(
        "links into images-private are allowed",
        "chipper/images/finding.py",
        "not path.resolve().is_relative_to(folder.resolve())",
        "not str(path.resolve()).startswith(str(folder.resolve()))",
        "tests/manifest/test_promises.py",
    ),
    Fault(
        "the report swaps columns",
        "chipper/report/chips.py",
        "number(total), number(images - int(counts[0]) if counts.size else 0)",
        "number(images - int(counts[0]) if counts.size else 0), number(total)",
        "tests/report/test_tables.py",
    ),
    Fault(
        "the report counts all images",
        "chipper/report/chips.py",
        "number(images - int(counts[0]) if counts.size else 0)",
        "number(images)",
        "tests/report/test_tables.py",
    ),
    Fault(
        "the report shows shards as chips",
        "chipper/report/page.py",
        '(number(positives), f"positive chips',
        '(number(shards.expected if shards else 0), f"positive chips',
        "tests/report/test_tables.py",
    ),
    Fault(
        "all epochs are shuffled alike",
        "chipper/mining/epochs.py",
        "place = hashed(seed, epoch, _SHUFFLE, chosen)",
        "place = hashed(seed, 0, _SHUFFLE, chosen)",
        "tests/manifest/test_promises.py",
    ),
    Fault(
        "fine chips are cut from a reduced JPEG",
        "chipper/shards/stripes.py",
        "return float(shard.chips.scale[first:last].max())",
        "return float(shard.chips.scale[first:last].min())",
        "tests/shards/test_promises.py",
    ),
    Fault(
        "negatives: the upper bound of a range is included",
        "chipper/mining/negatives.py",
        "else size < valid_range.high)",
        "else size <= valid_range.high)",
        "tests/mining/test_negatives.py",
    ),
    Fault(
        "negatives: variants break ties alike",
        "chipper/mining/negatives.py",
        "hashed(options.seed, variant, images.image_id, s + _NEGATIVE_TIES)",
        "hashed(options.seed, 0, images.image_id, s + _NEGATIVE_TIES)",
        "tests/mining/test_negatives.py",
    ),
    Fault(
        "masks do not follow their boxes when detections are merged",
        "chipper/inference/merging.py",
        "None if found.masks is None else found.masks[index]",
        "None if found.masks is None else found.masks[: len(index)]",
        "tests/inference/test_merging.py",
    ),
    Fault(
        "the worst proposals of each scale are kept",
        "chipper/inference/merging.py",
        "order = np.lexsort((-scores, scale_index))",
        "order = np.lexsort((scores, scale_index))",
        "tests/inference/test_merging.py",
    ),
    Fault(
        "AP75 of a class is that at 0.70",
        "chipper/evaluation/scores.py",
        '"AP75": _mean(values[5])',
        '"AP75": _mean(values[4])',
        "tests/evaluation/test_scores.py",
    ),
)


def plant(fault: Fault) -> str | None:
    """The first test that fails with the fault, or None if no test sees it."""
    path = ROOT / fault.path
    source = path.read_text()
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *fault.seen_by.split()]
    try:
        path.write_text(source.replace(fault.old, fault.new, 1))
        run = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
        )
    finally:
        path.write_text(source)
    failed = [line.split(" ")[1] for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0] if run.returncode == 1 and failed else None


def main() -> int:
    """Plant the faults whose name contains one of the words, or all; the exit code is the number of faults that are not seen."""
    words = sys.argv[1:]
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    unseen = 0
    for fault in chosen:
        seen = plant(fault)
        unseen += seen is None
        print(f"{'seen' if seen else 'NOT SEEN'}: {fault.name} ({seen or fault.seen_by})", flush=True)
    print(f"{len(chosen) - unseen} of {len(chosen)} are seen")
    return unseen


if __name__ == "__main__":
    sys.exit(main())
