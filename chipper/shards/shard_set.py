"""shards/dataset.json: the content of a finished export."""

from __future__ import annotations

from pathlib import Path

import msgspec

from chipper.coco.records import Category
from chipper.errors import ShardError
from chipper.images.options import PixelOptions
from chipper.manifest.dataset import DATASET
from chipper.schemas import SchemaMismatch
from chipper.schemas.table import check_version
from chipper.shards.writing import RERUN, is_shard_file, tar_path
from chipper.storage.files import read_struct
from chipper.storage.locations import is_there


class ShardSet(msgspec.Struct):
    """shards/dataset.json; it is written last, when every planned shard is complete."""

    format_version: str
    id: str  # the id of the workdir's epochs
    chip_size: int
    categories: list[Category]
    render: dict[str, str | int]
    samples: int
    bytes: int
    lost_chips: int
    shards: list[str]


def exported_pixels(folder: Path) -> PixelOptions:
    """The bands and the stretch of the shards in ``folder``; the defaults if there is no finished export.

    Raises:
        ShardError: shards/dataset.json cannot be used.
    """
    if not is_there(folder / DATASET):
        return PixelOptions()
    return PixelOptions.from_text(read_shard_set(folder).render)


def read_shard_set(folder: Path) -> ShardSet:
    """Read shards/dataset.json. Raises ShardError if there is no finished export, or the file cannot be used."""
    path = folder / DATASET
    try:
        found = read_struct(path, ShardSet)
        check_version(found.format_version)
        strange = [name for name in found.shards if not is_shard_file(tar_path(folder, name)) or "/" in name]
        if strange:
            raise ValueError(f"{strange[0]!r} is not the name of a shard")
    except FileNotFoundError:
        raise ShardError(
            f"{path} does not exist: there is no finished export; run `chipper export-shards` first"
        ) from None
    except (ValueError, SchemaMismatch, OSError) as error:
        raise ShardError(f"{path} cannot be used ({error}); {RERUN}") from None
    return found
