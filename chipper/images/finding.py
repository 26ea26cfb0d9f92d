"""Where the image files of a data set are."""

from __future__ import annotations

from pathlib import Path

from chipper.errors import ImageDirectoryError, ImageError, option
from chipper.storage.locations import is_local


def find_image_dir(coco: Path, file_names: list[str], given: Path | None) -> Path:
    """The folder below which ``file_names`` lie: ``given``, or one of the usual places.

    Those beside ``coco`` come first, and the one with most of the names among them; those around its folder count only where
    there is none beside it, so that a gap in the images is never filled from elsewhere.

    Raises:
        ImageDirectoryError: no folder has any of up to 64 of the names; the message names the folders.
    """
    step = max(1, len(file_names) // 64)
    sample = file_names[::step]
    if given is not None:
        beside, around = [given], []
    else:
        base, stem = coco.parent, coco.stem
        split = stem.rpartition("_")[2]  # instances_train2017 -> train2017
        names = [
            "images",
            ".",
            stem,
            split,
            f"images/{split}",
            "train2017",
            "val2017",
            "train",
            "val",
            "JPEGImages",
            "data",
        ]
        beside = [base / name for name in names]
        around = [base.parent / name for name in ("images", split, f"images/{split}", "train2017", "JPEGImages", ".")]
    for places in (beside, around):
        hits = [(sum(_is_file(place / name) for name in sample), -k) for k, place in enumerate(places)]
        best, k = max(hits, default=(0, 0))
        if best:
            return places[-k]
    looked = ", ".join(dict.fromkeys(str(place) for place in (*beside, *around)))
    raise ImageDirectoryError(f"no image such as {sample[0]!r} in {looked}; give the folder with {option('image_dir')}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def image_path(folder: Path, file_name: str) -> Path:
    """Where an image lies; ImageError where a link leads out of ``folder``."""
    path = folder / file_name
    try:
        leads_out = is_local(folder) and not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # which of them says that a link leads to itself depends on Python's version
        raise ImageError("a link leads to itself; copy the file there") from None
    if leads_out:
        raise ImageError(
            f"a link leads out of the image directory; copy the file there, or give {option('image_dir')} where it lies"
        )
    return path
