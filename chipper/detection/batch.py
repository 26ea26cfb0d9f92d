"""One batch of chips, as the loader makes it and the model takes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B chips of K x K px with up to G boxes each; chips with fewer boxes are padded with zeros and ``labels`` 0.

    Boxes are x1 y1 x2 y2 in chip px, continuous, x2 and y2 exclusive.
    """

    images: Tensor  # (B, 3, K, K) uint8, RGB
    boxes: Tensor  # (B, G, 4) float32
    labels: Tensor  # (B, G) int64, 1..C in the order of the categories; 0 marks a padding row, which is no box
    valid: Tensor  # (B, G) bool, the box may make positives at this scale (SNIPER, section 3.1)
    ignore: Tensor  # (B, G) bool, crowd or too small to be seen: neither object nor background
    content: Tensor  # (B, 2) float32, width and height of the part of the chip that is image
    valid_range: Tensor  # (B, 2) float32, sqrt(w * h) in chip px that this chip's scale is for; high end may be inf
    chip_ids: Tensor  # (B,) int64
    masks: Tensor | None = None  # (B, G, m, m) uint8, 1 where the object covers its box; all 0 where it has no mask

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``; copies from pinned memory do not block."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, as the DataLoader asks for."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: change(tensor) for name, tensor in tensors.items() if tensor is not None})

    def __len__(self) -> int:
        return self.images.shape[0]
