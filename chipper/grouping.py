"""Rows that stand group by group, as the boxes of images do: where each group begins and ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chipper.columns import Ints


@dataclass(frozen=True)
class Groups:
    """Group k has the rows ``offsets[k]:offsets[k + 1]``; it may have none. Kernels take ``offsets`` itself."""

    offsets: Ints  # (groups + 1,) ascending

    @classmethod
    def of(cls, keys: npt.NDArray[Any], grouped: npt.NDArray[Any]) -> Groups:
        """One group for each of ``keys``: its rows in ``grouped``, which stand in the order of ``keys``.

        Keys are unique; a key may have no rows, a row must have a key.
        """
        return cls.of_counts(np.bincount(places_of(keys, grouped), minlength=len(keys)))

    @classmethod
    def of_counts(cls, counts: Ints) -> Groups:
        """Groups of so many rows each."""
        return cls(np.concatenate(([0], np.cumsum(counts))).astype(np.int64))

    @classmethod
    def runs(cls, keys: npt.NDArray[Any]) -> Groups:
        """One group for each run of equal ``keys``."""
        starts = np.flatnonzero(keys[1:] != keys[:-1]) + 1
        return cls(np.concatenate(([0], starts, [keys.size] if keys.size else [])).astype(np.int64))

    def __len__(self) -> int:
        return self.offsets.size - 1

    @property
    def counts(self) -> Ints:
        """(groups,) how many rows each has."""
        return np.diff(self.offsets)

    @property
    def row(self) -> Ints:
        """(rows,) the number of each row's group."""
        return np.repeat(np.arange(len(self)), self.counts)

    @property
    def rank(self) -> Ints:
        """(rows,) 0, 1, 2, ... within each group."""
        return np.arange(self.offsets[-1]) - np.repeat(self.offsets[:-1], self.counts)

    def slice(self, first: int, end: int | None = None) -> slice:
        """The rows of the group ``first``, or of all groups up to ``end`` (exclusive)."""
        return slice(int(self.offsets[first]), int(self.offsets[first + 1 if end is None else end]))

    def within(self, rows: Ints) -> Groups:
        """The same groups of only the ``rows`` given, ascending."""
        return Groups(np.searchsorted(rows, self.offsets))


def places_of(keys: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Ints:
    """Where each of ``wanted`` stands in ``keys``, which are unique and in any order; -1 where it does not."""
    if not keys.size:
        return np.full(wanted.shape, -1)
    order = np.argsort(keys, kind="stable")
    place = order[np.searchsorted(keys, wanted, sorter=order).clip(max=keys.size - 1)]
    return np.where(keys[place] == wanted, place, -1)
