"""Read everything and report: objects missing, changed, misplaced or left over, and the log against kept checkpoints.

Rules it keeps:

1. Nothing of a person is opened: blocks, manifests, counts and hashes are what is checked.
2. A fault does not stop the check; it is named, and the next object is read. Only without the newest snapshot nothing
   can be judged.
3. What nothing names is no fault: a put that was cut short leaves it, and `compact` removes it. While a manifest does
   not open, what it lists cannot be told from that, and is counted apart.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.catalog.catalog import Catalog
from strongroom.catalog.freshness import NOTES, TAIL, verify_head
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.catalog.openfile import open_parquet
from strongroom.errors import IntegrityError, NotFoundError
from strongroom.index.runreader import RunReader
from strongroom.index.scan import scan
from strongroom.read.checksums import check_sums
from strongroom.seal.blocks import KIND_INDEX, KIND_MANIFEST, KIND_NAMES, KIND_OPEN_COLUMNS, KIND_RECORDS
from strongroom.store.base import in_pieces, object_name

if TYPE_CHECKING:
    from strongroom.catalog.entries import BlockKeys, ManifestRef, ObjectEntry
    from strongroom.read.session import Session
    from strongroom.schema.model import Schema

BESIDE = (NOTES, TAIL)


class Fault(NamedTuple):
    """One thing that is not as it was committed.

    `object` is its name in the bucket, or what it is where it has none; `what` is wrong; `kind` and `holds` say what
    lies in it: a kind of object, and its table, field and number of entries.
    """

    object: str
    what: str
    kind: str
    holds: str = ""


@dataclass
class CheckReport:
    """What a check found.

    Attributes:
        objects: Objects of the room that were read.
        entries: Entries in them.
        snapshots: Snapshots that are kept.
        log_entries: Entries of the log.
        sums: Compactions whose sums were computed again.
        faults: What is not as it was committed.
        orphans: Names of objects that no snapshot reaches.
        unjudged: Objects that nothing names as far as could be read, while a manifest does not open.
    """

    objects: int = 0
    entries: int = 0
    snapshots: int = 0
    log_entries: int = 0
    sums: int = 0
    faults: list[Fault] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    unjudged: int = 0

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Findings for a table."""
        orphans = [("orphan", name, "nothing names it", "", "") for name in self.orphans]
        return [("fault", *fault) for fault in self.faults] + orphans

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "faults": [fault._asdict() for fault in self.faults]}


def check(session: Session, *, deep: bool = False) -> CheckReport:
    """Check the bucket and the log.

    Args:
        session: The room.
        deep: Whether the sums that compactions noted are computed again from their runs, where these are kept.

    Raises:
        DeniedError: The actor may not check.
        IntegrityError: The newest snapshot is missing or another one: nothing else can be judged then.
    """
    keymaster = session.keymaster
    lease = keymaster.begin_maintenance(actor=session.actor, verb="check")
    try:
        verify_head(session.store, keymaster.head())
        block_keys = lease_block_keys(keymaster, lease)
        newest = Catalog(session.store, keymaster.room_id, keymaster.head(), block_keys)
        work = _Check(session, block_keys, keymaster.schema())
        checkpoints = []
        for catalog in _snapshots(newest, work.report):
            work.snapshot(catalog)
            if catalog.snapshot.checkpoint:
                checkpoints.append(catalog.snapshot.checkpoint)
            if deep:
                found, wrong = check_sums(catalog, block_keys)
                work.report.sums += found
                work.report.faults += [Fault(f"snapshot {catalog.head.number}", text, "compaction") for text in wrong]
        work.beside()
        work.left_over()
        try:
            work.report.log_entries = int(str(keymaster.verify_log(known=checkpoints, maps=True)["entries"]))
        except IntegrityError as error:
            work.report.faults.append(Fault("log", str(error), "log"))
        return work.report
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
            number = 0 if catalog.snapshot.parent is None else catalog.snapshot.parent.number
            report.faults.append(Fault(f"snapshot {number}", str(error), "snapshot"))
            return


class _Check:
    """One check under way."""

    def __init__(self, session: Session, block_keys: BlockKeys, schema: Schema) -> None:
        self.report = CheckReport()
        self._session = session
        self._block_keys = block_keys
        self._tables = {table.id: table for table in schema.tables.values()}
        self._named: set[str] = set()
        self._seen: set[bytes] = set()
        self._hashes: dict[bytes, str] = {}
        self._blind = False

    def snapshot(self, catalog: Catalog) -> None:
        """Check what a snapshot names and no newer one did."""
        self.report.snapshots += 1
        self._named.add(object_name(catalog.head.object_id))
        if catalog.snapshot.tombstones is not None:
            self._named.add(object_name(catalog.snapshot.tombstones.object_id))
        for reference in catalog.snapshot.manifests:
            if reference.object_id in self._seen:
                continue
            self._seen.add(reference.object_id)
            self._named.add(object_name(reference.object_id))
            try:
                entries = catalog.manifest(reference)
            except IntegrityError as error:
                self._blind = True
                name = object_name(reference.object_id)
                self._fault(name, str(error), KIND_NAMES[KIND_MANIFEST], self._listed(reference))
                continue
            for entry in entries:
                self._object(catalog, entry)

    def _object(self, catalog: Catalog, entry: ObjectEntry) -> None:
        if entry.object_id in self._seen:
            return
        self._seen.add(entry.object_id)
        name = object_name(entry.object_id)
        self._named.add(name)
        self._hashes[entry.sha256] = name
        self.report.objects += 1
        try:
            self._bytes(entry)
            found = self._entries(catalog, entry)
            if found != entry.entries:
                raise IntegrityError(f"{found} entries where the manifest says {entry.entries}")
            self.report.entries += found
        except IntegrityError as error:
            self._fault(name, str(error), KIND_NAMES[entry.kind], self._holds(entry))

    def _entries(self, catalog: Catalog, entry: ObjectEntry) -> int:
        store = self._session.store
        if entry.kind in (KIND_RECORDS, KIND_INDEX):
            reader = RunReader(store, entry, catalog.room, self._block_keys, self._session.tails)
            return sum(len(group.tokens) for group in scan([reader], payload=False))
        if entry.kind == KIND_OPEN_COLUMNS:
            key = self._block_keys(entry.key_id, entry.kind, [0], entry.table)[0]
            return int(open_parquet(store, entry, key).metadata.num_rows)
        return entry.entries

    def _bytes(self, entry: ObjectEntry) -> None:
        store, name = self._session.store, object_name(entry.object_id)
        try:
            size = store.size(name)
        except NotFoundError:
            raise IntegrityError("missing") from None
        digest = _digest(self._session, name, size)
        if size == entry.length and hmac.compare_digest(digest, entry.sha256):
            return
        other = self._hashes.get(digest)
        if other is not None and other != name:
            raise IntegrityError(f"changed: it holds the bytes of object {other}")
        if size != entry.length:
            raise IntegrityError(f"changed: {size} bytes where the manifest says {entry.length}")
        raise IntegrityError("changed: its hash is not the one that was committed")

    def beside(self) -> None:
        """Check the signed checkpoints that lie beside the objects."""
        store, keymaster = self._session.store, self._session.keymaster
        for name in sorted(name for name, _ in store.list(NOTES)):
            try:
                keymaster.check_checkpoint(store.get(name).decode())
            except UnicodeDecodeError:
                self._fault(name, "it is no checkpoint", "checkpoint")
            except IntegrityError as error:
                self._fault(name, str(error), "checkpoint")

    def left_over(self) -> None:
        """Tell what nothing names: something misplaced, something left over, or not to be judged."""
        there = {name for name, _ in self._session.store.list() if not name.startswith(BESIDE)}
        names = sorted(there - self._named)
        if self._blind:
            self.report.unjudged = len(names)
            return
        self.report.orphans = names
        if not any(fault.what == "missing" for fault in self.report.faults):
            return
        for name in names:
            other = self._hashes.get(_digest(self._session, name, self._session.store.size(name)))
            if other is not None:
                self._fault(name, f"misplaced: it holds the bytes of object {other}", "object")

    def _fault(self, name: str, what: str, kind: str, holds: str = "") -> None:
        self.report.faults.append(Fault(name, what, kind, holds))

    def _listed(self, reference: ManifestRef) -> str:
        names = sorted(self._tables[t].name if t in self._tables else t.hex() for t in reference.tables)
        return f"{reference.entries} objects of {', '.join(names)}"

    def _holds(self, entry: ObjectEntry) -> str:
        table = self._tables.get(entry.table)
        words = [f"table {entry.table.hex() if table is None else table.name}"]
        if entry.field is not None:
            known = {} if table is None else {f.id: f.name for f in table.fields}
            words.append(f"field {known.get(entry.field, entry.field.hex())}")
        return ", ".join([*words, f"{entry.entries} entries"])


def _digest(session: Session, name: str, size: int) -> bytes:
    digest = hashlib.sha256()
    for piece in in_pieces(session.store, name, size):
        digest.update(piece)
    return digest.digest()
