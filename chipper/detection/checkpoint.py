"""Checkpoints: everything that a run needs to go on as if it had never stopped, and that inference needs to know.

A file is written to a temporary name in its folder, synced and renamed, and the one before it is kept, so a crash at
any moment leaves a whole checkpoint. Files hold tensors and plain containers alone and are read with
``weights_only=True``.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from chipper.detection.model import Detector, build_model
from chipper.detection.specs import MODELS
from chipper.errors import CheckpointError, StorageError, TrainingError, option
from chipper.mining.options import LARGEST_CHIP
from chipper.runs import checkpoints
from chipper.storage.files import atomic, remove
from chipper.storage.locations import regular_file

FORMAT = 1
KEEP = 2


@dataclass(frozen=True)
class Identity:
    """What a checkpoint is of; two that differ cannot continue one another."""

    model: str
    class_ids: tuple[int, ...]  # the data set's category ids, in the order of labels 1..C
    class_names: tuple[str, ...]
    chip_size: int
    stride: int  # of the finest anchors
    masks: bool = False  # it has a mask head
    focus: bool = False  # it has a focus branch

    def __post_init__(self) -> None:
        if not self.class_ids or len(self.class_ids) != len(self.class_names):
            raise ValueError(f"{len(self.class_ids)} class ids and {len(self.class_names)} names")
        if not 1 <= self.chip_size <= LARGEST_CHIP:
            raise ValueError(f"a chip size of {self.chip_size}")

    @staticmethod
    def of(model: Detector, class_ids: tuple[int, ...], class_names: tuple[str, ...]) -> Identity:
        """The identity of ``model`` trained on these classes."""
        return Identity(
            model=model.spec.name,
            class_ids=tuple(class_ids),
            class_names=tuple(class_names),
            chip_size=model.chip_size,
            stride=model.spec.strides[0],
            masks=model.mask_head is not None,
            focus=model.focus_head is not None,
        )


@dataclass(frozen=True)
class Progress:
    """Where a run stands: steps done in all, the epoch it is in and the chips of that epoch's list already used."""

    step: int = 0
    epoch: int = 0
    position: int = 0

    def __post_init__(self) -> None:
        if min(self.step, self.epoch, self.position) < 0:
            raise ValueError("negative progress")


@dataclass(frozen=True)
class Checkpoint:
    """All that a checkpoint file holds; state dicts and generators' states as torch gives them."""

    identity: Identity
    progress: Progress
    rpn_only: bool  # the box head is as initialised
    stem_frozen: bool
    schedule: dict[str, float]  # lr and total_steps that led here
    model: dict[str, Any]
    optimizer: dict[str, Any]
    rng: dict[str, Any]
    ema: dict[str, Any] | None = None  # the running average of the weights, where one is kept
    scaler: dict[str, Any] | None = None  # that of the losses, of a run in fp16


_PARTS: tuple[tuple[str, type[Any]], ...] = (("identity", Identity), ("progress", Progress))
_KINDS: dict[str, type[Any]] = {
    "rpn_only": bool,
    "stem_frozen": bool,
    "schedule": dict,
    "model": dict,
    "optimizer": dict,
    "rng": dict,
}


def rng_states() -> dict[str, Any]:
    """Python's and torch's global generators; chipper's own choices are seeded by what they are for."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"python": random.getstate(), "torch": torch.get_rng_state(), "cuda": cuda}


def restore_rng(states: dict[str, Any]) -> None:
    """Set the generators to what `rng_states` gave."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(states["torch"])
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write ``checkpoint-<step>.pt`` and remove all older ones but one. Raises StorageError and changes nothing."""
    path = folder / f"checkpoint-{checkpoint.progress.step:08d}.pt"
    content = {"format": FORMAT, **vars(checkpoint)}
    content |= {"identity": asdict(checkpoint.identity), "progress": asdict(checkpoint.progress)}
    try:
        with atomic(path) as file:
            torch.save(content, file)
    except RuntimeError as error:  # torch reports a full disk so
        raise StorageError(f"cannot write the checkpoint {path}: {error}") from error
    for old in checkpoints(folder)[:-KEEP]:
        remove(old)
    return path


def find_checkpoint(path: Path) -> Path:
    """``path`` itself, or the newest checkpoint where it is a run's folder. Raises CheckpointError."""
    if path.is_dir():
        found = checkpoints(path)
        if not found:
            raise CheckpointError(f"no checkpoint in {path}: train first, or name another run")
        return found[-1]
    if not path.exists():
        raise CheckpointError(f"no checkpoint {path}: train first, or name another run")
    return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, or the newest of a run's folder, to the CPU. Raises CheckpointError."""
    path = find_checkpoint(path)
    try:
        content = torch.load(regular_file(path), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a file that is damaged or not its own
        raise CheckpointError(
            f"{path} is damaged or not a checkpoint ({type(error).__name__}); {_cure(path)}"
        ) from error
    if not isinstance(content, dict) or "identity" not in content:
        raise CheckpointError(
            f"{path} is no checkpoint of chipper: a state dict of torchvision goes to {option('weights')}"
        )
    if content.pop("format", None) != FORMAT:
        raise CheckpointError(
            f"{path} has another format than this version of chipper reads ({FORMAT}); install the version that wrote it"
        )
    try:
        identity, progress = (msgspec.convert(content.pop(part), kind) for part, kind in _PARTS)
        checkpoint = Checkpoint(identity=identity, progress=progress, **content)
        strange = [name for name, kind in _KINDS.items() if not isinstance(getattr(checkpoint, name), kind)]
        strange += [name for name in ("ema", "scaler") if not isinstance(getattr(checkpoint, name), dict | None)]
        if strange:
            raise ValueError(f"{strange[0]} is of another type")
    except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise CheckpointError(f"{path} has been altered ({error}); {_cure(path)}") from None
    return checkpoint


def _cure(path: Path) -> str:
    """What to do about a checkpoint that cannot be used."""
    others = [other.name for other in checkpoints(path.parent) if other != path]
    if others:
        return f"{others[-1]} beside it is older: delete this one to take that"
    return "train again, or name another run"


def require_fresh(folder: Path) -> None:
    """Raise TrainingError where a run lies already."""
    found = checkpoints(folder)
    if found:
        raise TrainingError(
            f"{folder} already holds a run ({found[-1].name}): go on with {option('resume')}, or give another {option('name')}"
        )


def require_same(found: Identity, wanted: Identity, path: Path) -> None:
    """Raise CheckpointError, naming both, where a checkpoint is of another model or class set."""
    for what, have, want in (
        ("the model of the checkpoint is", found.model, wanted.model),
        ("the classes of the checkpoint are", _classes(found), _classes(wanted)),
        ("the chip size of the checkpoint is", found.chip_size, wanted.chip_size),
        ("the anchors' stride of the checkpoint is", found.stride, wanted.stride),
        (f"{option('masks')} of the checkpoint is", found.masks, wanted.masks),
        (f"{option('focus')} of the checkpoint is", found.focus, wanted.focus),
    ):
        if have != want:
            raise CheckpointError(
                f"{path} cannot be used here: {what} {_short(have)}, of this run {_short(want)}; "
                f"give another {option('name')}"
            )


def load_detector(path: Path, device: torch.device | str = "cpu") -> tuple[Detector, Checkpoint]:
    """The detector of a checkpoint, or of a run's newest, ready for inference. Raises CheckpointError."""
    path = find_checkpoint(path)
    checkpoint = load_checkpoint(path)
    identity = checkpoint.identity
    if identity.model not in MODELS:
        raise CheckpointError(
            f"{path} is of the model {identity.model}, which is not one of {', '.join(MODELS)}; {_cure(path)}"
        )
    parts = {"masks": identity.masks, "focus": identity.focus}
    model = build_model(identity.model, len(identity.class_ids), identity.chip_size, weights=None, **parts)
    load_weights(model, checkpoint, path, average=True)
    return model.to(device).eval(), checkpoint


def load_weights(model: Detector, checkpoint: Checkpoint, path: Path, average: bool = False) -> None:
    """Give ``model`` the checkpoint's weights, or their running ``average`` if there is one, and its frozen stem."""
    try:
        model.load_state_dict(checkpoint.ema if average and checkpoint.ema is not None else checkpoint.model)
    except (RuntimeError, TypeError, AttributeError, KeyError) as error:
        raise CheckpointError(
            f"{path} does not fit the model {checkpoint.identity.model} of this version; {_cure(path)}"
        ) from error
    model.backbone.freeze_stem(checkpoint.stem_frozen)


def _classes(identity: Identity) -> tuple[str, ...]:
    return tuple(f"{number} {name}" for number, name in zip(identity.class_ids, identity.class_names, strict=True))


def _short(value: str | int | tuple[str, ...]) -> str:
    if not isinstance(value, tuple):
        return str(value)
    return ", ".join(value[:6]) + (f", ... ({len(value)} in all)" if len(value) > 6 else "")
