"""The box head with batch norms."""

from __future__ import annotations

import pytest
import torch

from chipper.detection.model import build_model
from chipper.detection.normed_head import NormedHead, RowNorm


def test_its_norms_are_torchs():
    rows = torch.randn(9, 4, generator=torch.Generator().manual_seed(2))
    norm, torchs = RowNorm(4), torch.nn.BatchNorm1d(4)
    torch.testing.assert_close(norm(rows), torchs(rows))
    torch.testing.assert_close(norm.eval()(rows), torchs.eval()(rows))


@pytest.mark.parametrize("rois", [0, 1])
def test_too_few_rois_leave_the_running_statistics_alone(rois):
    head = NormedHead(4 * 9, 8).train()
    before = [buffer.clone() for buffer in head.buffers()]
    out = head(torch.ones(rois, 4, 3, 3))
    out.sum().backward()
    assert out.shape == (rois, 8)
    assert all(torch.equal(*pair) for pair in zip(before, head.buffers(), strict=True))
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in head.parameters())


def test_it_is_frozen_with_the_backbones_norms():
    model = build_model("tiny", 2, 64, weights=None)
    model.freeze_norms()
    norms = [module for module in model.box_head.modules() if isinstance(module, RowNorm)]
    assert len(norms) == 2
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
