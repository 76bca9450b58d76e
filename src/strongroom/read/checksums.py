"""Compute the sums that a compaction noted once more, from the runs it read and the runs it wrote.

A compaction that lost or invented a record, or wrote a newer one over with an older one, cannot have sums that add up:
see `index/sums.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import IntegrityError
from strongroom.index.runreader import RunReader
from strongroom.index.sums import EntrySum, note_name, run_sum
from strongroom.seal.blocks import KIND_INDEX, KIND_RECORDS
from strongroom.store.base import object_name

if TYPE_CHECKING:
    from strongroom.catalog.catalog import Catalog
    from strongroom.catalog.entries import BlockKeys, ObjectEntry

Group = tuple[bytes, int, "bytes | None"]


def check_sums(catalog: Catalog, block_keys: BlockKeys) -> tuple[int, list[str]]:
    """Check the sums noted in a snapshot, if a compaction made it and the runs it read are still there.

    Args:
        catalog: The snapshot.
        block_keys: Gives block keys of its runs and of those before it.

    Returns:
        How many groups of runs were summed, and what does not add up.
    """
    notes, parent = catalog.snapshot.notes, catalog.snapshot.parent
    if notes.get("act") != "compact" or parent is None or not catalog.store.exists(object_name(parent.object_id)):
        return 0, []
    checked, wrong = 0, []
    try:
        before, after = _groups(catalog.parent()), _groups(catalog)
    except IntegrityError as error:
        return 0, [str(error)]
    for group, runs in sorted(before.items(), key=str):
        name = note_name(*group)
        if f"{name}/read_sum" not in notes:
            continue
        now = after.get(group, {})
        read = [run for ident, run in runs.items() if ident not in now]
        written = [run for ident, run in now.items() if ident not in runs]
        if not all(catalog.store.exists(object_name(run.object_id)) for run in (*read, *written)):
            continue
        checked += 1
        try:
            sums = {"read": _sum(catalog, read, block_keys), "written": _sum(catalog, written, block_keys)}
        except IntegrityError as error:
            wrong.append(str(error))
            continue
        sums["dropped"] = sums["read"].minus(sums["written"])
        for word, found in sums.items():
            if (notes.get(f"{name}/{word}_entries"), notes.get(f"{name}/{word}_sum")) != (found.entries, found.hex()):
                wrong.append(f"the entries {word} do not have the sum that the compaction noted ({name})")
    return checked, wrong


def _groups(catalog: Catalog) -> dict[Group, dict[bytes, ObjectEntry]]:
    found: dict[Group, dict[bytes, ObjectEntry]] = {}
    for entry in catalog.objects():
        if entry.kind in (KIND_RECORDS, KIND_INDEX):
            found.setdefault((entry.table, entry.kind, entry.field), {})[entry.object_id] = entry
    return found


def _sum(catalog: Catalog, runs: list[ObjectEntry], block_keys: BlockKeys) -> EntrySum:
    total = EntrySum()
    for run in runs:
        total = total.plus(run_sum(RunReader(catalog.store, run, catalog.room, block_keys)))
    return total
