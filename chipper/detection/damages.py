"""How many damaged samples a run puts up with."""

from __future__ import annotations

import logging

from chipper.errors import ShardError

log = logging.getLogger(__name__)

MOST_DAMAGED = 10


class DamagedSamples:
    """The damaged samples that one process has met, each logged once."""

    def __init__(self, chips: int) -> None:
        self._met: set[int] = set()
        self._most = min(MOST_DAMAGED, chips - 1)

    def note(self, number: int, error: ShardError) -> None:
        """Log the sample of that number; ``error`` is raised when there are too many."""
        if number not in self._met:
            log.warning("%s; the next chip of the epoch stands in for it", error)
            self._met.add(number)
        if len(self._met) > self._most:
            raise error
