"""verify: find faults in a folder of shards."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from chipper.errors import ShardError, StorageError, UnreachableError, one_line
from chipper.html import two_columns
from chipper.manifest.dataset import DATASET
from chipper.parallel.progress import SILENT, Monitor
from chipper.parallel.workers import Workers
from chipper.quantities import human_bytes
from chipper.shards.epochs import KIND, epoch_folders
from chipper.shards.samples import SampleError, parse_record, read_jpeg
from chipper.shards.shard_set import read_shard_set
from chipper.shards.writing import read_index, read_receipt, receipt_path, tar_path
from chipper.storage.files import remove
from chipper.storage.locations import answered, open_file, reconnect, sizes_in

_READ = 1 << 20


@dataclass(frozen=True)
class Checked:
    """The result of a check: numbers, one line for each fault, and what to run to repair the shards."""

    shards: int
    samples: int
    bytes: int
    faults: list[str]
    cure: str
    unreachable: list[str] = field(default_factory=list)
    """One line for each shard that is remote and could not be read now, so that nothing is known about it."""

    @property
    def rows(self) -> list[tuple[str, str]]:
        """A summary for people, as rows (name, text)."""
        return [
            ("shards", f"{self.shards:,} ({len(self.faults):,} with faults)"),
            *([("not checked", f"{len(self.unreachable):,} that cannot be read now")] if self.unreachable else []),
            ("samples", f"{self.samples:,}"),
            ("bytes", human_bytes(self.bytes)),
        ]

    def _repr_html_(self) -> str:
        return two_columns([*self.rows, *(("fault", fault) for fault in [*self.faults, *self.unreachable])], "Verified")


def verify_shards(
    folder: Path,
    *,
    deep: bool = False,
    repair: bool = False,
    workers: Workers = Workers(),  # noqa: B008, it is frozen
    monitor: Monitor = SILENT,
) -> Checked:
    """Check every shard of a finished export and its epochs: receipt, size, sha256, index; with ``deep`` also every sample.

    With ``repair`` the receipt of each damaged shard is removed, so that the next export writes this shard again. Without it
    nothing is changed.

    Raises:
        ShardError: there is no finished export in ``folder``.
        UnreachableError: ``folder`` is remote, and its list of shards cannot be read now.
    """
    sets, faults, unreachable = {folder: read_shard_set(folder)}, list[str](), list[str]()
    for epoch in epoch_folders(folder):
        try:
            found = read_shard_set(epoch)
        except ShardError:
            faults.append(f"{epoch / DATASET}: missing or damaged, so this epoch's shards are not finished")
            continue
        if found.id == sets[folder].id:
            sets[epoch] = found
        else:
            faults.append(f"{epoch} is not part of this export; export the epochs again, or delete it")
    in_epochs = bool(faults)
    tasks = [(place, name, found.chip_size, deep) for place, found in sets.items() for name in found.shards]
    with monitor.progress("verifying shards", len(tasks)) as advance:
        for place, name, fault, known in workers.processes(_check, tasks):
            if fault is not None and not known:
                unreachable.append(fault)
            elif fault is not None:
                in_epochs |= name.startswith(KIND)
                if repair:
                    try:
                        remove(receipt_path(place, name))
                    except StorageError:
                        fault += "; its receipt cannot be removed, so delete the shard yourself before exporting again"
                faults.append(f"{tar_path(place, name)}: {fault}")
            advance(1)
    wanted = {tar_path(place, name) for place, name, *_ in tasks}
    faults += [
        f"{place / name} is not part of this export; move or delete it"
        for place in sets
        for name in sorted(sizes_in(place))
        if name.endswith(".tar") and place / name not in wanted
    ]
    export = "`chipper export-shards" + " --layout epochs" * in_epochs + "`"
    return Checked(
        shards=len(tasks),
        samples=sum(found.samples for found in sets.values()),
        bytes=sum(found.bytes for found in sets.values()),
        faults=sorted(faults),
        cure=export if repair else f"`chipper verify --repair`, then {export}",
        unreachable=sorted(unreachable),
    )


def _check(folder: Path, name: str, chip_size: int, deep: bool) -> tuple[Path, str, str | None, bool]:
    """A shard's folder, name and fault, if any, and whether anything is known about the shard."""
    try:
        return folder, name, _fault(reconnect(folder), name, chip_size, deep), True
    except UnreachableError as error:
        return folder, name, str(error), False


def _fault(folder: Path, name: str, chip_size: int, deep: bool) -> str | None:
    """The first fault of a shard, or None. Raises UnreachableError."""
    receipt = read_receipt(folder, name)
    if receipt is None:
        return "missing, truncated, or without its index or receipt"
    path = tar_path(folder, name)
    try:
        sha256 = answered(path, lambda: _sha256(path))
        index = read_index(folder, receipt)
    except (OSError, ShardError) as error:
        return str(error)
    if sha256 != receipt.sha256:
        return "its bytes have changed since it was written"
    if len(index) != receipt.samples:
        return f"its index has {len(index)} samples, its receipt {receipt.samples}"
    if not deep:
        return None
    try:
        return answered(path, lambda: _check_samples(path, index.to_pylist(), chip_size))
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:  # possible although the receipt matches
        return one_line(f"it cannot be read as a tar ({error})")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_file(path) as file:
        while block := file.read(_READ):
            digest.update(block)
    return digest.hexdigest()


def _check_samples(path: Path, rows: list[dict[str, int | str]], chip_size: int) -> str | None:
    """The first fault of a sample, or None."""
    with open_file(path) as whole, tarfile.open(fileobj=whole, mode="r:") as tar:
        for row in rows:
            data = []
            for extension, offset in (("jpg", row["image_offset"]), ("json", row["json_offset"])):
                member = tar.next()
                if member is None or member.name != f"{row['key']}.{extension}" or member.offset_data != offset:
                    return f"sample {row['key']} is not where the index says"
                file = tar.extractfile(member)
                assert file is not None
                data.append(file.read())
            if (len(data[0]), len(data[1])) != (row["image_size"], row["json_size"]):
                return f"sample {row['key']} has another size than the index says"
            if zlib.crc32(data[1], zlib.crc32(data[0])) != row["crc32"]:
                return f"sample {row['key']} does not match its checksum"
            try:
                read_jpeg(data[0], chip_size)
                parse_record(data[1], str(row["key"]))
            except SampleError as error:
                return f"sample {row['key']} cannot be decoded ({error})"
        if tar.next() is not None:
            return "it holds more samples than its index"
    return None
