"""Read everything and report: objects missing, changed or left over, and the log against every kept checkpoint.

Rules it keeps:

1. Nothing of a person is opened: blocks, manifests, counts and hashes are what is checked.
2. A fault does not stop the check; it is named, and the next object is read.
3. What nothing names is no fault: a put that was cut short leaves it, and `compact` removes it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.freshness import NOTES, verify_head, verify_notes
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.catalog.openfile import open_parquet
from strongroom.errors import IntegrityError, NotFoundError
from strongroom.index.runreader import RunReader
from strongroom.index.scan import scan
from strongroom.seal.blocks import KIND_INDEX, KIND_OPEN_COLUMNS, KIND_RECORDS
from strongroom.store.base import object_name

if TYPE_CHECKING:
    from strongroom.catalog.entries import BlockKeys, ObjectEntry
    from strongroom.read.session import Session

READ_BYTES = 4 << 20


@dataclass
class CheckReport:
    """What a check found. `faults` are (object, what), `orphans` names of objects that no snapshot reaches."""

    objects: int = 0
    entries: int = 0
    snapshots: int = 0
    log_entries: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    def rows(self) -> list[tuple[str, str, str]]:
        """Findings for a table."""
        orphans = [("orphan", name, "nothing names it") for name in self.orphans]
        return [("fault", *fault) for fault in self.faults] + orphans

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "faults": [list(f) for f in self.faults]}


def check(session: Session) -> CheckReport:
    """Check the bucket and the log.

    Raises:
        DeniedError: The actor may not check.
        IntegrityError: The newest snapshot is missing or another one: nothing else can be judged then.
    """
    keymaster = session.keymaster
    lease = keymaster.begin_maintenance(actor=session.actor, verb="check")
    try:
        block_keys = lease_block_keys(keymaster, lease)
        verify_head(session.store, keymaster.head())
        verify_notes(session.store, keymaster)
        newest = Catalog(session.store, keymaster.room_id, keymaster.head(), block_keys)
        report = CheckReport()
        named: set[str] = set()
        seen: set[bytes] = set()
        checkpoints: list[str] = []
        for catalog in _snapshots(newest, report):
            report.snapshots += 1
            named |= catalog.names()
            if catalog.snapshot.checkpoint:
                checkpoints.append(catalog.snapshot.checkpoint)
            _check_objects(session, catalog, block_keys, seen, report)
        there = {name for name, _ in session.store.list() if not name.startswith(NOTES)}
        report.orphans = sorted(there - named)
        try:
            report.log_entries = int(str(keymaster.verify_log(known=checkpoints)["entries"]))
        except IntegrityError as error:
            report.faults.append(("log", str(error)))
        return report
    finally:
        keymaster.abandon(lease)


def known_checkpoints(session: Session) -> list[str]:
    """The log checkpoint that each snapshot of the room keeps, newest first."""
    keymaster = session.keymaster
    lease = keymaster.begin_maintenance(actor=session.actor, verb="log")
    try:
        newest = Catalog(session.store, keymaster.room_id, keymaster.head(), lease_block_keys(keymaster, lease))
        return [c.snapshot.checkpoint for c in _snapshots(newest, CheckReport()) if c.snapshot.checkpoint]
    finally:
        keymaster.abandon(lease)


def _snapshots(newest: Catalog, report: CheckReport) -> Iterator[Catalog]:
    """This snapshot and all before it, as far as they are there."""
    catalog = newest
    while catalog.head.number:
        yield catalog
        try:
            catalog = catalog.parent()
        except IntegrityError as error:
            report.faults.append((f"snapshot {catalog.head.number - 1}", str(error)))
            return


def _check_objects(
    session: Session, catalog: Catalog, block_keys: BlockKeys, seen: set[bytes], report: CheckReport
) -> None:
    for entry in catalog.objects():
        if entry.object_id in seen:
            continue
        seen.add(entry.object_id)
        report.objects += 1
        try:
            _check_bytes(session, entry)
            if entry.kind in (KIND_RECORDS, KIND_INDEX):
                reader = RunReader(session.store, entry, catalog.room, block_keys, session.tails)
                found = sum(len(group.tokens) for group in scan([reader], payload=False))
            elif entry.kind == KIND_OPEN_COLUMNS:
                key = block_keys(entry.key_id, entry.kind, [0], entry.table)[0]
                found = int(open_parquet(session.store, entry, key).metadata.num_rows)
            else:
                found = entry.entries
            if found != entry.entries:
                raise IntegrityError(f"{found} entries where the manifest says {entry.entries}")
            report.entries += found
        except IntegrityError as error:
            report.faults.append((object_name(entry.object_id), str(error)))


def _check_bytes(session: Session, entry: ObjectEntry) -> None:
    name = object_name(entry.object_id)
    try:
        size = session.store.size(name)
    except NotFoundError:
        raise IntegrityError("missing") from None
    if size != entry.length:
        raise IntegrityError(f"{size} bytes where the manifest says {entry.length}")
    digest = hashlib.sha256()
    for start in range(0, size, READ_BYTES):
        digest.update(session.store.get_range(name, start, min(READ_BYTES, size - start)))
    if not hmac.compare_digest(digest.digest(), entry.sha256):
        raise IntegrityError("changed: its hash is not the one that was committed")
