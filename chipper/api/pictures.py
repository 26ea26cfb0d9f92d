"""Draw chips on their images."""

from __future__ import annotations

import html
import io
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, overload

from chipper.api.places import WORKDIR, PathLike, place_or_none, workdir_at
from chipper.api.signatures import takes
from chipper.html import joined, jpeg
from chipper.images.header import open_image
from chipper.images.options import PixelOptions
from chipper.manifest.workdir import Workdir
from chipper.parallel.progress import LOGGED, Monitor
from chipper.pictures.preview import PreviewOptions
from chipper.pictures.preview import preview as draw
from chipper.storage.locations import content

PIXEL_OPTIONS = {f.name: f.default for f in fields(PixelOptions)}
PREVIEW_OPTIONS = {f.name: f.default for f in fields(PreviewOptions) if f.name not in ("image_ids", "pixels")}


class Pictures(Sequence[Path]):
    """Paths of picture files; a notebook shows the pictures."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)

    @overload
    def __getitem__(self, place: int) -> Path: ...
    @overload
    def __getitem__(self, place: slice) -> Pictures: ...
    def __getitem__(self, place: int | slice) -> Path | Pictures:
        return Pictures(self._paths[place]) if isinstance(place, slice) else self._paths[place]

    def __len__(self) -> int:
        return len(self._paths)

    def __repr__(self) -> str:
        return f"Pictures({[str(path) for path in self._paths]})"

    def _repr_html_(self) -> str:
        return joined(map(_shown, self._paths))


def _shown(path: Path) -> str:
    data = content(path)
    with open_image(io.BytesIO(data)) as image:
        size = image.size
    return jpeg(data, html.escape(os.fspath(path)), size)


@takes(PREVIEW_OPTIONS | PIXEL_OPTIONS)
def preview(
    workdir: PathLike | Workdir = WORKDIR,
    image_ids: Sequence[int] = (),
    *,
    out: PathLike | None = None,
    image_dir: PathLike | None = None,
    shards: PathLike | None = None,
    monitor: Monitor = LOGGED,
    **options: Any,
) -> Pictures:
    """Draw chips on their images, one colour per scale and negative chips orange, followed by the chips with their labels.

    Args:
        workdir: a finished workdir.
        image_ids: the images to draw; by default some evenly spread ones.
        out: folder of the pictures; by default ``preview`` in the workdir.
        image_dir: folder or URL of the images; by default chipper searches beside the COCO file.
        shards: folder or URL of the shards; by default inside the workdir.
        monitor: gets the progress.
        options: those of ``chipper preview``: count, scale, sheet, proposals, bands, stretch.

    Raises:
        OptionError: an id or the scale is not in the workdir.
        WorkdirError, ImageDirectoryError: there is nothing to draw.
    """
    found = workdir_at(workdir, shards)
    pixels = PixelOptions(**{name: value for name, value in options.items() if name in PIXEL_OPTIONS})
    chosen = {name: value for name, value in options.items() if name in PREVIEW_OPTIONS}
    if "proposals" in chosen:
        chosen["proposals"] = place_or_none(chosen["proposals"])
    wanted = PreviewOptions(image_ids=tuple(image_ids), pixels=pixels, **chosen)
    folder = place_or_none(out) or found.path / "preview"
    return Pictures(draw(found, wanted, folder, image_dir=place_or_none(image_dir), monitor=monitor))
