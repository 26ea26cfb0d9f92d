"""Find the image files of a data set."""

from __future__ import annotations

from pathlib import Path

from chipper.errors import ImageDirectoryError, ImageError, option
from chipper.storage.locations import is_local


def find_image_dir(coco: Path, file_names: list[str], given: Path | None) -> Path:
    """The folder that contains ``file_names``: ``given``, or one of the usual folders.

    The usual folders next to ``coco`` are tried first; the one with the most names is used. Folders around the folder of
    ``coco`` are used only if none of the first has an image, so that missing images are never taken from another place.

    Raises:
        ImageDirectoryError: none of up to 64 names is in any of the folders; the message lists the folders.
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
    except OSError:  # not a possible file name
        return False


def image_path(folder: Path, file_name: str) -> Path:
    """The path of an image. Raises ImageError if a link leads out of ``folder``."""
    path = folder / file_name
    try:
        leads_out = is_local(folder) and not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # raised for a link to itself; which of the two depends on Python's version
        raise ImageError("a link leads to itself; replace it by the file") from None
    if leads_out:
        raise ImageError(
            "a link leads out of the image directory; copy the file there, or give the folder that holds it"
        )
    return path
