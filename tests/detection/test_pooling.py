"""The lookup for CPUs gives what torchvision's RoIAlign gives, and its gradient."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import roi_align

from chipper.detection.pooling import pool_rois


@pytest.mark.parametrize(
    ("size", "channels_last"), [((12, 20), False), ((12, 20), True), ((1, 1), False), ((1, 9), True)]
)
def test_it_is_torchvisions(size, channels_last):
    generator = torch.Generator().manual_seed(5)
    maps = torch.randn(3, 6, *size, generator=generator)
    if channels_last:
        maps = maps.contiguous(memory_format=torch.channels_last)
    corner = torch.rand(40, 2, generator=generator) * 220 - 50  # some reach over the edges, some lie outside
    sides = torch.rand(40, 2, generator=generator) * 120
    sides[:3] = 0
    number = torch.randint(0, 3, (40, 1), generator=generator)
    rois = torch.cat((number, corner, corner + sides), dim=1)
    weights = torch.randn(40, 6, 5, 5, generator=generator)
    outputs, gradients = [], []
    for pooled in (lambda x: pool_rois(x, rois, 5, 8), lambda x: roi_align(x, rois, 5, 1 / 8, 2, aligned=True)):
        leaf = maps.clone().requires_grad_()
        outputs.append(pooled(leaf))
        (outputs[-1] * weights).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*outputs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-3)


def test_no_rois_are_no_trouble():
    maps = torch.ones(2, 6, 4, 4, requires_grad=True)
    out = pool_rois(maps, torch.zeros(0, 5), 7, 16)
    assert out.shape == (0, 6, 7, 7)
    out.sum().backward()
    assert maps.grad is not None
    assert not maps.grad.any()
