"""Slow, simple reference implementations for tests: plain Python that lists every candidate."""

from __future__ import annotations

WORD = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def mix(z):
    """SplitMix64's output function (Steele, Lea, Flood, 2014)."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


class SplitMix64:
    """The generator itself: a state that steps by GAMMA, and its output."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state + GAMMA) & WORD
        return mix(self.state) % bound


def hashed(*coordinates):
    """One 64-bit hash of a tuple of integers."""
    state = 0
    for coordinate in coordinates:
        state = mix((state + GAMMA + coordinate) & WORD)
    return state


def window_starts(canvas, chip_size, stride):
    """Where windows start along one axis: multiples of the stride, and flush with the end."""
    if canvas <= chip_size:
        return [0]
    starts = []
    start = 0
    while start + chip_size < canvas:
        starts.append(start)
        start += stride
    return [*starts, canvas - chip_size]


def all_windows(width, height, chip_size, stride):
    """Corners (x, y) of every candidate, row by row."""
    xs = window_starts(width, chip_size, stride)
    return [(x, y) for y in window_starts(height, chip_size, stride) for x in xs]


def holds(window, chip_size, box):
    """Whether the window at ``window`` (x, y) completely contains the box x1 y1 x2 y2."""
    x, y = window
    return x <= box[0] and y <= box[1] and box[2] <= x + chip_size and box[3] <= y + chip_size


def cover(boxes, width, height, seed, chip_size, stride, minimum=1):
    """Greedy cover of one image; boxes that are None are not covered.

    Returns the picks [(x, y, count), ...] in order, and per box the number of the pick that first covered it, or -1.
    """
    windows = all_windows(width, height, chip_size, stride)
    inside = [{b for b, box in enumerate(boxes) if box is not None and holds(w, chip_size, box)} for w in windows]
    pick_of = [-1] * len(boxes)
    picks, draw = [], SplitMix64(seed)
    while True:
        counts = [len(some) for some in inside]
        best = max(counts)
        if best < max(minimum, 1):
            return picks, pick_of
        ties = [k for k, count in enumerate(counts) if count == best]
        k = ties[draw.below(len(ties))]
        covered = inside[k]
        for b in covered:
            pick_of[b] = len(picks)
        picks.append((*windows[k], best))
        inside = [some - covered for some in inside]


def shared(a, b):
    """Width and height of the intersection of two boxes; negative if they do not intersect."""
    return min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


def nms(boxes, scores, threshold, most):
    """Greedy NMS of one image: indices kept, best first; equal scores keep their order."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda k: -scores[k]):
        if len(kept) == most:
            break
        for o in kept:
            w, h = shared(boxes[i], boxes[o])
            if w > 0 and h > 0 and w * h > threshold * (area(boxes[i]) + area(boxes[o]) - w * h):
                break
        else:
            kept.append(i)
    return kept


def canvas_size(size, factor):
    """Source px to whole canvas px, half up, at least 1."""
    return max(int(size * factor + 0.5), 1)


def on_canvas(box, factor, width, height):
    """A source box on the canvas of an image of ``width`` x ``height`` source px."""
    ends = canvas_size(width, factor), canvas_size(height, factor)
    return [min(v * factor, ends[k % 2]) for k, v in enumerate(box)]


def view(chip, box):
    """What a chip (x, y, content width, content height) shows of a canvas box.

    Returns the clipped box in chip px and the share of its area, or None where they share no area.
    """
    x, y, width, height = chip
    w, h = shared((x, y, x + width, y + height), box)
    if w <= 0 or h <= 0:
        return None
    clipped = [
        min(max(box[0] - x, 0), width),
        min(max(box[1] - y, 0), height),
        min(max(box[2] - x, 0), width),
        min(max(box[3] - y, 0), height),
    ]
    return clipped, min(w * h / area(box), 1.0)


def labels(chips, boxes, of_scale, crowd, smallest=10, rounding=1e-6):
    """Labels of one image's chips of one scale and variant, by checking every pair.

    ``chips`` are (x, y, content width, content height), ``boxes`` on the canvas. Returns
    {(chip, box): (clipped box, valid, ignore, visibility)}.
    """
    views = {(c, b): view(chip, box) for c, chip in enumerate(chips) for b, box in enumerate(boxes)}
    views = {pair: seen for pair, seen in views.items() if seen is not None}
    out = {}
    for (c, b), (clipped, visibility) in views.items():
        best = max(seen[1] for (_, other), seen in views.items() if other == b)
        ignore = crowd[b] or clipped[2] - clipped[0] < smallest or clipped[3] - clipped[1] < smallest
        valid = of_scale[b] and not ignore and visibility >= best - rounding
        out[c, b] = (clipped, valid, ignore, visibility)
    return out
