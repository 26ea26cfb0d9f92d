"""The proposals of each image, kept while they are made; a run that was stopped goes on from there."""

from __future__ import annotations

import base64
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from chipper.columns import Images, Proposals
from chipper.parallel.progress import Monitor
from chipper.storage.files import fingerprint
from chipper.storage.journal import Journal, place_beside


class ProposalJournal:
    """What was found so far, in a `Journal` beside the file that is made.

    Args:
        out: the proposal file, or None to keep nothing on disk.
        belongs_to: everything that the proposals depend on; its text is compared.
        images: the images.
        monitor: hears how many images are done already.

    Raises:
        StorageError: as `Journal`.
    """

    def __init__(self, out: Path | None, belongs_to: object, images: Images, monitor: Monitor) -> None:
        asked = [belongs_to, *(column.tolist() for column in vars(images).values())]
        self._journal = Journal(place_beside(out), fingerprint(repr(asked).encode()))
        self._images, self._monitor = images, monitor

    def __enter__(self) -> Self:
        self._journal.__enter__()
        if self._journal.found:
            self._monitor.note(f"going on after {len(self._journal.found):,} images, which {self._journal.path} holds")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.__exit__(kind, error, trace)

    @property
    def known(self) -> set[int]:
        """The ids of the images that are done."""
        return set(self._journal.found)

    def add(self, image_id: int, rows: npt.NDArray[np.floating]) -> None:
        """The proposals of one more image: (n, 5) x1 y1 x2 y2 score, source px, best first; their type is kept."""
        data = base64.b85encode(np.ascontiguousarray(rows).tobytes()).decode()
        self._journal.add(image_id, [{"type": rows.dtype.str, "rows": data}])

    def proposals(self) -> Proposals:
        """All proposals, in the order of the images."""
        ids, rows = [], [np.zeros((0, 5))]
        for image_id in self._images.image_id.tolist():
            for entry in self._journal.found.get(image_id, []):
                some = np.frombuffer(base64.b85decode(entry["rows"]), np.dtype(entry["type"])).reshape(-1, 5)
                rows.append(some.astype(np.float64))
                ids += [image_id] * len(some)
        both = np.concatenate(rows)
        return Proposals(np.array(ids, np.int64), np.ascontiguousarray(both[:, :4]), both[:, 4].copy())

    def remove(self) -> None:
        """Remove it, after its content was written elsewhere."""
        self._journal.remove()
