"""Read proposals from SNIPER's pickle, a pickled dict by image id, COCO results JSON or chipper's Parquet."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chipper.coco.checking import whole_number
from chipper.columns import Images, Ints, Proposals
from chipper.errors import ProposalError, first_line
from chipper.grouping import Groups, places_of
from chipper.proposals import safe_pickle
from chipper.schemas import PROPOSALS, SchemaMismatch
from chipper.storage.files import fingerprint, fingerprint_of, read_bytes
from chipper.storage.locations import readable

_CURE = "give the proposals that were made for this COCO file"
_OUTSIDE = 2.0  # source px; a proposal may extend this far beyond its image
_MOST_OUTSIDE = 0.05  # share of proposals that may extend further
_SHARED_IMAGES = 1000  # average number of images by which row groups of a streamed file may overlap


class _Result(msgspec.Struct, gc=False):
    """One entry of a COCO results file."""

    image_id: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    bbox: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True)
class ProposalFile(ABC):
    """A proposal file; any number of workers can read the proposals of ranges of images from it."""

    path: Path
    hash: str

    def of(self, images: Images) -> Proposals:
        """The proposals of ``images``, grouped by image.

        Raises:
            ProposalError: they are not boxes, or too many are outside their image, as if they were from another data set.
        """
        proposals = self._of(images)
        image = Groups.of(images.image_id, proposals.image_id).row
        with np.errstate(invalid="ignore"):
            out = (proposals.box[:, 2] > images.width[image] + _OUTSIDE) | (
                proposals.box[:, 3] > images.height[image] + _OUTSIDE
            )
        if out.mean() > _MOST_OUTSIDE if out.size else False:
            worst = images.image_id[image[np.flatnonzero(out)[0]]]
            raise ProposalError(
                f"{self.path}: {out.mean():.0%} of the proposals are outside their image (the first: image {worst}); {_CURE}"
            )
        return proposals

    @abstractmethod
    def _of(self, images: Images) -> Proposals:
        """The proposals of ``images``, grouped by image, as stored in the file."""


@dataclass(frozen=True)
class _Loaded(ProposalFile):
    """A file of a format that can only be read completely; every other process reads it once more."""

    arrays: list[Any] | dict[int, Any]  # by the image's position in the COCO file, or by its id

    def _of(self, images: Images) -> Proposals:
        if isinstance(self.arrays, list):
            return _gather(self.path, images, [self.arrays[k] for k in images.position])
        return _gather(self.path, images, [self.arrays.get(int(k)) for k in images.image_id])

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_again, (self.path, self.hash)


@dataclass(frozen=True)
class _Streamed(ProposalFile):
    """chipper's Parquet; only the row groups of the requested images are read."""

    first: Ints  # (groups,) position in the COCO file of the first image of each row group
    last: Ints

    def _of(self, images: Images) -> Proposals:
        groups = np.flatnonzero((self.first <= images.position.max()) & (self.last >= images.position.min()))
        with _parquet(self.path) as file, _refusing(self.path):
            found = Proposals.from_arrow(file.read_row_groups(groups.tolist()))
        place = places_of(images.image_id, found.image_id)
        rows = np.flatnonzero(place >= 0)
        return found[rows[np.argsort(place[rows], kind="stable")]]


def open_proposals(path: Path, image_ids: Ints, positions: Ints, image_records: int) -> ProposalFile:
    """Open a proposal file for ``image_ids``; ``positions`` are their positions among the ``image_records`` of a COCO file.

    The file name gives the format: ``.json`` is COCO results (bbox xywh in source px), ``.parquet`` is chipper's own format,
    and anything else is a pickle. A pickle holds SNIPER's list of (n, 4 or 5) arrays x1 y1 x2 y2 [score], one for each image
    in the order of the COCO file, or a dict of such arrays by image id. Without scores the order in the file is the rank.
    Parquet files whose rows are in the order of the images are streamed; other files must fit into memory.

    Raises:
        ProposalError: the file cannot be read or is for other images.
    """
    if path.suffix == ".parquet":
        return _open_parquet(path, image_ids, positions, image_records)
    file = _load(path)
    if isinstance(file.arrays, list):
        if len(file.arrays) != image_records:
            raise ProposalError(
                f"{path} holds proposals for {len(file.arrays)} images, the COCO file {image_records} images; {_CURE}"
            )
    else:
        _check_known(path, np.array(sorted(file.arrays), dtype=np.int64), image_ids, image_records)
    return file


def _load(path: Path) -> _Loaded:
    """Read a complete file."""
    if path.suffix == ".parquet":
        with _parquet(path) as file, _refusing(path):
            table = file.read()
        rows = np.stack([table[name].to_numpy() for name in ("x1", "y1", "x2", "y2", "score")], axis=1)
        return _Loaded(path, fingerprint_of(path), _by_image(table["image_id"].to_numpy(), rows))
    data = read_bytes(path, ProposalError, "proposal file", "make one with `chipper propose`, or give another path")
    if path.suffix == ".json":
        return _Loaded(path, fingerprint(data), _from_results(path, data))
    content = safe_pickle.load(data, str(path))
    if isinstance(content, (list, tuple)):
        return _Loaded(path, fingerprint(data), list(content))
    if not isinstance(content, dict):
        raise ProposalError(f"{path} holds a {type(content).__name__}, not a list or dict of arrays; {_CURE}")
    return _Loaded(path, fingerprint(data), {_image_key(path, key): value for key, value in content.items()})


@lru_cache(maxsize=1)
def _load_again(path: Path, expected_hash: str) -> _Loaded:
    file = _load(path)
    if file.hash != expected_hash:
        raise ProposalError(f"{path} was changed while it was in use; run the command again")
    return file


def _gather(path: Path, images: Images, arrays: list[Any]) -> Proposals:
    rows = [_rows(path, array, int(image_id)) for array, image_id in zip(arrays, images.image_id, strict=True)]
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
    if array.dtype.kind not in "iuf":
        raise ProposalError(f"{path}: the proposals of image {image_id} are not numbers; {_CURE}")
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise ProposalError(
            f"{path}: the proposals of image {image_id} have shape {array.shape}, not (n, 5) x1 y1 x2 y2 score; {_CURE}"
        )
    if array.shape[1] == 4:  # without scores, the order is the rank
        array = np.concatenate([array, -np.arange(array.shape[0], dtype=np.float64)[:, None]], axis=1)
    return array.astype(np.float64)


def _image_key(path: Path, key: Any) -> int:
    try:
        image_id = whole_number(float(key) if isinstance(key, str) else key)
    except (TypeError, ValueError):
        image_id = None
    if image_id is None:
        what = repr(key)[:50] if not isinstance(key, int) or key.bit_length() < 200 else f"of {key.bit_length()} bits"
        raise ProposalError(f"{path}: the key {what} is not an image id; {_CURE}")
    return image_id


def _from_results(path: Path, data: bytes) -> dict[int, np.ndarray]:
    try:
        results = msgspec.json.decode(data, type=list[_Result])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProposalError(
            f"{path} is not a COCO results file ({error}); give a list of entries with image_id, bbox, score"
        ) from None
    ids = np.array([r.image_id for r in results], dtype=np.int64)
    rows = np.array([(*r.bbox, r.score) for r in results], dtype=np.float64).reshape(-1, 5)
    with np.errstate(over="ignore"):  # values that are not finite are removed later
        rows[:, 2:4] += rows[:, :2]
    return _by_image(ids, rows)


def _by_image(ids: Ints, rows: np.ndarray) -> dict[int, np.ndarray]:
    """The (n, 5) rows of each image, in their original order."""
    order = np.argsort(ids, kind="stable")
    keys, starts = np.unique(ids[order], return_index=True)
    return dict(zip(keys.tolist(), np.split(rows[order], starts[1:]), strict=True)) if keys.size else {}


def _check_known(path: Path, ids: np.ndarray, image_ids: np.ndarray, image_records: int) -> None:
    # proposals of skipped images of the COCO file are allowed
    unknown = ids[~np.isin(ids, image_ids)]
    if not ids.size:
        raise ProposalError(f"{path} holds no proposals; {_CURE}")
    if unknown.size > image_records - image_ids.size or unknown.size == ids.size:
        raise ProposalError(
            f"{path} has proposals for {unknown.size} images that the COCO file does not have (the first: {unknown[0]}); {_CURE}"
        )


def _parquet(path: Path) -> pq.ParquetFile:
    with _refusing(path):
        file = pq.ParquetFile(readable(path), page_checksum_verification=True)
        PROPOSALS.check(file.schema_arrow)
        return file


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Convert pyarrow's errors for a Parquet file to ProposalError."""
    try:
        yield
    except FileNotFoundError:
        raise ProposalError(f"proposal file {path} does not exist; make one with `chipper propose`") from None
    except SchemaMismatch as error:
        raise ProposalError(f"{path} is not a proposal file: it {error}; {_CURE}") from None
    except (OSError, ValueError, LookupError, TypeError, MemoryError, pa.ArrowException) as error:
        what = first_line(error)
        raise ProposalError(f"{path} is not a proposal file: it is damaged or not Parquet ({what}); {_CURE}") from None


def _open_parquet(path: Path, image_ids: Ints, positions: Ints, image_records: int) -> ProposalFile:
    seen, first, last = [], [], []
    with _parquet(path) as file, _refusing(path):
        for group in range(file.num_row_groups):
            column = file.read_row_group(group, columns=["image_id"])["image_id"]
            if column.null_count:
                raise SchemaMismatch("has rows without image_id")
            ids = np.unique(column.to_numpy())
            seen.append(ids)
            place = places_of(image_ids, ids)
            known = positions[place[place >= 0]]
            first.append(known.min(initial=image_records))
            last.append(known.max(initial=-1))
    _check_known(path, np.unique(np.concatenate([np.zeros(0, np.int64), *seen])), image_ids, image_records)
    spans = np.array(last) - np.array(first) + 1
    if spans.clip(min=0).sum() > image_records + _SHARED_IMAGES * len(first):
        return _load(path)  # the rows of an image are far apart
    return _Streamed(path, fingerprint_of(path), np.array(first), np.array(last))
