"""chipper doctor."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path

from chipper import __version__
from chipper.cli.command import command
from chipper.cli.console import human_bytes, print_summary
from chipper.cli.options import workdir_option
from chipper.manifest.workdir import Workdir
from chipper.parallel.workers import Workers

_PACKAGES = ("numpy", "numba", "pyarrow", "msgspec", "pycocotools", "webdataset", "torch", "torchvision")
_EXTRAS = {"matplotlib": "report", "rasterio": "raster", "distributed": "cluster", "s3fs": "s3"}
_PIECE, _PIECES = 1 << 20, 64  # bytes written to measure the disk
_SLOW = 100e6  # bytes a second, about what two cores write when they render chips
# a feature that a PIL build may lack, its image format, and the package with the headers to build it
_FORMATS = (
    ("jpg", "JPEG", "libjpeg-dev"),
    ("zlib", "PNG", "zlib1g-dev"),
    ("webp", "WebP", "libwebp-dev"),
    ("libtiff", "compressed TIFF", "libtiff-dev"),
    ("jpg_2000", "JPEG 2000", "libopenjp2-7-dev"),
)
_SIMD_PACKAGES = "gcc python3-dev libjpeg-dev zlib1g-dev libwebp-dev libtiff-dev"


@command()
@workdir_option
def doctor(workdir: Workdir) -> None:
    """Show the machine and packages that chipper uses, and what would make it faster.

    \b
    Example: chipper doctor
    """
    from PIL import features

    rows = [("chipper", __version__), ("Python", platform.python_version())]
    rows.append(("cores", str(Workers().count)))
    rows.append(("image library", _image_library()))
    rows.append(("image formats", _formats()))
    rows.append(
        (
            "JPEG library",
            "libjpeg-turbo " + str(features.version("libjpeg_turbo"))
            if features.check("libjpeg_turbo")
            else "plain libjpeg, slower than libjpeg-turbo",
        )
    )
    rows += [(name, _version(name) or "not installed") for name in _PACKAGES]
    rows += [
        (name, _version(name) or f"not installed; pip install 'sniper-chipper[{extra}]'")
        for name, extra in _EXTRAS.items()
    ]
    rows.append(("disk", _disk(workdir.path)))
    rows.append(("GPU", _gpu()))
    print_summary("chipper doctor", rows, {"found": dict(rows)})


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _image_library() -> str:
    """Which build of the PIL package is in use."""
    simd = _version("pillow-simd")
    if simd and _version("pillow"):
        return "pillow-simd and Pillow overwrite each other: run pip uninstall pillow pillow-simd, then make setup"
    if simd:
        return f"pillow-simd {simd}"
    return (
        f"Pillow {_version('pillow')}: works, but resizes several times slower than pillow-simd; "
        f"to install that: apt-get install {_SIMD_PACKAGES}, then make clean setup"
    )


def _formats() -> str:
    """Which formats PIL reads, and how to read the others."""
    from PIL import features

    read = ", ".join(name for part, name, _ in _FORMATS if features.check(part))
    lacking = [(name, headers) for part, name, headers in _FORMATS if not features.check(part)]
    if not lacking:
        return read
    others = ", ".join(name for name, _ in lacking)
    build = f"apt-get install {' '.join(headers for _, headers in lacking)}, then make clean setup"
    if _version("rasterio"):
        return f"{read}; {others} with rasterio, which applies no EXIF orientation; to read them with PIL: {build}"
    return f"{read}; to read {others} too: pip install 'sniper-chipper[raster]', or {build}"


def _disk(workdir: Path) -> str:
    """Free space where the workdir is or will be, and its write speed."""
    folder = next(place for place in (workdir.absolute(), *workdir.absolute().parents) if place.is_dir())
    free = human_bytes(shutil.disk_usage(folder).free)
    piece = os.urandom(_PIECE)  # random bytes, which no file system can compress
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            started = time.perf_counter()
            for _ in range(_PIECES):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            speed = _PIECE * _PIECES / (time.perf_counter() - started)
    except OSError as error:
        return f"{folder}: {free} free, writing failed ({error.strerror}); choose another --workdir"
    slow = "; slower than two cores render chips: put --workdir or --shards on a faster disk" if speed < _SLOW else ""
    return f"{folder}: {free} free, writes {human_bytes(speed)} a second{slow}"


def _gpu() -> str:
    if _version("torch") is None:
        return "unknown without torch; pip install 'sniper-chipper[train]'"
    import torch

    if not torch.cuda.is_available():
        return "torch finds none; training runs on the CPU (--model tiny is made for that)"
    return ", ".join(torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count()))
