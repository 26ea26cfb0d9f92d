"""The tables. Boxes are x1 y1 x2 y2, continuous, x2 and y2 exclusive."""

from __future__ import annotations

import pyarrow as pa

from chipper.schemas.table import Column, Table

_I64, _I32, _I16, _F32 = pa.int64(), pa.int32(), pa.int16(), pa.float32()
_BOOL, _TEXT, _BYTES = pa.bool_(), pa.string(), pa.binary()


def _box(prefix: str, unit: str, what: str, type_: pa.DataType = _F32) -> tuple[Column, ...]:
    names = ("x1", "y1", "x2", "y2")
    sides = ("left", "top", "right (exclusive)", "bottom (exclusive)")
    return tuple(Column(prefix + n, type_, unit, f"{side} of {what}") for n, side in zip(names, sides, strict=True))


_CHIP_ID = Column("chip_id", _I64, "", "image position * 2^24 + number in the image; negatives count from 2^23")
_IMAGE_ID = Column("image_id", _I64, "", "id in the COCO file")
_ANNOTATION_ID = Column("annotation_id", _I64, "", "id in the COCO file, or an assigned id if the file has none")

IMAGES = Table(
    "images",
    "Usable images, in the order of the COCO file.",
    (
        _IMAGE_ID,
        Column("position", _I64, "", "position in the COCO file, from 0, counting unusable images"),
        Column("file_name", _TEXT, "", "path below the image directory"),
        Column("width", _I32, "source px", "width that the COCO file declares"),
        Column("height", _I32, "source px", "height that the COCO file declares"),
    ),
)

ANNOTATIONS = Table(
    "annotations",
    "Usable annotations, image by image in the order of the images table.",
    (
        _ANNOTATION_ID,
        _IMAGE_ID,
        Column("category_id", _I64, "", "id in the COCO file"),
        *_box("", "source px", "the box, clipped to the image"),
        Column("area", _F32, "source px^2", "area in the COCO file, or else of the box"),
        Column("iscrowd", _BOOL, "", "a region of many objects: never valid, always ignore"),
        Column("segmentation", _BYTES, "source px", "COCO segmentation as JSON, kept with --masks", nullable=True),
        Column("keypoints", _BYTES, "source px", "COCO keypoints x y v as JSON", nullable=True),
    ),
)

SKIPPED = Table(
    "skipped",
    "Unused records of the COCO file, with reasons.",
    (
        Column("record", _TEXT, "", '"image" or "annotation"'),
        Column("image_id", _I64, "", "image id, if there is one", nullable=True),
        Column("annotation_id", _I64, "", "annotation id, if there is one", nullable=True),
        Column("reason", _TEXT, "", "short name of the reason"),
        Column("detail", _TEXT, "", "what was found"),
    ),
)

CHIPS = Table(
    "chips",
    "Chosen windows, by chip_id.",
    (
        _CHIP_ID,
        _IMAGE_ID,
        Column("kind", _TEXT, "", '"positive" or "negative"'),
        Column(
            "variant",
            _I16,
            "",
            "number of the positive set, from 0; a negative chip has the variant of the positives that it avoids",
        ),
        Column("scale_index", _I16, "", "index of the scale in --scales, from 0"),
        Column("scale", pa.float64(), "canvas px per source px", "scale of this image's canvas"),
        Column("x", _I32, "canvas px", "left of the window"),
        Column("y", _I32, "canvas px", "top of the window"),
        Column("content_width", _I32, "chip px", "width of the image part; the rest is padding"),
        Column("content_height", _I32, "chip px", "height of the image part; the rest is padding"),
        *_box("source_", "source px", "the content", pa.float64()),
        Column("proposals", _I32, "", "number of proposals that a negative chip was chosen for; 0 for a positive chip"),
    ),
)

LABELS = Table(
    "labels",
    "Annotations seen in each chip, by chip_id, clipped to the chip's content.",
    (
        _CHIP_ID,
        _ANNOTATION_ID,
        Column("category_id", _I64, "", "id in the COCO file"),
        *_box("", "chip px", "the clipped box"),
        Column(
            "valid",
            _BOOL,
            "",
            "an object of this scale, complete in this chip, or no chip of the scale shows more of it: may give positive anchors",
        ),
        Column("ignore", _BOOL, "", "crowd, or a side under 10 px in the chip: neither object nor background"),
        Column("visibility", _F32, "0..1", "share of the box's area inside the content"),
    ),
)

EPOCH = Table(
    "epoch",
    "The chips of one epoch, in training order.",
    (Column("position", _I64, "", "position in the epoch, from 0"), _CHIP_ID),
)

SHARD_INDEX = Table(
    "shard index",
    "The place of each sample in its tar.",
    (
        Column("key", _TEXT, "", "sample key: image id, scale index, x, y"),
        _CHIP_ID,
        Column("image_offset", _I64, "bytes", "start of the JPEG's bytes in the tar"),
        Column("image_size", _I64, "bytes", "length of the JPEG"),
        Column("json_offset", _I64, "bytes", "start of the JSON's bytes in the tar"),
        Column("json_size", _I64, "bytes", "length of the JSON"),
        Column("crc32", pa.uint32(), "", "CRC-32 of the JPEG followed by the JSON"),
    ),
)

IMAGE_ERRORS = Table(
    "image errors",
    "Images that could not be rendered.",
    (
        _IMAGE_ID,
        Column("file_name", _TEXT, "", "path below the image directory"),
        Column("error", _TEXT, "", "what was wrong"),
        Column("chips", _I32, "", "number of chips that are missing because of it"),
        Column("shard", _TEXT, "", "shard that would contain them"),
    ),
)

PROPOSALS = Table(
    "proposals",
    "Object proposals, image by image, best first.",
    (_IMAGE_ID, *_box("", "source px", "the proposal"), Column("score", _F32, "", "objectness, higher is better")),
)

TABLES = (IMAGES, ANNOTATIONS, SKIPPED, CHIPS, LABELS, EPOCH, SHARD_INDEX, IMAGE_ERRORS, PROPOSALS)
