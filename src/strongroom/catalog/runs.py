"""Writes runs to the store and describes them for a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from strongroom.catalog.entries import ObjectEntry
from strongroom.keymaster.api import FileKey
from strongroom.seal.columns import Columns
from strongroom.seal.run import RunSummary, RunWriter, Shape
from strongroom.seal.scatter import Ordered
from strongroom.store.base import Store, object_name


@dataclass(frozen=True)
class RunPlan:
    """What the runs of one act have in common.

    Args:
        room: Room id, 16 B.
        table: Table id, 16 B.
        kind: KIND_RECORDS or KIND_INDEX.
        put_id: The put or compaction, 16 B.
        created: Microseconds since 1970 (UTC).
        field: Field id of an index run.
    """

    room: bytes
    table: bytes
    kind: int
    put_id: bytes = bytes(16)
    created: int = 0
    field: bytes | None = None


def store_run(
    store: Store,
    plan: RunPlan,
    object_id: bytes,
    file_key: FileKey,
    pieces: Iterable[Columns] | Ordered,
    shapes: Sequence[Shape] = (),
    batches: Sequence[bytes] = (),
    before_durable: Callable[[ObjectEntry], object] | None = None,
) -> ObjectEntry:
    """Write one run from sorted pieces, durable when this returns.

    Args:
        store: The bucket.
        plan: What the run belongs to.
        object_id: Id of the new object.
        file_key: Its key, used for nothing else.
        pieces: Sorted columns of entries, in order; or entries in any order, and the order that sorts them.
        shapes: The shape table of a records run.
        batches: Batch ids of the rows; taken from the shapes if there are any.
        before_durable: Called with the run's entry when all of it is written and the disk is not done with it yet:
            what else is to be written is written meanwhile. What it raises takes the run back.

    Returns:
        What the manifest keeps of it.
    """
    with store.writer(object_name(object_id)) as out:
        writer = RunWriter(file_key.key, plan.room, object_id, plan.kind, out.write)
        if isinstance(pieces, Ordered):
            writer.add_ordered(*pieces)
        else:
            for piece in pieces:
                writer.add_sorted(*piece)
        summary = writer.finish(shapes)
        named = tuple(dict.fromkeys(shape.batch for shape in shapes)) or tuple(batches)
        entry = run_entry(plan, object_id, file_key.key_id, summary, named)
        if before_durable is not None:
            before_durable(entry)
    return entry


def run_entry(
    plan: RunPlan, object_id: bytes, key_id: bytes, summary: RunSummary, batches: tuple[bytes, ...]
) -> ObjectEntry:
    """The manifest's entry of a finished run."""
    return ObjectEntry(
        object_id=object_id,
        kind=plan.kind,
        table=plan.table,
        key_id=key_id,
        length=summary.length,
        sha256=summary.sha256,
        entries=summary.entries,
        field=plan.field,
        blocks=summary.blocks,
        tail_offset=summary.tail_offset,
        tail_length=summary.tail_length,
        persons=summary.persons,
        lo=summary.lo,
        hi=summary.hi,
        batches=batches,
        put_id=plan.put_id,
        created=plan.created,
    )
