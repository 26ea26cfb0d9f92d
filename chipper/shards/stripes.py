"""Render all shards of the same images together, so that each image is decoded once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from heapq import merge
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from chipper.errors import ImageError, option
from chipper.grouping import Groups
from chipper.images.decoded import open_source, reduction_for
from chipper.images.finding import image_path
from chipper.images.source import ImageSource
from chipper.shards.options import ExportOptions, RenderOptions
from chipper.shards.planning import ShardPlan, read_part
from chipper.shards.render import encode_jpeg, render_chip
from chipper.shards.samples import SampleWriter, sample_key
from chipper.shards.writing import ImageFault, Mark, Receipt, Sample, ShardWriter, open_shard
from chipper.storage.locations import reconnect

IN_A_ROW = 100  # if this many consecutive images fail, the folder is wrong or the disk is gone


def render_stripe(
    workdir: Path, shards: Path, belongs_to: str, image_dir: Path, plans: list[ShardPlan], options: ExportOptions
) -> list[Receipt]:
    """Render shards of one part, and commit each to ``shards`` when its last image is done; runs in a worker process.

    Raises:
        ImageError: an image cannot be rendered and ``on_error="fail"`` is given, or too many consecutive images cannot be
            rendered.
        StorageError: a shard cannot be written.
    """
    shards, image_dir = reconnect(shards), reconnect(image_dir)
    faults: list[ImageFault] = []
    with ExitStack() as stack:  # shards that are still open when an error occurs are discarded
        own = [_Shard(workdir, shards, belongs_to, plan, stack) for plan in plans]
        for _, some in groupby(merge(*(shard.images(k) for k, shard in enumerate(own))), key=lambda place: place[0]):
            places = [(own[k], first, last) for _, k, first, last in some]
            image = _Image(image_dir, places, options.render)
            try:
                image.render()
            except ImageError as error:
                if options.on_error == "fail":
                    where = image_dir / image.file_name
                    raise ImageError(
                        f"{where}: {error}; repair the image, or leave out {option('on_error')} fail"
                    ) from None
                faults.append(image.fault(str(error)))
                if len(faults) == IN_A_ROW:
                    raise too_many(faults, image_dir) from None
            else:
                faults.clear()
            for shard, _, last in places:
                shard.commit_after(last)
    return [shard.receipt for shard in own]


def number_of_images(faults: list[ImageFault]) -> int:
    """The number of different images in the faults of several shards."""
    return len({fault.image_id for fault in faults})


def too_many(faults: list[ImageFault], images: Path) -> ImageError:
    """The error that stops an export."""
    last = faults[-1]
    return ImageError(
        f"{number_of_images(faults)} images could not be rendered, too many to continue; the last: {images / last.file_name}: "
        f"{last.error}; check {option('image_dir')}, or raise {option('max_errors')}; "
        f"give {option('retry_errors')} once the images are repaired"
    )


class _Shard:
    """One shard of a stripe: its rows, and its writer while it is being written."""

    def __init__(self, workdir: Path, folder: Path, belongs_to: str, plan: ShardPlan, stack: ExitStack) -> None:
        self.tables = read_part(workdir, belongs_to, plan.part, plan.kind)
        self.chips = self.tables.chips[self.tables.rows(plan)]
        self.records = SampleWriter(
            self.tables.images, self.tables.annotations, self.chips, self.tables.labels, self.tables.options
        )
        self._plan, self._folder = plan, folder
        self._stack = stack.enter_context(ExitStack())
        self._writer: ShardWriter | None = None

    def images(self, number: int) -> Iterator[tuple[int, int, int, int]]:
        """For each image: its position, ``number``, and the range of its rows in ``chips``."""
        position = self.chips.image_position
        bounds = Groups.runs(position).offsets.tolist()
        return ((int(position[first]), number, first, last) for first, last in pairwise(bounds))

    @property
    def writer(self) -> ShardWriter:
        """The writer of samples and faults; the file is opened at the first access."""
        if self._writer is None:
            plan = self._plan
            self._writer = self._stack.enter_context(
                open_shard(self._folder, plan.name, plan.kind, plan.hash, plan.chips)
            )
        return self._writer

    def commit_after(self, last: int) -> None:
        """Commit the shard if ``last`` is the end of its rows."""
        if last == len(self.chips):
            self._stack.close()

    @property
    def receipt(self) -> Receipt:
        receipt = self.writer.receipt
        assert receipt is not None
        return receipt


class _Image:
    """One image of a stripe, and its chips in each shard."""

    def __init__(self, folder: Path, places: list[tuple[_Shard, int, int]], render: RenderOptions) -> None:
        self._folder, self._places, self._render = folder, places, render
        shard, first, _ = places[0]
        images = shard.tables.images
        row = images[np.flatnonzero(images.image_id == shard.chips.image_id[first])]
        self.image_id, self.file_name = int(row.image_id[0]), str(row.file_name[0])
        self._declared = int(row.width[0]), int(row.height[0])
        self._marks: list[tuple[_Shard, Mark]] = []

    def render(self) -> None:
        """Add all the image's chips to their shards. Raises ImageError if one of them cannot be rendered."""
        with ExitStack() as stack:
            sources = self._opened(stack)
            self._marks = [(shard, shard.writer.mark()) for shard, _, _ in self._places]
            self._add(sources)

    def _opened(self, stack: ExitStack) -> dict[int, ImageSource]:
        """The image at the reduction of each shard, which depends only on the finest chip of this image in the shard."""
        path = image_path(self._folder, self.file_name)
        needed = {reduction_for(self._finest(*place)) for place in self._places}
        sources: dict[int, ImageSource] = {}
        for reduction in sorted(needed, reverse=True):
            source = open_source(path, self._declared, self._render.exif, 1 / reduction, self._render.pixels)
            stack.enter_context(source)
            sources[reduction] = source
            if source.reduction == 1:  # it is needed, or this kind of image cannot be reduced
                return sources | dict.fromkeys(needed - sources.keys(), source)
        return sources

    def fault(self, error: str) -> ImageFault:
        """Remove the image's chips from its shards and add a fault to each; returns the last fault."""
        for shard, mark in self._marks:
            shard.writer.rewind(mark)
        for shard, first, last in self._places:
            found = ImageFault(self.image_id, self.file_name, error, last - first)
            shard.writer.faults.append(found)
        return found

    def _add(self, sources: dict[int, ImageSource]) -> None:
        jpegs: dict[
            tuple[int, ...], bytes
        ] = {}  # encoded windows, because several variants may have chosen the same window
        windows = Counter(self._window(shard, k) for shard, first, last in self._places for k in range(first, last))
        for shard, first, last in self._places:
            chips, size = shard.chips, shard.tables.options.chip_size
            reduction = reduction_for(self._finest(shard, first, last))
            for k in range(first, last):
                window = self._window(shard, k)
                scale_index, x, y = window
                jpeg = jpegs.get((reduction, *window))
                if jpeg is None:
                    content = int(chips.content_width[k]), int(chips.content_height[k])
                    chip = render_chip(sources[reduction], float(chips.scale[k]), x, y, content, size)
                    jpeg = encode_jpeg(chip, self._render)
                    if windows[window] > 1:
                        jpegs[reduction, *window] = jpeg
                key = sample_key(self.image_id, scale_index, x, y)
                shard.writer.add(Sample(key, int(chips.chip_id[k]), jpeg, shard.records.record(k)))

    @staticmethod
    def _finest(shard: _Shard, first: int, last: int) -> float:
        return float(shard.chips.scale[first:last].max())

    @staticmethod
    def _window(shard: _Shard, k: int) -> tuple[int, int, int]:
        chips = shard.chips
        return int(chips.scale_index[k]), int(chips.x[k]), int(chips.y[k])
