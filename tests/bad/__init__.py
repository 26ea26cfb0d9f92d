"""Bad inputs, as data: a list of cases for each kind of input, see `case.Case`."""

from . import annotations, checkpoints, images, options, places, proposals, results, shards, workdirs

GROUPS = {
    "Options": options.CASES,
    "Paths and environment variables": places.CASES,
    "Annotations": annotations.CASES,
    "Images": images.CASES,
    "Proposals": proposals.CASES,
    "Workdirs": workdirs.CASES,
    "Shards": shards.CASES,
    "Runs, checkpoints, weights": checkpoints.CASES,
    "Detections": results.CASES,
}
"""Title on the page and cases."""
