"""A box head with batch norms, for models that learn from scratch."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class NormedHead(nn.Sequential):
    """torchvision's ``TwoMLPHead`` with a batch norm after each layer: rois (R, c, bins, bins) to (R, ``width``)."""

    def __init__(self, in_channels: int, width: int) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for before in (in_channels, width):
            layers += [nn.Linear(before, width, bias=False), RowNorm(width), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class RowNorm(nn.BatchNorm2d):
    """Batch norm of rows (R, c), frozen with the backbone's; fewer than two have no spread, and take the running one."""

    def forward(self, x: Tensor) -> Tensor:
        """Rows of the same shape."""
        if self.training and len(x) < 2:
            return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x[:, :, None, None]).flatten(1)
