"""What can go wrong, as a tree.

ChipperError                anything a user can cause; one line: what was found, where, and the cure; exit code 1
OptionError               an option's value makes no sense
AnnotationError           the COCO file cannot be read or is not COCO
ProposalError             the proposal file cannot be read or belongs to another data set
ResultsError              the detections cannot be read or belong to another data set
ImageError                one image cannot be used (collected per image while exporting)
ImageDirectoryError       no folder holds the images
WorkdirError              the workdir is missing, incomplete, of another version or made with other options
ShardError                shards are missing, damaged or do not belong to the workdir
StorageError              a file cannot be written: no space, no permission
ClusterError              the dask cluster cannot be used, or lost a task too often
DependencyError           an optional package is not installed
DeviceError               the device has too little memory for what it is given
TrainingError             training cannot go on
CheckpointError         a checkpoint is damaged or belongs to another model or class set
"""

from __future__ import annotations

import re
from collections.abc import Callable

_LONGEST = 600  # characters of a message that holds what a file holds
_OPTION = re.compile("\ue000(\\w+)\ue001")  # two letters that Unicode leaves to private use


def option(name: str) -> str:
    """The option ``name`` inside a message: Python shows the name of the field, the command line its flag."""
    return f"\ue000{name}\ue001"


def spelled(text: str, flag: Callable[[str], str] = str) -> str:
    """``text`` with every `option` in it as ``flag`` spells its name."""
    return _OPTION.sub(lambda found: flag(found[1]), text)


def one_line(text: str) -> str:
    """``text`` fit for one line of a log: what is not printable is escaped, and the middle of a very long text left out."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


class ChipperError(Exception):
    """Base of every error that a user can cause; ``str(error)`` is the one line to show."""

    exit_code = 1

    def __str__(self) -> str:
        return self.told()

    def __format__(self, spec: str) -> str:
        return super().__str__()  # inside the message of another error, options stay what they are

    def told(self, flag: Callable[[str], str] = str) -> str:
        """The message, with options as ``flag`` spells them."""
        return one_line(spelled(super().__str__(), flag))


class OptionError(ChipperError):
    """An option's value makes no sense."""

    exit_code = 2


class AnnotationError(ChipperError):
    """The COCO file cannot be read or is not COCO."""


class ProposalError(ChipperError):
    """The proposal file cannot be read or belongs to another data set."""


class ResultsError(ChipperError):
    """The detections cannot be read or belong to another data set."""


class ImageError(ChipperError):
    """One image cannot be used."""


class ImageDirectoryError(ChipperError):
    """No folder holds the images."""


class WorkdirError(ChipperError):
    """The workdir is missing, incomplete, of another version or made with other options."""


class ShardError(ChipperError):
    """Shards are missing, damaged or do not belong to the workdir."""


class StorageError(ChipperError):
    """A file cannot be written."""


class ClusterError(ChipperError):
    """The dask cluster cannot be used, or lost a task too often."""


class DependencyError(ChipperError):
    """An optional package is not installed."""


class TrainingError(ChipperError):
    """Training cannot go on."""


class DeviceError(ChipperError):
    """The device has too little memory for what it is given."""


class CheckpointError(TrainingError):
    """A checkpoint is damaged or belongs to another model or class set."""
