"""Where each group of rows begins and ends, for rows sorted by group (such as boxes sorted by image)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chipper.columns import Ints


@dataclass(frozen=True)
class Groups:
    """Group k has the rows ``offsets[k]:offsets[k + 1]``; a group may be empty. Kernels are given ``offsets`` directly."""

    offsets: Ints  # (groups + 1,) ascending

    @classmethod
    def of(cls, keys: npt.NDArray[Any], grouped: npt.NDArray[Any]) -> Groups:
        """One group for each of ``keys``. ``grouped`` (rows,) is the key of each row; rows are in the order of ``keys``.

        Keys are unique. A key may have no rows, but every row must have a key from ``keys``.
        """
        return cls.of_counts(np.bincount(places_of(keys, grouped), minlength=len(keys)))

    @classmethod
    def of_counts(cls, counts: Ints) -> Groups:
        """Groups with the numbers of rows ``counts`` (groups,)."""
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
        """(groups,) number of rows of each group."""
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
        """The rows of group ``first``, or of groups ``first`` to ``end`` (exclusive)."""
        return slice(int(self.offsets[first]), int(self.offsets[first + 1 if end is None else end]))

    def within(self, rows: Ints) -> Groups:
        """The same groups, restricted to ``rows`` (ascending row numbers)."""
        return Groups(np.searchsorted(rows, self.offsets))


def places_of(keys: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> Ints:
    """The position of each of ``wanted`` in ``keys``, or -1 where it is missing; keys are unique and in any order."""
    if not keys.size:
        return np.full(wanted.shape, -1)
    order = np.argsort(keys, kind="stable")
    place = order[np.searchsorted(keys, wanted, sorter=order).clip(max=keys.size - 1)]
    return np.where(keys[place] == wanted, place, -1)
