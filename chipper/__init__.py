"""chipper: SNIPER chips from COCO annotations.

    import chipper

    workdir = chipper.build_positives("coco.json", scales="512,1.667,3")
    chipper.mine_negatives("rpn.pkl", workdir)
    chipper.export_shards(workdir)
    for chip in chipper.iterate_chips(workdir):
        ...

Data flows one way through the packages, and each imports only from those before it: docs/architecture.md has the map.
``import chipper`` itself loads neither numpy, numba nor torch; a name is loaded when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_PLACES = {
    "chipper.api.stages": (
        "read_coco",
        "build_positives",
        "mine_negatives",
        "export_shards",
        "verify",
        "open_workdir",
    ),
    "chipper.api.planning": ("plan",),
    "chipper.api.chips": ("iterate_chips", "ChipSample"),
    "chipper.api.pictures": ("preview",),
    "chipper.api.detector": ("train", "predict", "evaluate"),
    "chipper.manifest.workdir": ("Workdir",),
    "chipper.errors": ("ChipperError",),
}
NAMES = {name: module for module, names in _PLACES.items() for name in names}
"""The public names and the module of each; everything else may change between releases."""

__all__ = [
    "NAMES",
    "ChipSample",
    "ChipperError",
    "Workdir",
    "__version__",
    "build_positives",
    "evaluate",
    "export_shards",
    "iterate_chips",
    "mine_negatives",
    "open_workdir",
    "plan",
    "predict",
    "preview",
    "read_coco",
    "train",
    "verify",
]

if TYPE_CHECKING:
    from chipper.api.chips import ChipSample, iterate_chips
    from chipper.api.detector import evaluate, predict, train
    from chipper.api.pictures import preview
    from chipper.api.planning import plan
    from chipper.api.stages import (
        build_positives,
        export_shards,
        mine_negatives,
        open_workdir,
        read_coco,
        verify,
    )
    from chipper.errors import ChipperError
    from chipper.manifest.workdir import Workdir


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module 'chipper' has no attribute {name!r}")
    return getattr(importlib.import_module(NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *NAMES])
