"""Write proposal files; `chipper.proposals.files` reads them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from chipper.columns import Images, Proposals
from chipper.errors import OptionError, WorkdirError, option
from chipper.schemas import PROPOSALS
from chipper.storage.files import atomic, read_table, write_table
from chipper.storage.replacing import head, require_replaceable


def check_place(path: Path) -> None:
    """Check that a proposal file may be written.

    Raises:
        OptionError: the name is the name of a format that chipper only reads, or there is a file that holds no proposals.
    """
    if path.suffix == ".json":
        raise OptionError(f"{option('out')}: {path} would be read as COCO results; give a .pkl or a .parquet")
    require_replaceable(path, "a file of proposals", _is_parquet if path.suffix == ".parquet" else _is_pickle)


def _is_pickle(path: Path) -> bool:
    start = head(path)
    return start.startswith(b"\x80\x02]") and b"numpy" in start


def _is_parquet(path: Path) -> bool:
    try:
        read_table(path, PROPOSALS, None, "", columns=[])
    except WorkdirError:
        return False
    return True


def write_proposals(path: Path, proposals: Proposals, images: Images, records: int) -> None:
    """Write a proposal file; the name gives the format: chipper's own if it ends in .parquet, else SNIPER's pickle.

    Args:
        path: the file.
        proposals: grouped by image, in the order of the COCO file.
        images: the usable images of the COCO file.
        records: the number of images in the COCO file.

    Raises:
        OptionError: as in `check_place`.
        StorageError: the file cannot be written.
    """
    check_place(path)
    if path.suffix == ".parquet":
        write_parquet(path, proposals)
    else:
        write_pickle(path, proposals, images.image_id, images.position, records)


def write_parquet(path: Path, proposals: Proposals) -> None:
    """Write chipper's Parquet proposal file; rows are grouped by image, in the order of the COCO file."""
    write_table(path, proposals.to_arrow(PROPOSALS, ""))


def write_pickle(path: Path, proposals: Proposals, image_ids: np.ndarray, positions: np.ndarray, records: int) -> None:
    """Write SNIPER's pickle: one float32 array (n, 5) x1 y1 x2 y2 score for each image of the COCO file, in its order.

    ``image_ids`` (m,) are the usable images, and ``positions`` (m,) their positions among the file's ``records`` images.
    """
    arrays = [np.zeros((0, 5), np.float32) for _ in range(records)]
    rows = np.concatenate([proposals.box, proposals.score[:, None]], axis=1).astype(np.float32)
    order = np.argsort(proposals.image_id, kind="stable")
    known = proposals.image_id[order]
    starts, ends = np.searchsorted(known, image_ids, "left"), np.searchsorted(known, image_ids, "right")
    for position, start, end in zip(positions, starts, ends, strict=True):
        arrays[position] = rows[order[start:end]]
    with atomic(path) as file:
        pickle.dump(arrays, file, protocol=2)
