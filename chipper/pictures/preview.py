"""preview: choose the images to draw and read their data, one image at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from chipper.checks import bounded, check_fields
from chipper.columns import (
    NEGATIVE,
    POSITIVE,
    Annotations,
    Bools,
    Chips,
    Floats,
    Images,
    Ints,
    Labels,
    concatenate,
)
from chipper.errors import ImageError, OptionError, ProposalError, option
from chipper.images.decoded import open_source
from chipper.images.finding import image_path
from chipper.images.options import PixelOptions
from chipper.images.source import ImageSource
from chipper.manifest.dataset import DATASET
from chipper.manifest.tables import Manifest
from chipper.manifest.workdir import Workdir
from chipper.mining.negatives import best_proposals, chosen_for
from chipper.mining.options import NegativeOptions, PositiveOptions
from chipper.mining.parts import PART_IMAGES
from chipper.parallel.progress import SILENT, Monitor
from chipper.pictures.figure import CHIPS_SHOWN, SHEET, PreviewImage, figure, panel_size, sheet
from chipper.proposals.files import ProposalFile, open_proposals
from chipper.schemas import IMAGES
from chipper.shards.pool import Pool, ShardFinder
from chipper.shards.render import render_chip
from chipper.shards.samples import Record, SampleWriter, parse_record
from chipper.shards.shard_set import exported_pixels
from chipper.storage.files import atomic
from chipper.storage.locations import is_there
from chipper.storage.replacing import head, require_replaceable

COUNT = 12  # images, if no ids are given


@dataclass(frozen=True)
class PreviewOptions:
    """What to draw."""

    image_ids: tuple[int, ...] = ()
    count: int | None = bounded(None, 1)  # images, evenly spread, if no ids are given; None: `COUNT`, or one full sheet
    scale: str | None = None  # the only scale to show, written as in build-positives
    sheet: bool = False  # many images on one picture
    proposals: Path | None = None  # None: the file that the negatives were mined from, if it is found
    pixels: PixelOptions = PixelOptions()  # noqa: RUF009, it is frozen; options that are None are as in the shards

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def images(self) -> int:
        """Number of images to draw if no ids are given."""
        return self.count or (SHEET[0] * SHEET[1] if self.sheet else COUNT)


@dataclass(frozen=True)
class _Tables:
    """The rows of one image, with chips and labels of variant 0."""

    image: Images
    annotations: Annotations
    chips: dict[str, Chips]
    labels: Labels


def preview(
    workdir: Workdir, options: PreviewOptions, out: Path, *, image_dir: Path | None = None, monitor: Monitor = SILENT
) -> list[Path]:
    """Write a picture of each image with its boxes and chips, followed by the chips themselves; or contact sheets.

    Chips are read from the shards if they are there, else cut from the image. Options in ``options.pixels`` that are None are
    as in the shards.

    Raises:
        OptionError: an id or the scale is not in the workdir, or a file in ``out`` would be replaced that is not such a picture.
        WorkdirError, ImageDirectoryError: there is nothing to draw.
        ProposalError: the given proposals cannot be used.
    """
    planned(workdir, options, out)
    pictures = _Pictures(workdir, options, image_dir, monitor)
    written: list[Path] = []
    if options.sheet:
        cells: list[PreviewImage] = []
        for shown, _, _ in pictures:
            cells.append(shown)
            if len(cells) == SHEET[0] * SHEET[1]:
                written.append(_save(sheet(cells), out / f"sheet-{len(written):03d}.jpg"))
                cells = []
        if cells:
            written.append(_save(sheet(cells), out / f"sheet-{len(written):03d}.jpg"))
        return written
    for shown, tables, source in pictures:
        picture = figure(shown, pictures.samples(tables, source))
        written.append(_save(picture, out / f"{shown.image_id:012d}.jpg"))
    return written


def planned(workdir: Workdir, options: PreviewOptions, out: Path) -> list[Path]:
    """The pictures that `preview` would write, if every image can be opened.

    Raises:
        OptionError: an id or the scale is not in the workdir, or a file at one of the names is not such a picture.
        WorkdirError: there is nothing to draw.
    """
    manifest = workdir.open()
    _scale_index(manifest.options, options.scale)
    rows = _rows(manifest, options)
    if options.sheet:
        paths = [out / f"sheet-{k:03d}.jpg" for k in range(-(-rows.size // (SHEET[0] * SHEET[1])))]
    else:
        parts = np.unique(rows // PART_IMAGES).tolist()
        ids = {part: manifest.columns(IMAGES, part, ["image_id"])[0] for part in parts}
        paths = [out / f"{ids[row // PART_IMAGES][row % PART_IMAGES]:012d}.jpg" for row in rows.tolist()]
    for path in paths:  # the images of COCO have the same names
        require_replaceable(path, "a picture", lambda path: _COMMENT in head(path))
    return paths


_COMMENT = b"chipper preview"


def _save(picture: Image.Image, path: Path) -> Path:
    with atomic(path) as file:
        # 4:4:4 keeps thin coloured lines sharp
        picture.save(file, "JPEG", quality=92, subsampling="4:4:4", comment=_COMMENT)
    return path


class _Pictures:
    """Iterates over the chosen images with everything to draw; an image that cannot be opened is left out."""

    def __init__(self, workdir: Workdir, options: PreviewOptions, image_dir: Path | None, monitor: Monitor) -> None:
        self._workdir, self._monitor, self._asked = workdir, monitor, options
        self._manifest = workdir.open()
        self._dataset, self._options = self._manifest.dataset, self._manifest.options
        self._only = _scale_index(self._options, options.scale)
        self._rows = _rows(self._manifest, options)
        self._folder = self._manifest.image_dir(image_dir)
        self._pixels = options.pixels.over(exported_pixels(workdir.shards))
        self._finder = self._shards()
        self._proposals = None if self._dataset.negatives is None else self._proposal_file()

    def __iter__(self) -> Iterator[tuple[PreviewImage, _Tables, ImageSource]]:
        for part in np.unique(self._rows // PART_IMAGES).tolist():
            tables = self._part(part)
            for row in self._rows[self._rows // PART_IMAGES == part].tolist():
                mine = self._of_image(*tables, row % PART_IMAGES)
                image = mine.image
                name, declared = str(image.file_name[0]), (int(image.width[0]), int(image.height[0]))
                try:
                    with open_source(image_path(self._folder, name), declared, pixels=self._pixels) as source:
                        yield self._shown(mine, source, declared), mine, source
                except ImageError as error:
                    self._monitor.skip(f"{self._folder / name}: {error}; left out")

    def samples(self, tables: _Tables, source: ImageSource) -> list[tuple[Image.Image, Record]]:
        """The first chips of each kind and scale, from the shards or, if they are not there, from the image."""
        chips = concatenate(list(tables.chips.values()))
        groups = [(kind, s) for kind in tables.chips for s in range(len(self._options.scales))]
        first = [np.flatnonzero((chips.kind == kind) & (chips.scale_index == s))[:CHIPS_SHOWN] for kind, s in groups]
        rows = np.sort(np.concatenate(first))
        chips = chips[rows]
        pool = None
        if self._finder is not None and (names := self._finder.names(chips.chip_id)):
            pool = Pool(self._workdir.shards, names)
        writer = SampleWriter(tables.image, tables.annotations, chips, tables.labels, self._options)
        out = []
        for k, place in enumerate(pool.rows(chips.chip_id).tolist() if pool is not None else [-1] * len(chips)):
            if pool is not None and place >= 0:
                out.append(pool.decoded(place))
            else:
                content = int(chips.content_width[k]), int(chips.content_height[k])
                corner = float(chips.scale[k]), int(chips.x[k]), int(chips.y[k])
                pixels = render_chip(source, *corner, content, self._options.chip_size)
                out.append((pixels, parse_record(writer.record(k))))
        return out

    def _part(self, part: int) -> tuple[Images, Annotations, dict[str, Chips], dict[str, Labels]]:
        manifest = self._manifest
        chips = {kind: manifest.chips(part, kind) for kind in manifest.kinds}
        labels = {kind: manifest.labels(part, kind) for kind in manifest.kinds}
        return manifest.images(part), manifest.boxes(part), chips, labels

    def _of_image(
        self, images: Images, annotations: Annotations, chips: dict[str, Chips], labels: dict[str, Labels], row: int
    ) -> _Tables:
        image = images[row : row + 1]
        mine = {}
        for kind, some in chips.items():
            wanted = (some.image_id == image.image_id[0]) & (some.variant == 0)
            mine[kind] = some[wanted if self._only is None else wanted & (some.scale_index == self._only)]
        shown = [labels[kind][np.isin(labels[kind].chip_id, mine[kind].chip_id)] for kind in mine]
        return _Tables(image, annotations[annotations.image_id == image.image_id[0]], mine, concatenate(shown))

    def _shown(self, tables: _Tables, source: ImageSource, size: tuple[int, int]) -> PreviewImage:
        annotations, labels = tables.annotations, tables.labels
        valid = np.isin(annotations.annotation_id, labels.annotation_id[labels.valid])
        ignored = np.isin(annotations.annotation_id, labels.annotation_id[labels.ignore])
        seen = np.isin(annotations.annotation_id, labels.annotation_id[~labels.ignore])
        positives = tables.chips[POSITIVE]
        negatives = tables.chips.get(NEGATIVE, positives[:0])
        return PreviewImage(
            name=str(tables.image.file_name[0]),
            image_id=int(tables.image.image_id[0]),
            size=size,
            pixels=source.whole(panel_size(size)[0]),
            box=annotations.box,
            valid=valid,
            ignore=annotations.iscrowd | (ignored & ~seen),
            scales=self._options.scales,
            valid_ranges=self._options.valid_ranges,
            positives=positives,
            negatives=negatives,
            mined=self._dataset.negatives is not None,
            dots=self._dots(tables.image, positives, negatives),
            only=self._only,
        )

    def _dots(self, image: Images, positives: Chips, negatives: Chips) -> Floats | None:
        """(m, 2) centres of the proposals that the negatives were chosen for; None without proposals."""
        if self._proposals is None or self._dataset.negatives is None:
            return None
        options = NegativeOptions(**self._dataset.negatives.options)
        best = best_proposals(self._proposals.of(image), image, options)
        chosen: Bools = chosen_for(image, best, positives, negatives, self._options)
        return np.asarray((best.box[chosen, :2] + best.box[chosen, 2:]) / 2)

    def _shards(self) -> ShardFinder | None:
        if not is_there(self._workdir.shards / DATASET):
            return None
        finder = ShardFinder(self._workdir.shards)
        if finder.set.id == self._dataset.epochs_id:
            return finder
        self._monitor.warn(
            f"the shards in {self._workdir.shards} contain other chips, so chips are cut from the images; "
            "run `chipper export-shards`"
        )
        return None

    def _proposal_file(self) -> ProposalFile | None:
        """The given proposals, or those that the negatives were mined from, if the file is found and unchanged."""
        mined = self._dataset.negatives
        assert mined is not None
        ids, positions = self._manifest.image_places()
        records = self._dataset.source.image_records
        if self._asked.proposals is not None:
            file = open_proposals(self._asked.proposals, ids, positions, records)
            if file.hash != mined.proposals_hash:
                self._monitor.warn(f"{file.path} is not the file that the negatives were mined from")
            return file
        cure = f"so no proposals are drawn; give them with {option('proposals')} {mined.proposals_file}"
        source = self._workdir.path / self._dataset.source.path
        for folder in dict.fromkeys((Path(), self._workdir.path, self._workdir.path.parent, source.parent)):
            path = folder / mined.proposals_file
            if not path.is_file():
                continue
            try:
                file = open_proposals(path, ids, positions, records)
            except ProposalError:
                continue
            if file.hash == mined.proposals_hash:
                return file
            self._monitor.note(f"{path} was changed since the negatives were mined, {cure}")
            return None
        self._monitor.note(f"{mined.proposals_file} was not found, {cure}")
        return None


def _scale_index(options: PositiveOptions, asked: str | None) -> int | None:
    """The index of the only scale to show, or None for all."""
    names = [str(scale) for scale in options.scales]
    if asked is None:
        return None
    if asked not in names:
        raise OptionError(f"{option('scale')} is {asked}; give one of the scales of the workdir: {', '.join(names)}")
    return names.index(asked)


def _rows(manifest: Manifest, options: PreviewOptions) -> Ints:
    """The images to draw, as ascending rows of the images table."""
    if not options.image_ids:
        images = manifest.dataset.counts["images"]
        rows = np.linspace(0, images - 1, min(options.images, images))
        return np.unique(rows.astype(np.int64))
    found, missing = [np.zeros(0, np.int64)], set(options.image_ids)
    for part in manifest.parts:
        ids = manifest.columns(IMAGES, part, ["image_id"])[0]
        rows = np.flatnonzero(np.isin(ids, options.image_ids))
        found.append(rows + part * PART_IMAGES)
        missing -= set(ids[rows].tolist())
    if missing:
        begin = manifest.columns(IMAGES, 0, ["image_id"])[0][:3].tolist()
        raise OptionError(
            f"image {min(missing)} is not in {manifest.folder}; give ids that are in it; the first are {begin}"
        )
    return np.concatenate(found)
