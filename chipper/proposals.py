"""Proposals from SNIPER's pickle, a pickled dict by image id, COCO results JSON or chipper's Parquet."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chipper import safe_pickle
from chipper.coco_check import whole_number
from chipper.columns import Images, offsets_of
from chipper.errors import ProposalError
from chipper.files import atomic, fingerprint, read_bytes, write_table
from chipper.negatives import Proposals
from chipper.schemas import PROPOSALS, SchemaMismatch

_CURE = "give the proposals that were made for this COCO file"
_OUTSIDE = 2.0  # source px that a proposal may stick out of its image by
_MOST_OUTSIDE = 0.05  # share of proposals that may stick out further


class _Result(msgspec.Struct, gc=False):
    """One entry of a COCO results file."""

    image_id: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    bbox: tuple[float, float, float, float]
    score: float


class ProposalFile:
    """A proposal file, read for one range of images after the other."""

    def __init__(self, path: Path, hash_: str, of_images: Callable[[Images], Proposals]) -> None:
        self.path = path
        self.hash = hash_
        self._of_images = of_images

    def of(self, images: Images) -> Proposals:
        """The proposals of ``images``, image by image.

        Raises:
            ProposalError: too many lie outside their image, as those of another data set do.
        """
        proposals = self._of_images(images)
        image = np.repeat(np.arange(len(images)), np.diff(offsets_of(images.image_id, proposals.image_id)))
        with np.errstate(invalid="ignore"):
            out = (proposals.box[:, 2] > images.width[image] + _OUTSIDE) | (
                proposals.box[:, 3] > images.height[image] + _OUTSIDE
            )
        if out.mean() > _MOST_OUTSIDE if out.size else False:
            worst = images.image_id[image[np.flatnonzero(out)[0]]]
            raise ProposalError(
                f"{self.path}: {out.mean():.0%} of the proposals lie outside their image (the first: image {worst}); {_CURE}"
            )
        return proposals


def open_proposals(path: Path, image_ids: np.ndarray, image_records: int) -> ProposalFile:
    """Open a proposal file for the images ``image_ids``; ``image_records`` is the number of images in the COCO file.

    Formats, by name: ``.json`` COCO results (bbox xywh in source px), ``.parquet`` chipper's own, anything else a pickle:
    SNIPER's list of (n, 4 or 5) arrays x1 y1 x2 y2 [score], one for each image in the order of the COCO file, or a dict
    of such arrays by image id. Without scores the order in the file is the rank.

    Raises:
        ProposalError: the file cannot be read or is for other images.
    """
    if path.suffix == ".parquet":
        return _open_parquet(path, image_ids, image_records)
    data = read_bytes(path, ProposalError, "proposal file", "make one with `chipper propose`, or give another path")
    if path.suffix == ".json":
        by_image = _from_results(path, data)
    else:
        content = safe_pickle.load(data, str(path))
        if isinstance(content, (list, tuple)):
            return _open_list(path, data, list(content), image_records)
        if not isinstance(content, dict):
            raise ProposalError(f"{path} holds a {type(content).__name__}, not a list or dict of arrays; {_CURE}")
        by_image = {_image_key(path, key): value for key, value in content.items()}
    _check_known(path, np.array(sorted(by_image), dtype=np.int64), image_ids, image_records)
    return ProposalFile(
        path, fingerprint(data), lambda images: _gather(path, images, lambda k: by_image.get(int(images.image_id[k])))
    )


def _open_list(path: Path, data: bytes, arrays: list[Any], image_records: int) -> ProposalFile:
    if len(arrays) != image_records:
        raise ProposalError(
            f"{path} holds proposals for {len(arrays)} images, the COCO file {image_records} images; {_CURE}"
        )
    return ProposalFile(
        path, fingerprint(data), lambda images: _gather(path, images, lambda k: arrays[int(images.position[k])])
    )


def _gather(path: Path, images: Images, array_of: Callable[[int], Any]) -> Proposals:
    rows = [_rows(path, array_of(k), int(images.image_id[k])) for k in range(len(images))]
    counts = np.array([r.shape[0] for r in rows], dtype=np.int64)
    merged = np.concatenate(rows) if rows else np.zeros((0, 5))
    return Proposals(np.repeat(images.image_id, counts), np.ascontiguousarray(merged[:, :4]), merged[:, 4])


def _rows(path: Path, value: Any, image_id: int) -> np.ndarray:
    """(n, 5) float64 x1 y1 x2 y2 score."""
    if value is None:
        return np.zeros((0, 5))
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.size == 0:
        return np.zeros((0, 5))
    if array.dtype.kind not in "biuf":
        raise ProposalError(f"{path}: the proposals of image {image_id} are not numbers; {_CURE}")
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise ProposalError(
            f"{path}: the proposals of image {image_id} have shape {array.shape}, not (n, 5) x1 y1 x2 y2 score; {_CURE}"
        )
    if array.shape[1] == 4:  # no scores: the order is the rank
        array = np.concatenate([array, -np.arange(array.shape[0], dtype=np.float64)[:, None]], axis=1)
    return array.astype(np.float64)


def _image_key(path: Path, key: Any) -> int:
    try:
        image_id = whole_number(float(key) if isinstance(key, str) else key)
    except (TypeError, ValueError):
        image_id = None
    if image_id is None:
        raise ProposalError(f"{path}: the key {key!r} is no image id; {_CURE}")
    return image_id


def _from_results(path: Path, data: bytes) -> dict[int, np.ndarray]:
    try:
        results = msgspec.json.decode(data, type=list[_Result])
    except msgspec.DecodeError as error:
        raise ProposalError(
            f"{path} is no COCO results file ({error}); it is a list of image_id, bbox, score"
        ) from None
    ids = np.array([r.image_id for r in results], dtype=np.int64)
    rows = np.array([(*r.bbox, r.score) for r in results], dtype=np.float64).reshape(-1, 5)
    rows[:, 2:4] += rows[:, :2]
    order = np.argsort(ids, kind="stable")
    keys, starts = np.unique(ids[order], return_index=True)
    return dict(zip(keys.tolist(), np.split(rows[order], starts[1:]), strict=True)) if keys.size else {}


def _check_known(path: Path, ids: np.ndarray, image_ids: np.ndarray, image_records: int) -> None:
    # proposals of images that the COCO file has and chipper could not use are no fault
    unknown = ids[~np.isin(ids, image_ids)]
    if not ids.size:
        raise ProposalError(f"{path} holds no proposals; {_CURE}")
    if unknown.size > image_records - image_ids.size or unknown.size == ids.size:
        raise ProposalError(
            f"{path} has proposals for {unknown.size} images that the COCO file does not have (the first: {unknown[0]}); {_CURE}"
        )


def _open_parquet(path: Path, image_ids: np.ndarray, image_records: int) -> ProposalFile:
    try:
        file = pq.ParquetFile(path)
        PROPOSALS.check(file.schema_arrow)
        ids = np.asarray(file.read(columns=["image_id"])["image_id"].to_numpy())
    except FileNotFoundError:
        raise ProposalError(f"proposal file {path} does not exist; make one with `chipper propose`") from None
    except (SchemaMismatch, OSError, pa.ArrowException) as error:
        raise ProposalError(f"{path} is no proposal file: it {str(error).splitlines()[0]}; {_CURE}") from None
    _check_known(path, np.unique(ids), image_ids, image_records)

    def of_images(images: Images) -> Proposals:
        groups = [g for g in range(file.num_row_groups) if _overlaps(file, g, images)]
        table = file.read_row_groups(groups) if groups else file.schema_arrow.empty_table()
        found = Proposals.from_arrow(table)
        order = np.argsort(images.image_id, kind="stable")
        place = order[np.searchsorted(images.image_id, found.image_id, sorter=order).clip(max=len(images) - 1)]
        rows = np.flatnonzero(images.image_id[place] == found.image_id)
        return found[rows[np.argsort(place[rows], kind="stable")]]

    with open(path, "rb") as data:
        hash_ = fingerprint(*iter(lambda: data.read(1 << 24), b""))
    return ProposalFile(path, hash_, of_images)


def _overlaps(file: pq.ParquetFile, group: int, images: Images) -> bool:
    statistics = file.metadata.row_group(group).column(0).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min <= images.image_id.max() and statistics.max >= images.image_id.min())


def write_proposals(path: Path, proposals: Proposals) -> None:
    """Write chipper's Parquet proposal file; rows stand image by image."""
    write_table(path, proposals.to_arrow(PROPOSALS, ""))


def write_pickle(path: Path, proposals: Proposals, image_ids: np.ndarray, positions: np.ndarray, records: int) -> None:
    """Write SNIPER's pickle: one float32 array (n, 5) x1 y1 x2 y2 score for each image of the COCO file, in its order.

    ``image_ids`` (m,) are the usable images and ``positions`` (m,) their places among the file's ``records`` images.
    """
    arrays = [np.zeros((0, 5), np.float32) for _ in range(records)]
    rows = np.concatenate([proposals.box, proposals.score[:, None]], axis=1).astype(np.float32)
    for image_id, position in zip(image_ids, positions, strict=True):
        arrays[position] = rows[proposals.image_id == image_id]
    with atomic(path) as file:
        pickle.dump(arrays, file, protocol=2)
