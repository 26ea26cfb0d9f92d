"""Random choices that do not depend on which process computes them or in which order.

Every choice is a hash of its own coordinates (seed, variant, image id, ...) with SplitMix64 (Steele, Lea, Flood, 2014).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

GAMMA = 0x9E3779B97F4A7C15  # the odd constant that SplitMix64 adds at each step
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB


def mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's output function, element by element."""
    with np.errstate(over="ignore"):
        z = (values ^ (values >> np.uint64(30))) * np.uint64(MIX_1)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_2)
        return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def hashed(*coordinates: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """One well-mixed uint64 for each tuple of integer coordinates; scalars and arrays broadcast."""
    state = np.zeros((), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for coordinate in coordinates:
            word = np.asarray(coordinate).astype(np.int64).view(np.uint64)
            state = mix(state + np.uint64(GAMMA) + word)
    return state
