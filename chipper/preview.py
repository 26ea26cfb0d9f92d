"""preview: chips drawn on their images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from chipper.columns import concatenate
from chipper.drawing import beside, draw_image, draw_sample
from chipper.errors import ImageError, OptionError
from chipper.files import atomic
from chipper.images import image_path, open_source
from chipper.pool import Pool
from chipper.progress import Monitor
from chipper.samples import UNREADABLE, read_record
from chipper.workdir import DATASET, Workdir

CHIPS_SHOWN = 12  # beside an image


def preview(
    workdir: Workdir, image_ids: Sequence[int], count: int, out: Path, image_dir: Path | None, monitor: Monitor
) -> list[Path]:
    """Write a picture of each image: its boxes and chips and, once shards are there, the chips themselves.

    Without ``image_ids`` it takes ``count`` images, evenly spread.

    Raises:
        OptionError: an id is not in the workdir.
        WorkdirError, ImageDirectoryError: there is nothing to draw.
    """
    dataset = workdir.dataset()
    images = workdir.all_images(dataset)
    unknown = sorted(set(image_ids) - set(images.image_id.tolist()))
    if unknown:
        raise OptionError(
            f"image {unknown[0]} is not in {workdir.path}; give some of its ids, which begin with {images.image_id[:3].tolist()}"
        )
    rows = np.flatnonzero(np.isin(images.image_id, image_ids)) if image_ids else np.linspace(0, len(images) - 1, count)
    folder = workdir.image_dir(dataset, image_dir)
    annotations = concatenate([workdir.annotations(dataset, part) for part in range(dataset.parts)])
    chips = concatenate([workdir.all_chips(dataset, kind) for kind in workdir.kinds(dataset)])
    pool = Pool(workdir.shards) if (workdir.shards / DATASET).exists() else None
    if pool is not None and pool.set.id != dataset.epochs_id:
        monitor.warn(
            f"the shards in {workdir.shards} are of other chips, so none are shown; run `chipper export-shards`"
        )
        pool = None
    written = []
    for row in sorted(set(np.asarray(rows).astype(int).tolist())):
        image_id, name = int(images.image_id[row]), str(images.file_name[row])
        try:
            source = open_source(image_path(folder, name), (int(images.width[row]), int(images.height[row])))
        except ImageError as error:
            monitor.warn(f"{folder / name}: {error}; left out")
            continue
        mine = chips[chips.image_id == image_id]
        picture = draw_image(source.pixels, annotations[annotations.image_id == image_id], mine)
        if pool is not None:
            found = pool.rows(mine.chip_id[:CHIPS_SHOWN])
            picture = beside(picture, [_sample(pool, int(k)) for k in found if k >= 0])
        path = out / f"{image_id:012d}.jpg"
        with atomic(path) as file:
            picture.save(file, "JPEG", quality=90)
        written.append(path)
    return written


def _sample(pool: Pool, row: int) -> Image.Image:
    """A chip with its labels, as the shards hold it. Raises ShardError."""
    jpeg, record = pool.read(row)
    try:
        read_record(record)
        return draw_sample(jpeg, record)
    except UNREADABLE:
        raise pool.damaged(row) from None
