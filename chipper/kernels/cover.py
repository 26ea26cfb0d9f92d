"""Loops of the greedy cover; `chipper.mining.cover` explains it and checks the arguments.

The candidates that contain a box form a rectangle. Both axes are split into runs of neighbouring candidates that are in the
same rectangles, so the counts are stored on a grid of at most 2n + 1 runs per side, however large the canvas is. Counts are
computed with a 2-D difference array (four updates per box). A pick subtracts the rectangles of the boxes that it covers, and
only the blocks of runs that these rectangles touch are updated.
"""

from __future__ import annotations

import numpy as np

from chipper.kernels.accelerate import kernel
from chipper.seeds import GAMMA, MIX_1, MIX_2

_BLOCK = 32  # runs per block, for which the best count is stored; about the width of a chip at the default stride
_GAMMA, _MIX_1, _MIX_2 = np.uint64(GAMMA), np.uint64(MIX_1), np.uint64(MIX_2)


@kernel
def random_below(state, bound):
    """A random number in [0, bound) from SplitMix64's ``state``; the bias is less than bound / 2^64."""
    z = (state ^ (state >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    z = z ^ (z >> np.uint64(31))
    return np.int64(z % np.uint64(bound))


@kernel
def cut_axis(first, last, chosen, n, origin, run_of, run_start):
    """Split the axis from ``origin`` on into runs at the rectangles' edges; returns the number of runs.

    ``run_of[c - origin]`` becomes the run of candidate c, ``run_start[r]`` the first candidate of run r, and
    ``run_start[runs]`` the end of the last run.
    """
    end = origin
    for k in range(n):
        end = max(end, last[chosen[k]] + 1)
    length = end - origin
    for c in range(length + 1):
        run_of[c] = 0
    for k in range(n):
        run_of[first[chosen[k]] - origin] = 1
        run_of[last[chosen[k]] + 1 - origin] = 1
    runs = 0
    for c in range(length):
        if run_of[c] == 1 or c == 0:
            run_start[runs] = origin + c
            runs += 1
        run_of[c] = runs - 1
    run_of[length] = runs  # so that run_of[last + 1 - origin] is the run after the end of a rectangle
    run_start[runs] = end
    return runs


@kernel
def look_at_blocks(counts, row, first, last, columns, stride, start, best, ties):
    """Store the highest count in each of the row's blocks first..last, and how many candidate columns have it."""
    blocks = (columns - 1) // _BLOCK + 1
    for block in range(first, last + 1):
        top, number = np.int32(-1), np.int64(0)
        for c in range(block * _BLOCK, min((block + 1) * _BLOCK, columns)):
            value = counts[row * stride + c]
            if value > top:
                top, number = value, start[c + 1] - start[c]
            elif value == top:
                number += start[c + 1] - start[c]
        best[row * blocks + block], ties[row * blocks + block] = top, number


@kernel
def row_best(row, blocks, best, ties):
    """The highest count of a row of runs, and the number of candidate columns that have it, from its blocks."""
    top, number = np.int32(-1), np.int64(0)
    for k in range(row * blocks, (row + 1) * blocks):
        if best[k] > top:
            top, number = best[k], ties[k]
        elif best[k] == top:
            number += ties[k]
    return top, number


@kernel
def greedy_cover(offsets, first_x, last_x, first_y, last_y, seeds, minimum, pick_of, pick_x, pick_y, pick_count):
    """Pick candidates, image by image, until no candidate contains ``minimum`` uncovered boxes.

    Image i has the boxes offsets[i]:offsets[i + 1]. The candidates first_x[b]..last_x[b] by first_y[b]..last_y[b] contain
    box b completely (none, if this is empty). The picks of image i are written to pick_*[offsets[i]:]; an image never needs
    more picks than it has boxes. ``pick_of[b]`` becomes the number of the pick that covered box b, counted from 0 in its
    image, or -1. Returns the number of picks of each image.
    """
    images = offsets.size - 1
    picks = np.zeros(images, np.int64)
    most = 0
    for i in range(images):
        most = max(most, offsets[i + 1] - offsets[i])
    chosen = np.empty(most, np.int64)
    # work arrays, enlarged when needed and used for all images
    run_of_x, run_of_y = np.empty(64, np.int64), np.empty(64, np.int64)
    start_x, start_y = np.empty(64, np.int64), np.empty(64, np.int64)
    best_of_row, ties_of_row = np.empty(64, np.int32), np.empty(64, np.int64)
    counts = np.empty(1024, np.int32)
    best_of_block, ties_of_block = np.empty(64, np.int32), np.empty(64, np.int64)

    for i in range(images):
        base = offsets[i]
        n = 0
        min_x, min_y = np.int64(1) << 62, np.int64(1) << 62
        max_x, max_y = np.int64(-1), np.int64(-1)
        for b in range(base, offsets[i + 1]):
            pick_of[b] = -1
            if first_x[b] <= last_x[b] and first_y[b] <= last_y[b]:
                chosen[n] = b
                n += 1
                min_x, max_x = min(min_x, first_x[b]), max(max_x, last_x[b])
                min_y, max_y = min(min_y, first_y[b]), max(max_y, last_y[b])
        if n < max(minimum, 1):
            continue

        if max_x - min_x + 3 > run_of_x.size:
            run_of_x = np.empty(2 * (max_x - min_x) + 3, np.int64)
            start_x = np.empty(2 * (max_x - min_x) + 3, np.int64)
        if max_y - min_y + 3 > run_of_y.size:
            run_of_y = np.empty(2 * (max_y - min_y) + 3, np.int64)
            start_y = np.empty(2 * (max_y - min_y) + 3, np.int64)
            best_of_row = np.empty(2 * (max_y - min_y) + 3, np.int32)
            ties_of_row = np.empty(2 * (max_y - min_y) + 3, np.int64)
        columns = cut_axis(first_x, last_x, chosen, n, min_x, run_of_x, start_x)
        rows = cut_axis(first_y, last_y, chosen, n, min_y, run_of_y, start_y)
        stride = columns + 1
        if (rows + 1) * stride > counts.size:
            counts = np.empty(2 * (rows + 1) * stride, np.int32)
        blocks = (columns - 1) // _BLOCK + 1
        if rows * blocks > best_of_block.size:
            best_of_block, ties_of_block = np.empty(2 * rows * blocks, np.int32), np.empty(2 * rows * blocks, np.int64)

        counts[: (rows + 1) * stride] = 0
        for k in range(n):
            b = chosen[k]
            x0, x1 = run_of_x[first_x[b] - min_x], run_of_x[last_x[b] + 1 - min_x]
            y0, y1 = run_of_y[first_y[b] - min_y], run_of_y[last_y[b] + 1 - min_y]
            counts[y0 * stride + x0] += 1
            counts[y0 * stride + x1] -= 1
            counts[y1 * stride + x0] -= 1
            counts[y1 * stride + x1] += 1
        for r in range(rows):
            running = np.int32(0)
            for c in range(columns):
                running += counts[r * stride + c]
                above = counts[(r - 1) * stride + c] if r > 0 else np.int32(0)
                counts[r * stride + c] = running + above
            look_at_blocks(counts, r, 0, blocks - 1, columns, stride, start_x, best_of_block, ties_of_block)
            best_of_row[r], ties_of_row[r] = row_best(r, blocks, best_of_block, ties_of_block)

        state = seeds[i]
        while n > 0:
            best, ties = np.int32(0), np.int64(0)
            for r in range(rows):
                if best_of_row[r] > best:
                    best, ties = best_of_row[r], np.int64(0)
                if best_of_row[r] == best:
                    ties += ties_of_row[r] * (start_y[r + 1] - start_y[r])
            if best < max(minimum, 1):
                break
            # choose one of the tied candidates, which are counted in row-major order
            state += _GAMMA
            left = random_below(state, ties)
            r = 0
            while best_of_row[r] != best or left >= ties_of_row[r] * (start_y[r + 1] - start_y[r]):
                if best_of_row[r] == best:
                    left -= ties_of_row[r] * (start_y[r + 1] - start_y[r])
                r += 1
            y = start_y[r] + left // ties_of_row[r]
            left %= ties_of_row[r]
            c = 0
            while counts[r * stride + c] != best or left >= start_x[c + 1] - start_x[c]:
                if counts[r * stride + c] == best:
                    left -= start_x[c + 1] - start_x[c]
                c += 1
            x = start_x[c] + left

            pick = picks[i]
            pick_x[base + pick], pick_y[base + pick], pick_count[base + pick] = x, y, best
            picks[i] = pick + 1

            top, bottom, left_end, right_end, kept = rows, 0, columns, 0, 0
            for k in range(n):
                b = chosen[k]
                if first_x[b] <= x <= last_x[b] and first_y[b] <= y <= last_y[b]:
                    pick_of[b] = pick
                    x0, x1 = run_of_x[first_x[b] - min_x], run_of_x[last_x[b] + 1 - min_x]
                    y0, y1 = run_of_y[first_y[b] - min_y], run_of_y[last_y[b] + 1 - min_y]
                    for rr in range(y0, y1):
                        for cc in range(x0, x1):
                            counts[rr * stride + cc] -= 1
                    top, bottom = min(top, y0), max(bottom, y1)
                    left_end, right_end = min(left_end, x0), max(right_end, x1)
                else:
                    chosen[kept] = b
                    kept += 1
            n = kept
            for rr in range(top, bottom):
                first, last = left_end // _BLOCK, (right_end - 1) // _BLOCK
                look_at_blocks(counts, rr, first, last, columns, stride, start_x, best_of_block, ties_of_block)
                best_of_row[rr], ties_of_row[rr] = row_best(rr, blocks, best_of_block, ties_of_block)
    return picks
