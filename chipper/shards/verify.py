"""verify: find faults in a folder of shards."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from chipper.errors import ChipperError, ShardError, StorageError, one_line
from chipper.html import two_columns
from chipper.manifest.dataset import DATASET
from chipper.parallel.progress import SILENT, Monitor
from chipper.parallel.workers import Workers
from chipper.quantities import human_bytes
from chipper.schemas import SHARD_INDEX
from chipper.shards.epochs import KIND, epoch_folders
from chipper.shards.samples import SampleError, parse_record, read_jpeg
from chipper.shards.shard_set import read_shard_set
from chipper.shards.writing import index_path, read_receipt, receipt_path, tar_path
from chipper.storage.files import read_table, remove
from chipper.storage.locations import reconnect

_READ = 1 << 20


@dataclass(frozen=True)
class Checked:
    """The result of a check: numbers, one line for each fault, and the command that repairs the shards."""

    shards: int
    samples: int
    bytes: int
    faults: list[str]
    cure: str

    @property
    def rows(self) -> list[tuple[str, str]]:
        """A summary for people, as rows (name, text)."""
        return [
            ("shards", f"{self.shards:,} ({len(self.faults):,} with faults)"),
            ("samples", f"{self.samples:,}"),
            ("bytes", human_bytes(self.bytes)),
        ]

    def _repr_html_(self) -> str:
        return two_columns([*self.rows, *(("fault", fault) for fault in self.faults)], "Verified")


def verify_shards(
    folder: Path,
    *,
    deep: bool = False,
    workers: Workers = Workers(),  # noqa: B008, it is frozen
    monitor: Monitor = SILENT,
) -> Checked:
    """Check every shard of a finished export and its epochs: receipt, size, sha256, index; with ``deep`` also every sample.

    The receipt of a faulty shard is removed, so that the next export writes this shard again.

    Raises:
        ShardError: there is no finished export in ``folder``.
    """
    sets, faults = {folder: read_shard_set(folder)}, list[str]()
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
        for place, name, fault in workers.processes(_check, tasks):
            if fault is not None:
                in_epochs |= name.startswith(KIND)
                try:
                    remove(receipt_path(place, name))
                except StorageError:
                    fault += "; its receipt cannot be removed, so delete the shard yourself before exporting again"
                faults.append(f"{tar_path(place, name)}: {fault}")
            advance(1)
    wanted = {tar_path(place, name) for place, name, *_ in tasks}
    faults += [
        f"{path} is not part of this export; move or delete it"
        for place in sets
        for path in sorted(place.glob("*.tar"))
        if path not in wanted
    ]
    return Checked(
        shards=len(tasks),
        samples=sum(found.samples for found in sets.values()),
        bytes=sum(found.bytes for found in sets.values()),
        faults=sorted(faults),
        cure="chipper export-shards" + " --layout epochs" * in_epochs,
    )


def _check(folder: Path, name: str, chip_size: int, deep: bool) -> tuple[Path, str, str | None]:
    place, folder = folder, reconnect(folder)
    receipt = read_receipt(folder, name)
    if receipt is None:
        return place, name, "missing, truncated, or without its index or receipt"
    digest = hashlib.sha256()
    try:
        with tar_path(folder, name).open("rb") as file:
            while block := file.read(_READ):
                digest.update(block)
        index = read_table(index_path(folder, name), SHARD_INDEX, receipt.plan_hash, "export again")
    except (OSError, ChipperError) as error:
        return place, name, str(error)
    if digest.hexdigest() != receipt.sha256:
        return place, name, "its bytes have changed since it was written"
    if len(index) != receipt.samples:
        return place, name, f"its index has {len(index)} samples, its receipt {receipt.samples}"
    try:
        return place, name, _check_samples(folder, name, index.to_pylist(), chip_size) if deep else None
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:  # possible although the receipt matches
        return place, name, one_line(f"it cannot be read as a tar ({error})")


def _check_samples(folder: Path, name: str, rows: list[dict[str, int | str]], chip_size: int) -> str | None:
    """The first fault of a sample, or None."""
    with tar_path(folder, name).open("rb") as whole, tarfile.open(fileobj=whole, mode="r:") as tar:
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
                parse_record(data[1])
            except SampleError as error:
                return f"sample {row['key']} cannot be decoded ({error})"
        if tar.next() is not None:
            return "it holds more samples than its index"
    return None
