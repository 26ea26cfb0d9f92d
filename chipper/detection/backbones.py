"""Feature maps: an image in, one map at one stride out, or a pyramid of them.

Batch norm is trained, which SNIPER's many chips to a batch allow. With pretrained weights the first convolution and
the first stage are frozen, their batch norms included; from scratch nothing is.
"""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation, DeformConv2d, FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from chipper.errors import CheckpointError
from chipper.storage.locations import regular_file

log = logging.getLogger(__name__)
TIMEOUT = 5.0  # seconds to find out whether torchvision's weights can be fetched
REDUCED = 256  # channels that the RPN and the box head share


class Backbone(nn.Module):
    """Maps (B, 3, H, W), normalised, to one map (B, ``out_channels``, ceil(H / s), ceil(W / s)) for each s of ``strides``.

    ``body`` is what pretrained weights fill, ``stem`` the modules of it that are frozen once they have.
    """

    body: Any  # an nn.Module; its parts differ from net to net

    def __init__(self, body: nn.Module, stem: list[nn.Module], out_channels: int, *strides: int) -> None:
        super().__init__()
        self.body, self.out_channels, self.strides = body, out_channels, strides
        self._stem = stem  # a list, so that no module is registered twice
        self.stem_frozen = False

    def freeze_stem(self, frozen: bool) -> None:
        """Freeze or thaw the first convolution and the first stage, weights and batch norm."""
        self.stem_frozen = frozen
        for module in self._stem:
            module.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """As usual, but frozen batch norms keep the statistics they came with."""
        super().train(mode)
        for module in self._stem:
            module.train(mode and not self.stem_frozen)
        return self


class DeformableConv(DeformConv2d):  # type: ignore[misc]
    """A 3x3 convolution whose samples lie where another one puts them (Dai et al., ICCV 2017), in four groups.

    It starts as the plain convolution that it is made of: same weights, no offsets.
    """

    def __init__(self, plain: nn.Conv2d, groups_of_offsets: int = 4) -> None:
        shape: dict[str, Any] = {
            "stride": plain.stride[0],
            "padding": int(plain.padding[0]),
            "dilation": plain.dilation[0],
        }
        super().__init__(plain.in_channels, plain.out_channels, 3, bias=False, **shape)
        self.weight = plain.weight
        self.offset = nn.Conv2d(plain.in_channels, groups_of_offsets * 2 * 9, 3, **shape)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, offset: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """As a convolution, in single precision."""
        offset = self.offset(x) if offset is None else offset
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = super().forward(x.float(), offset.float(), mask)
        return out.to(x.dtype)


class ResNetBackbone(Backbone):
    """ResNet with conv5 dilated to stride 16, its 3x3 convolutions deformable; conv4 and conv5 side by side, reduced to 256."""

    def __init__(self, depth: str) -> None:
        net = getattr(torchvision.models, depth)(weights=None, replace_stride_with_dilation=[False, False, True])
        net.avgpool, net.fc = nn.Identity(), nn.Identity()
        for block in net.layer4:
            block.conv2 = DeformableConv(block.conv2)
        super().__init__(net, [net.conv1, net.bn1, net.layer1], REDUCED, 16)
        self.reduce = Conv2dNormActivation(1024 + 2048, REDUCED, kernel_size=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """conv4 beside conv5, reduced: (B, 256, h, w)."""
        conv4, conv5 = _stages(self.body, x)[2:]  # (B, 1024, h, w), (B, 2048, h, w)
        return [self.reduce(torch.cat((conv4, conv5), dim=1))]


class FpnBackbone(Backbone):
    """ResNet with a feature pyramid (Lin et al., CVPR 2017): five maps of 256 channels at strides 4 to 64."""

    def __init__(self, depth: str) -> None:
        net = getattr(torchvision.models, depth)(weights=None)
        net.avgpool, net.fc = nn.Identity(), nn.Identity()
        super().__init__(net, [net.conv1, net.bn1, net.layer1], REDUCED, 4, 8, 16, 32, 64)
        self.pyramid = FeaturePyramidNetwork([256, 512, 1024, 2048], REDUCED, LastLevelMaxPool())

    def forward(self, x: Tensor) -> list[Tensor]:
        """P2 to P6: (B, 256, h, w) each."""
        stages = {str(k): stage for k, stage in enumerate(_stages(self.body, x))}
        return list(self.pyramid(stages).values())


def _stages(net: Any, x: Tensor) -> list[Tensor]:
    """conv2 to conv5 of a ResNet."""
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    found = []
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        x = stage(x)
        found.append(x)
    return found


class MobileNetBackbone(Backbone):
    """MobileNetV2's last map, stride 32, reduced to 256 channels."""

    def __init__(self) -> None:
        net = torchvision.models.mobilenet_v2(weights=None)
        net.classifier = nn.Identity()
        super().__init__(net, [net.features[0], net.features[1]], REDUCED, 32)
        self.reduce = Conv2dNormActivation(1280, REDUCED, kernel_size=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The last map, reduced: (B, 256, h, w)."""
        return [self.reduce(self.body.features(x))]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity, ResNet's basic block at one width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = Conv2dNormActivation(width, width, kernel_size=3)
        self.second = Conv2dNormActivation(width, width, kernel_size=3, activation_layer=None)

    def forward(self, x: Tensor) -> Tensor:
        """Features plus their correction, same shape."""
        return functional.relu(x + self.second(self.first(x)))


class TinyBackbone(Backbone):
    """A narrow net that learns from scratch on a CPU in minutes; stride 8, ``widths[-1]`` channels.

    Five halvings, so that a cell sees most of a 256 px chip, then two steps up by addition, so that small objects keep
    their place: the map is as fine as the published one is for chips of 512 px.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 24, 48, 64, 96), out_channels: int = 64) -> None:
        down = nn.ModuleList()
        for i, (before, after) in enumerate(zip((3, *widths), widths, strict=False)):
            step = Conv2dNormActivation(before, after, kernel_size=3, stride=2)
            down.append(nn.Sequential(step, ResidualBlock(after)) if i >= 2 else step)
        super().__init__(down, [], out_channels, 8)
        self.lateral = nn.ModuleList(nn.Conv2d(width, out_channels, kernel_size=1) for width in widths[2:])
        self.smooth = Conv2dNormActivation(out_channels, out_channels, kernel_size=3)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The map at stride 8: (B, c, h, w)."""
        maps = []
        for step in self.body:
            x = step(x)
            maps.append(x)
        out: Tensor = self.lateral[-1](maps[-1])
        for lateral, finer in zip(reversed(self.lateral[:-1]), reversed(maps[2:-1]), strict=True):
            out = lateral(finer) + functional.interpolate(out, size=finer.shape[2:], mode="nearest")
        return [self.smooth(out)]


BACKBONES: dict[str, Callable[[], Backbone]] = {
    "resnet50": lambda: ResNetBackbone("resnet50"),
    "resnet101": lambda: ResNetBackbone("resnet101"),
    "resnet50_fpn": lambda: FpnBackbone("resnet50"),
    "resnet101_fpn": lambda: FpnBackbone("resnet101"),
    "mobilenet_v2": MobileNetBackbone,
    "tiny": TinyBackbone,
}
PUBLISHED_WEIGHTS = {
    "resnet50": torchvision.models.ResNet50_Weights.IMAGENET1K_V2,
    "resnet101": torchvision.models.ResNet101_Weights.IMAGENET1K_V2,
    "resnet50_fpn": torchvision.models.ResNet50_Weights.IMAGENET1K_V2,
    "resnet101_fpn": torchvision.models.ResNet101_Weights.IMAGENET1K_V2,
    "mobilenet_v2": torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V2,
}


def load_pretrained(backbone: Backbone, name: str, weights: str | Path | None) -> bool:
    """Fill ``backbone.body`` and freeze its stem; False if it stays as initialised.

    ``weights``: None or 'none' for scratch; 'auto' for torchvision's ImageNet weights, from its cache or the network,
    and scratch with a line in the log when neither has them; or a path to a torchvision state dict, where a file that
    does not fit raises CheckpointError.
    """
    if weights is None or str(weights) == "none":
        return False
    state = published_state(name) if str(weights) == "auto" else file_state(Path(weights))
    if state is None:
        return False
    # offsets are nobody's but ours, and start at zero
    wanted = {key: value for key, value in backbone.body.state_dict().items() if ".offset." not in key}
    missing = [key for key, value in wanted.items() if key not in state or state[key].shape != value.shape]
    if missing:
        raise CheckpointError(
            f"{weights} does not fit the backbone {name}: {len(missing)} of its {len(wanted)} tensors are missing or "
            f"of another shape, such as {missing[0]}; give a torchvision state dict of {name}, 'auto' or 'none'"
        )
    backbone.body.load_state_dict({key: state[key] for key in wanted}, strict=False)
    backbone.freeze_stem(True)
    return True


def published_state(name: str) -> dict[str, Any] | None:
    """ImageNet weights that torchvision publishes for a backbone, or None with a line in the log."""
    if name not in PUBLISHED_WEIGHTS:
        log.info("%s has no published weights: it starts from scratch", name)
        return None
    weights = PUBLISHED_WEIGHTS[name]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
    try:
        if not cached.exists():
            request = urllib.request.Request(weights.url, method="HEAD")
            urllib.request.urlopen(request, timeout=TIMEOUT).close()
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # no network, a refusing server, no room in the cache, a bad download
        log.warning("no ImageNet weights for %s (%s; wanted at %s): it starts from scratch", name, error, cached)
        return None


def file_state(path: Path) -> dict[str, Any]:
    """The state dict in a file; only tensors and plain containers are read."""
    try:
        state = torch.load(regular_file(path), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"no file {path}: give a torchvision state dict, 'auto' or 'none'") from None
    except Exception as error:  # torch.load raises many kinds for a file that is not its own
        raise CheckpointError(
            f"{path} is not a torchvision state dict ({type(error).__name__}); give one, 'auto' or 'none'"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            f"{path} is not a torchvision state dict: it holds something other than named tensors; give one, 'auto' or 'none'"
        )
    return state
