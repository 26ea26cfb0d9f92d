"""The exceptions of chipper, as a tree; an indented class inherits from the one above it.

ChipperError                  any error that a user can cause; one line: what was found, where, and the cure; exit code 1
    OptionError               an option has an invalid value; exit code 2
    AnnotationError           the COCO file cannot be read or is not COCO
    ProposalError             the proposal file cannot be read or belongs to another data set
    ResultsError              the detections cannot be read or belong to another data set
    ImageError                one image cannot be used (collected per image while exporting)
    ImageDirectoryError       no folder holds the images
    WorkdirError              the workdir is missing, incomplete, of another version or made with other options
    ShardError                shards are missing, damaged or do not belong to the workdir
    StorageError              a file cannot be written: no space, no permission
        UnreachableError      a place on the network cannot be read or written now, whatever is there; exit code 75
    ClusterError              the dask cluster cannot be used, or lost a task too often
    DependencyError           an optional package is not installed
    DeviceError               the device has too little memory
    TrainingError             training cannot continue
        CheckpointError       a checkpoint is damaged or belongs to another model or class set
"""

from __future__ import annotations

import re
from collections.abc import Callable

_LONGEST = 600  # characters; a message that quotes a file could be longer
_OPTION = re.compile("\ue000(\\w+)\ue001")  # two code points from Unicode's private use area
_USER = re.compile(r"(\w[\w+.-]+:/{1,2})[^/\s\"'<>]*@")  # a path has one of the slashes
_QUERY = re.compile(r"(\w[\w+.-]+://[^\s\"'<>?]*\?)[^\s\"'<>]*[^\s\"'<>;,.)]")


def option(name: str) -> str:
    """A placeholder for the option ``name`` in a message: Python shows the field name, the command line shows the flag."""
    return f"\ue000{name}\ue001"


def spelled(text: str, flag: Callable[[str], str] = str) -> str:
    """``text`` with every `option` placeholder replaced by ``flag(name)``."""
    return _OPTION.sub(lambda found: flag(found[1]), text)


def without_secrets(text: str) -> str:
    """``text`` with ``***`` for the user and password, and for the query, of every URL in it: ``http://***@host/a?***``."""
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", text)) if ":/" in text else text


def printable(text: str) -> str:
    """``text`` with escapes for line ends and for what a terminal cannot show or would obey; names may contain them.

    Secrets in URLs are left out.
    """
    text = without_secrets(text)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """``text`` as one line of a log: unprintable characters are escaped, and the middle of a very long text is left out."""
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    return printable(text)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


class ChipperError(Exception):
    """Base of every error that a user can cause; ``str(error)`` is the one line to show."""

    exit_code = 1

    def __str__(self) -> str:
        return self.told()

    def __format__(self, spec: str) -> str:
        return super().__str__()  # inside the message of another error, placeholders of options are kept

    def told(self, flag: Callable[[str], str] = str) -> str:
        """The message; each option is shown as ``flag(name)``."""
        return one_line(spelled(super().__str__(), flag))


class OptionError(ChipperError):
    """An option has an invalid value."""

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


class UnreachableError(StorageError):
    """A place on the network cannot be read now; nothing is known about what is there."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


class ClusterError(ChipperError):
    """The dask cluster cannot be used, or lost a task too often."""


class DependencyError(ChipperError):
    """An optional package is not installed."""


class TrainingError(ChipperError):
    """Training cannot continue."""


class DeviceError(ChipperError):
    """The device has too little memory."""


class CheckpointError(TrainingError):
    """A checkpoint is damaged or belongs to another model or class set."""
