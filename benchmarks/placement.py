"""Windows on the grid or anywhere, greedy or by search, compared with the optimum by integer programming (scipy's milp)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from benchmarks.cover import coco_like, large
from benchmarks.timing import best_of
from chipper.mining.cover import cover
from chipper.mining.slide import cover_anywhere

CHIP, STRIDE = 512, 32
Parts = list[tuple[np.ndarray, ...]]


def optimum(parts: Parts, places: Callable[[np.ndarray, int], np.ndarray], seconds: float) -> tuple[int, int]:
    """Fewest windows at ``places``, and a lower bound if milp needed more than ``seconds`` for a canvas."""
    total = bound = 0
    for offsets, boxes, width, height in parts:
        for i, (start, end) in enumerate(pairwise(offsets)):
            if start == end:
                continue
            box = boxes[start:end]
            across = _held(places(box[:, 0], width[i]), box[:, 0], box[:, 2])
            down = _held(places(box[:, 1], height[i]), box[:, 1], box[:, 3])
            held = np.unique((across[:, None, :] & down[None, :, :]).reshape(-1, end - start), axis=0)
            held = held[held.any(axis=1)]
            found = milp(
                np.ones(len(held)),
                constraints=LinearConstraint(held.T.astype(float), lb=1),
                integrality=np.ones(len(held)),
                bounds=Bounds(0, 1),
                options={"time_limit": seconds},
            )
            total += round(found.fun)
            bound += round(np.ceil(found.mip_dual_bound - 1e-6))
    return total, bound


def _held(places: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return (places[:, None] <= low) & (high <= places[:, None] + CHIP)


def on_grid(_: np.ndarray, canvas: int) -> np.ndarray:
    room = max(canvas - CHIP, 0)
    return np.unique(np.append(np.arange(0, room, STRIDE), room))


def anywhere(low: np.ndarray, canvas: int) -> np.ndarray:
    return np.unique(np.minimum(np.floor(low), max(canvas - CHIP, 0)))


def table(title: str, parts: Parts, levels: int, seconds: float) -> None:
    """One table: windows and time of each method, and the two optima."""

    def count(way: Callable[..., object], *more: int) -> Iterator[int]:
        for offsets, boxes, width, height in parts:
            found = way(offsets, boxes, width, height, np.arange(width.size, dtype=np.uint64), CHIP, *more)
            yield len(found.x)  # type: ignore[attr-defined]

    ways = {
        "greedy on the grid (the default)": (cover, STRIDE),
        "greedy, windows anywhere": (cover_anywhere, 0),
        "--placement slide": (cover_anywhere,),
    }
    base = sum(count(cover, STRIDE))
    print(f"| {title} | windows | compared with the grid | time per canvas |\n|---|---|---|---|")
    for name, (way, *more) in ways.items():
        windows = sum(count(way, *more))
        took = best_of(lambda way=way, more=more: sum(count(way, *more)), 3) / levels * 1e6
        print(f"| {name} | {windows} | {windows / base - 1:+.1%} | {took:.3g} us |", flush=True)
    for name, places in (("optimum on the grid", on_grid), ("optimum anywhere", anywhere)):
        windows, bound = optimum(parts, places, seconds)
        known = "" if windows == bound else f" (at least {bound}; out of time)"
        print(f"| {name} | {windows}{known} | {windows / base - 1:+.1%} | |", flush=True)
    print()


def main() -> None:
    parts = coco_like(200)
    table("200 COCO images, 3 scales", parts, 600, 60)
    table("one canvas of 6000 x 6000 px, 250 boxes", [large(6000, 250)], 1, 60)


if __name__ == "__main__":
    main()
