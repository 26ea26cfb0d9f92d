"""Search for fewer windows than the greedy cover needs; `chipper.mining.slide` explains it and checks the arguments.

Boxes are bits of a 64-bit word, so the search handles up to 64 boxes: all boxes of an image, or the boxes of a few
neighbouring windows. A node of the search tree chooses the uncovered box that the fewest windows contain, and tries these
windows, largest first. A lower bound for the remaining windows is a number of uncovered boxes of which no window contains two.
A node is abandoned if the windows so far plus this bound are not fewer than in the best known cover.
"""

from __future__ import annotations

import numpy as np

from chipper.kernels.accelerate import kernel

MOST_BOXES = 64
_ONE = np.uint64(1)
_NONE = np.uint64(0)


@kernel
def bits(word):
    """Number of bits set."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@kernel
def maximal_windows(first_x, last_x, first_y, last_y, n):
    """The windows whose set of boxes is not part of another window's set: their sets, and their positions."""
    at_column, at_row = np.unique(last_x), np.unique(last_y)
    columns, rows = at_column.size, at_row.size
    of_row = np.zeros(rows, np.uint64)
    for r in range(rows):
        for b in range(n):
            if first_y[b] <= at_row[r] <= last_y[b]:
                of_row[r] |= _ONE << np.uint64(b)
    held = np.empty(columns * rows, np.uint64)
    at_x, at_y = np.empty(columns * rows, np.int64), np.empty(columns * rows, np.int64)
    count = 0
    for c in range(columns):
        of_column = _NONE
        for b in range(n):
            if first_x[b] <= at_column[c] <= last_x[b]:
                of_column |= _ONE << np.uint64(b)
        for r in range(rows):
            new = of_column & of_row[r]
            if new == _NONE:
                continue
            kept, useful = 0, True
            for k in range(count):
                if new & held[k] == new:
                    useful = False
                    break
            if useful:
                for k in range(count):
                    if held[k] & new != held[k]:
                        held[kept], at_x[kept], at_y[kept] = held[k], at_x[k], at_y[k]
                        kept += 1
                held[kept], at_x[kept], at_y[kept] = new, at_column[c], at_row[r]
                count = kept + 1
    return held[:count], at_x[:count], at_y[:count]


@kernel
def search(held, n, limit, nodes, chosen):
    """Cover boxes 0 .. n - 1 with fewer than ``limit`` of the sets ``held``; returns their number, or ``limit`` if not found.

    Writes the rows of the sets to ``chosen``. The search ends after ``nodes`` nodes with the best cover found so far.
    """
    sets = held.size
    order = np.argsort(-np.array([bits(word) for word in held]), kind="mergesort")
    together = np.zeros(n, np.uint64)  # boxes that are in a window together with box b
    holders = np.zeros(n, np.int64)
    for b in range(n):
        for k in range(sets):
            if held[k] >> np.uint64(b) & _ONE:
                together[b] |= held[k]
                holders[b] += 1
    rarest = np.argsort(holders, kind="mergesort")
    everything = _NONE
    for b in range(n):
        everything |= _ONE << np.uint64(b)

    left = np.empty(limit + 1, np.uint64)  # uncovered boxes at each depth
    box = np.empty(limit + 1, np.int64)  # the box that a depth branches on
    tried = np.empty(limit + 1, np.int64)  # position in ``order`` of the next window at each depth
    path = np.empty(limit + 1, np.int64)
    best, depth, seen = limit, 0, 0
    left[0], tried[0] = everything, -1
    while depth >= 0:
        if tried[depth] == -1:  # a new node
            seen += 1
            if seen > nodes:
                break
            if left[depth] == _NONE:
                best = depth
                chosen[:depth] = path[:depth]
                depth -= 1
                continue
            need, rest = 0, left[depth]
            for b in rarest:
                if rest >> np.uint64(b) & _ONE:
                    need += 1
                    rest &= ~together[b]
            if depth + need >= best:
                depth -= 1
                continue
            for b in rarest:
                if left[depth] >> np.uint64(b) & _ONE:
                    box[depth] = b
                    break
            tried[depth] = 0
        k = tried[depth]
        while k < sets and not held[order[k]] >> np.uint64(box[depth]) & _ONE:
            k += 1
        if k == sets or depth + 1 >= best:
            depth -= 1
            continue
        tried[depth] = k + 1
        path[depth] = order[k]
        left[depth + 1] = left[depth] & ~held[order[k]]
        tried[depth + 1] = -1
        depth += 1
    return best


@kernel
def replace_windows(some, group, first_x, last_x, first_y, last_y, nodes, chosen, pick_of, x, y):
    """Cover the boxes ``some`` with fewer windows than the picks ``group`` that cover them; returns how many were saved.

    ``x``, ``y`` are the positions of the image's picks and are updated; picks that are no longer needed cover no box.
    """
    n = some.size
    held, at_x, at_y = maximal_windows(first_x[some], last_x[some], first_y[some], last_y[some], n)
    found = search(held, n, group.size, nodes, chosen)
    if found == group.size:
        return 0
    left = _NONE
    for k in range(n):
        left |= _ONE << np.uint64(k)
    for p in range(found):
        word = held[chosen[p]] & left
        left &= ~word
        x[group[p]], y[group[p]] = at_x[chosen[p]], at_y[chosen[p]]
        for k in range(n):
            if word >> np.uint64(k) & _ONE:
                pick_of[some[k]] = group[p]
    return group.size - found


@kernel
def neighbours(p, count, alive, x, y, size_of, group):
    """Fill ``group`` with pick ``p`` and the nearest picks, with at most 64 boxes in total; returns the number of picks."""
    taken, boxes = 1, size_of[p]
    group[0] = p
    while taken < group.size:
        nearest, least = -1, np.int64(1) << 62
        for q in range(count):
            if alive[q] and size_of[q] + boxes <= MOST_BOXES:
                near = max(abs(x[q] - x[p]), abs(y[q] - y[p]))
                for g in range(taken):
                    if group[g] == q:
                        near = least
                if near < least:
                    nearest, least = q, near
        if nearest < 0:
            break
        group[taken] = nearest
        boxes += size_of[nearest]
        taken += 1
    return taken


@kernel
def take_fewest(offsets, first_x, last_x, first_y, last_y, nodes, together, picks, pick_of, pick_x, pick_y, pick_count):
    """Replace picks of the greedy cover, image by image, if fewer windows are enough; arguments as in `greedy_cover`.

    In images with more than 64 boxes, ``together`` neighbouring windows are searched at a time. Images with one or two picks
    cannot be improved: if one window contained all boxes, it would have been the first pick.
    """
    chosen = np.empty(MOST_BOXES, np.int64)
    rows = np.empty(MOST_BOXES, np.int64)
    group = np.empty(max(together, MOST_BOXES), np.int64)
    for i in range(offsets.size - 1):
        base, end, count = offsets[i], offsets[i + 1], picks[i]
        if count <= 2:
            continue
        x, y = pick_x[base : base + count], pick_y[base : base + count]
        size_of = pick_count[base : base + count]
        alive = np.ones(count, np.bool_)
        number = 0
        for k in range(count):
            number += size_of[k]
        whole = number <= MOST_BOXES
        for p in range(1 if whole else count):
            if not alive[p] or size_of[p] > MOST_BOXES:
                continue
            if whole:
                members = count
                for k in range(count):
                    group[k] = k
            else:
                members = neighbours(p, count, alive, x, y, size_of, group[:together])
            n = 0
            for b in range(base, end):
                for g in range(members):
                    if pick_of[b] == group[g]:
                        rows[n] = b
                        n += 1
            less = replace_windows(
                rows[:n], group[:members], first_x, last_x, first_y, last_y, nodes, chosen, pick_of, x, y
            )
            if less > 0:
                for g in range(members):
                    alive[group[g]] = g < members - less
                    size_of[group[g]] = 0
                for k in range(n):
                    size_of[pick_of[rows[k]]] += 1
        # remove the unused picks
        place = np.cumsum(alive) - 1
        for k in range(count):
            if alive[k]:
                x[place[k]], y[place[k]], size_of[place[k]] = x[k], y[k], size_of[k]
        for b in range(base, end):
            if pick_of[b] >= 0:
                pick_of[b] = place[pick_of[b]]
        picks[i] = place[-1] + 1
