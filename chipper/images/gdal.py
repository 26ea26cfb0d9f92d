"""Read one image file with GDAL, in such a way that GDAL cannot read any other file.

A raster format can refer to other files: a VRT to its sources, a TIFF to a file with its overviews. GDAL also looks for
side-car files (.aux.xml, .ovr, .msk) next to an image and reads URLs. Here the driver is chosen from a short list by the
first bytes; GDAL is given a file object instead of a path or folder; and an image that refers to another file is refused.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from chipper.errors import DependencyError, ImageError, option
from chipper.storage.locations import is_local, open_file

CACHE = 64  # MB of decoded blocks that GDAL keeps
LARGEST_BLOCK = 1 << 28  # bytes of one block of all bands; GDAL always decodes complete blocks
FORMATS = "GeoTIFF, JPEG 2000, PNG, JPEG and WebP"
_MAGIC = (
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),  # BigTIFF
    (b"MM\0+", "GTiff"),
    (b"\0\0\0\x0cjP  ", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"RIFF", "WEBP"),
)
_NAME = "image"  # the name of the file in GDAL
_SETTINGS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",  # no .aux.xml
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",  # no network
    "GDAL_CACHEMAX": CACHE,
    "GDAL_NUM_THREADS": 1,  # workers are processes
    "GTIFF_IMPLICIT_JPEG_OVR": "NO",  # their px are at other positions than those of overviews, see `step`
}


@lru_cache(maxsize=1)
def _rasterio() -> Any:
    try:
        import rasterio
    except ImportError:
        raise DependencyError(
            f"{option('bands')} and {option('stretch')} need rasterio; run: pip install 'sniper-chipper[raster]'"
        ) from None
    import logging

    logging.getLogger("rasterio").propagate = False  # GDAL's log messages; errors are raised anyway
    return rasterio


def driver_of(start: bytes) -> str | None:
    """GDAL's driver for a file with these first 12 bytes, or None if it is not one of `FORMATS`."""
    return next((driver for magic, driver in _MAGIC if start.startswith(magic)), None)


class RasterFile:
    """An image of one or more bands that is read by windows, at full resolution or from an overview inside the file.

    Raises:
        DependencyError: rasterio is not installed.
        ImageError: the file is missing, damaged, not one of `FORMATS`, refers to other files, or has too large blocks.
    """

    def __init__(self, path: Path) -> None:
        self._rasterio = _rasterio()
        self._stack = ExitStack()
        with self._reading(), ExitStack() as unwound:
            unwound.callback(self._stack.close)
            self._file: IO[bytes] = self._stack.enter_context(open_file(path))
            self._local = is_local(path)
            self._before = self._state()
            driver = driver_of(self._file.read(12))
            if driver is None:
                raise ImageError(
                    f"the file is not one of {FORMATS}, which {option('bands')} and {option('stretch')} read"
                )
            self._driver = driver
            self._levels = {1: self._stack.enter_context(self._dataset())}
            self._check()
            found = self._levels[1]
            self.width, self.height, self.count = int(found.width), int(found.height), int(found.count)
            self.dtype = np.dtype(found.dtypes[0])
            self.overviews = self._overviews()
            unwound.pop_all()

    @property
    def tiled(self) -> bool:
        """Whether blocks are narrower than the image."""
        return bool(self._levels[1].block_shapes[0][1] < self.width)

    def read(
        self, bands: Sequence[int], box: tuple[int, int, int, int], factor: int = 1
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Values (bands, h, w) of a box x1 y1 x2 y2, and which of them are valid, (bands, h, w), or None if all are.

        ``factor`` is 1 or one of ``overviews``; the box is in px of that level. Invalid values are the file's nodata value,
        values that the file's mask excludes, and values that are not finite.
        """
        with self._reading():
            if factor not in self._levels:
                level = self._dataset(overview_level=self.overviews[factor])
                self._levels[factor] = self._stack.enter_context(level)
            dataset = self._levels[factor]
            window = ((box[1], box[3]), (box[0], box[2]))
            values = dataset.read(list(bands), window=window)
            valid = np.isfinite(values) if values.dtype.kind == "f" else None
            for k, band in enumerate(bands):
                flags = {flag.name for flag in dataset.mask_flag_enums[band - 1]}
                if "nodata" in flags:
                    counts = _differs(values[k], dataset.nodatavals[band - 1])
                elif flags == {"per_dataset"}:
                    counts = dataset.read_masks(band, window=window) > 0
                else:  # all values are valid, or the mask is an alpha band, which chipper always drops
                    continue
                valid = np.ones(values.shape, bool) if valid is None else valid
                valid[k] &= counts
        return values, valid

    def step(self, factor: int) -> tuple[float, float]:
        """Source px per px of a level, horizontally and vertically.

        GDAL's overviews of TIFFs cover the image exactly; in the reductions of the other formats this is a whole number.
        """
        if self._driver != "GTiff" or factor == 1:
            return factor, factor
        return self.width / -(-self.width // factor), self.height / -(-self.height // factor)

    def close(self) -> None:
        """Close the file. Raises ImageError if it was written to since it was opened."""
        try:
            if self._state() != self._before:
                raise ImageError("the file was written to while it was read")
        finally:
            self.drop()

    def drop(self) -> None:
        """Close the file without checking it."""
        self._stack.close()

    def _dataset(self, **options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # rasterio warns about images without georeferencing, which chipper does not use
            return self._rasterio.open(_NAME, driver=self._driver, opener=self._opened, **options)

    def _opened(self, name: str, mode: str = "rb", **_: Any) -> io.RawIOBase:
        """The image, if GDAL asks for its name; no other file can be opened."""
        if os.path.basename(name) != _NAME:
            raise FileNotFoundError(name)
        return _Reader(self._file)

    def _check(self) -> None:
        dataset = self._levels[1]
        # GDAL would open that file with any driver when it lists the overviews
        if dataset.tags(ns="OVERVIEWS"):
            raise ImageError("the file refers to another file for its overviews; remove that from its metadata")
        if len(set(dataset.dtypes)) > 1:
            raise ImageError(f"its bands have different types ({', '.join(sorted(set(dataset.dtypes)))})")
        if any(kind.name == "palette" for kind in dataset.colorinterp):
            raise ImageError(
                f"palette and bilevel images have no bands to choose; leave out {option('bands')} and {option('stretch')}"
            )
        rows, columns = dataset.block_shapes[0]
        together = dataset.count if dataset.profile.get("interleave") == "pixel" else 1
        if rows * columns * np.dtype(dataset.dtypes[0]).itemsize * together > LARGEST_BLOCK:
            raise ImageError(
                f"it is stored in blocks of {columns}x{rows} px, too large to read by windows; "
                "rewrite it in tiles: gdal_translate -co TILED=YES"
            )

    def _overviews(self) -> dict[int, int]:
        """The levels of the overviews inside the file by their factor; overviews with another grid are left out."""
        dataset, found = self._levels[1], {}
        for level, factor in enumerate(dataset.overviews(1)):
            with self._dataset(overview_level=level) as overview:
                fits = overview.shape == (-(-self.height // factor), -(-self.width // factor))
            if fits and factor > 1:
                found[factor] = level
        return found

    def _state(self) -> tuple[int, int] | None:
        if not self._local:
            return None  # an object in an object store is always replaced completely
        found = os.fstat(self._file.fileno())
        return found.st_mtime_ns, found.st_size

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with self._rasterio.Env(**_SETTINGS):
                yield
        except FileNotFoundError:
            raise ImageError("the file does not exist") from None
        except ImageError:
            raise
        except Exception as error:  # GDAL and fsspec raise many kinds of errors
            raise ImageError(f"the file cannot be decoded: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    """The innermost cause in one line, without GDAL's name of the file."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(rf"'?(/vsi\w+/)?\b{_NAME}\b'?(, |: )?", "", text)
    return text.strip()


def _differs(values: npt.NDArray[Any], nodata: float) -> npt.NDArray[np.bool_] | bool:
    """Which values differ from the nodata value; True if no value of this type can equal it."""
    if np.isnan(nodata):
        return True  # NaN is excluded anyway
    with suppress(OverflowError, ValueError):
        same = values.dtype.type(nodata)
        if values.dtype.kind == "f" or same == nodata:
            return np.asarray(values != same)
    return True


class _Reader(io.RawIOBase):
    """A file object with its own position in a shared open file, so that all readers see the same file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._place = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place}.get(whence)
        self._place = offset + (self._file.seek(0, os.SEEK_END) if start is None else start)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        try:
            self._file.seek(self._place)
        except (OSError, ValueError, OverflowError):  # an impossible position, which a damaged file can contain
            return 0
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
