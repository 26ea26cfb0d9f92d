"""The companion trainer: a thin Faster R-CNN on torchvision's parts. The only package of chipper that imports torch."""

import os

# OpenMP's threads spin for milliseconds when they wait, on cores that others may need: beside busy processes that makes training
# several times slower. It must be said before torch is imported; see "Beside other work" in docs/benchmarks.md.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
