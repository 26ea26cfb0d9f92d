"""chipper: SNIPER chips from COCO annotations.

Data flows one way through the modules, and each imports only from the left::

    schemas, errors <- boxes, scales, seeds, kernels <- mining (positives, labels, negatives, epochs)
        <- edges that know paths (coco, proposals, workdir, images, render, shards) <- detection (torch) <- cli

``import chipper`` itself loads neither numba nor torch.
"""

from __future__ import annotations

from chipper.errors import ChipperError

__version__ = "0.2.0"

__all__ = ["ChipperError", "__version__"]
