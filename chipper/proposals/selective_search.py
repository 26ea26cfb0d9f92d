"""Proposals without training: selective search (Uijlings et al., IJCV 2013) with OpenCV's contrib modules.

It replaces the weak region proposal network (RPN) if none has been trained. Segments of similar colour and texture are
merged, and the box of each merged segment is a proposal.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chipper import __version__
from chipper.columns import Images, Proposals
from chipper.errors import DependencyError, ImageError, option
from chipper.images.decoded import open_source
from chipper.images.finding import image_path
from chipper.images.options import PixelOptions
from chipper.parallel.progress import SILENT, Monitor
from chipper.parallel.workers import Workers
from chipper.proposals.journal import ProposalJournal
from chipper.storage.locations import reconnect

LONG_SIDE = 640  # px; images are resized to this before the search, because the time grows with the number of px
_TOGETHER = 16  # images per task


def selective_search(
    images: Images,
    image_dir: Path,
    limit: int,
    *,
    workers: Workers = Workers(),  # noqa: B008, it is frozen
    monitor: Monitor = SILENT,
    pixels: PixelOptions = PixelOptions(),  # noqa: B008, it is frozen
    out: Path | None = None,
    save: Callable[[Proposals], None] = lambda found: None,
) -> Proposals:
    """The first ``limit`` proposals of every image, in source px; scores decrease from 1 towards 0 in OpenCV's order.

    An image that cannot be decoded gives a warning and has no proposals. ``save`` writes them to ``out``, beside which they
    are kept until then.

    Raises:
        DependencyError: OpenCV's contrib modules are not installed.
        ImageError: no image can be decoded.
    """
    _contrib()
    bad = 0
    with (
        ProposalJournal(out, [__version__, limit, pixels, str(image_dir)], images, monitor) as journal,
        monitor.progress("proposing (images)", len(images)) as advance,
    ):
        known = journal.known
        advance(len(known))
        left = images[np.array([image_id not in known for image_id in images.image_id.tolist()], np.bool_)]
        tasks = [
            (image_dir, left[start : start + _TOGETHER], limit, pixels) for start in range(0, len(left), _TOGETHER)
        ]
        for results in workers.sharing(read=[image_dir]).processes(_search, tasks):
            for image_id, boxes in results:
                if isinstance(boxes, str):
                    bad += 1
                    monitor.skip(f"{boxes}; left out")
                else:
                    scores = 1 - np.arange(len(boxes)) / max(limit, 1)
                    journal.add(image_id, np.concatenate([boxes, scores[:, None]], axis=1))
            advance(len(results))
        if len(images) and bad == len(images):
            raise ImageError(f"none of the {bad} images can be decoded; check {option('image_dir')}")
        proposals = journal.proposals()
        save(proposals)
        if out is not None:
            journal.remove()
    return proposals


def _search(
    image_dir: Path, images: Images, limit: int, pixels: PixelOptions
) -> list[tuple[int, npt.NDArray[np.float64] | str]]:
    """Boxes (n, 4) x1 y1 x2 y2 of each image, or the error as text; runs in a worker process."""
    cv2 = _contrib()
    cv2.setNumThreads(1)
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    out: list[tuple[int, npt.NDArray[np.float64] | str]] = []
    for k, image_id in enumerate(images.image_id.tolist()):
        name, size = str(images.file_name[k]), (int(images.width[k]), int(images.height[k]))
        factor = min(1.0, LONG_SIDE / max(size))
        canvas = max(2, round(size[0] * factor)), max(2, round(size[1] * factor))
        try:
            with open_source(image_path(reconnect(image_dir), name), size, finest=factor, pixels=pixels) as source:
                picture = source.whole(canvas)
        except ImageError as error:
            out.append((image_id, f"{image_dir / name}: {error}"))
            continue
        ctypes.CDLL(None).srand(1)  # OpenCV orders the proposals with C's rand
        search.setBaseImage(np.ascontiguousarray(np.asarray(picture)[:, :, ::-1]))
        search.switchToSelectiveSearchFast()
        x, y, width, height = search.process()[:limit].astype(np.float64).reshape(-1, 4).T
        across, down = size[0] / canvas[0], size[1] / canvas[1]
        out.append((image_id, np.stack((x * across, y * down, (x + width) * across, (y + height) * down), axis=1)))
    return out


def _contrib() -> Any:
    try:
        import cv2

        cv2.ximgproc.segmentation  # noqa: B018
    except (ModuleNotFoundError, AttributeError):
        raise DependencyError(
            f"{option('method')} selective-search needs OpenCV's contrib modules; "
            "run: pip install 'sniper-chipper[selective-search]'"
        ) from None
    return cv2
