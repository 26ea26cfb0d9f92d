"""Bad inputs, as data: a list of cases for each kind of input, see `case.Case`."""

from . import (
    annotations,
    checkpoints,
    configs,
    formats,
    images,
    options,
    places,
    proposals,
    rasters,
    results,
    shards,
    workdirs,
)

GROUPS = {
    "Options": options.CASES,
    "Paths and environment variables": places.CASES,
    "Annotations": annotations.CASES,
    "Other formats": formats.CASES,
    "Images": images.CASES,
    "Images by windows": rasters.CASES,
    "Proposals": proposals.CASES,
    "Workdirs": workdirs.CASES,
    "Shards": shards.CASES,
    "Runs, checkpoints, weights": checkpoints.CASES,
    "Detections": results.CASES,
    "Config files, reports, completion": configs.CASES,
}
"""Title on the page and cases."""
