"""Fields of many record entries as columns: cells opened under released keys, unpacked, under their names of now.

Rules kept here:

1. Of an opened cell only the fields asked for are unpacked. Open fields need no key.
2. Entries open under the table version they were sealed under, then move to the version in force by field id.
3. A cell that does not open stops the read: IntegrityError, which names table and class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import IntegrityError
from strongroom.index.records import locate_cells
from strongroom.schema.columns import arrow_type
from strongroom.schema.model import OPEN
from strongroom.schema.packing import unpack_cells
from strongroom.seal.cells import cell_ad, open_cells
from strongroom.seal.scatter import Scattered

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.index.runreader import RunReader
    from strongroom.keymaster.api import Bytes2D, Keymaster
    from strongroom.schema.model import Table
    from strongroom.seal.columns import Columns

I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]


def batches_of(reader: RunReader, shapes: U32) -> Bytes2D:
    """The batch id that each entry's shape names, u8[n,16]; IntegrityError for a shape that the run does not have."""
    names = np.frombuffer(b"".join(s.batch for s in reader.tail().shapes), np.uint8).reshape(-1, 16)
    if len(shapes) and int(shapes.max()) >= len(names):
        raise IntegrityError("a record entry names a shape that its run does not have")
    found: Bytes2D = names[shapes]
    return found


class CellColumns:
    """Some fields of a table's record entries.

    Args:
        keymaster: Knows older versions of the table.
        table: The table version in force.
        names: Fields wanted, of any class.
    """

    def __init__(self, keymaster: Keymaster, table: Table, names: Sequence[str]) -> None:
        self._keymaster = keymaster
        self._table = table
        self._fields = {name: table.field(name).id for name in names}

    def opened(
        self, reader: RunReader, entries: Columns, places: I64, shapes: U32, keys: Mapping[str, Bytes2D]
    ) -> dict[str, pa.Array]:
        """The fields of some entries.

        Args:
            reader: The run they are from.
            entries: Entries of it.
            places: Which of them, i64[n].
            shapes: The shape of each of these, u32[n].
            keys: Batch keys by sealed class, u8[n,32].

        Returns:
            A column of n values by field name.
        """
        import pyarrow as pa

        versions = np.array([s.version for s in reader.tail().shapes], np.int64)
        if len(places) and (versions == versions[0]).all():
            return self._opened_as(int(versions[0]), entries, places, keys)
        of_version = versions[shapes]
        orders: list[I64] = []
        found: dict[str, list[Any]] = {name: [] for name in self._fields}
        for version in np.unique(of_version).tolist():
            chosen = np.flatnonzero(of_version == version)
            orders.append(chosen)
            some = {klass: of_class[chosen] for klass, of_class in keys.items()}
            for name, array in self._opened_as(version, entries, places[chosen], some).items():
                found[name].append(array)
        empty = {name: pa.nulls(0, arrow_type(self._table.field(name).type)) for name in self._fields}
        if len(orders) < 2:
            return {name: arrays[0] if arrays else empty[name] for name, arrays in found.items()}
        back = pa.array(np.argsort(np.concatenate(orders), kind="stable"))
        return {name: pa.concat_arrays(arrays).take(back) for name, arrays in found.items()}

    def _opened_as(
        self, version: int, entries: Columns, places: I64, keys: Mapping[str, Bytes2D]
    ) -> dict[str, pa.Array]:
        """The fields of entries sealed under one version of the table."""
        import pyarrow as pa

        now = self._table
        sealed_under = now if version == now.version else self._keymaster.table_version(now.id, version)
        starts, lengths = locate_cells(entries.payload, entries.offsets, places, 1 + len(sealed_under.classes))
        ordinals = _ordinals(entries.payload, entries.offsets[places])
        found = {name: pa.nulls(len(places), arrow_type(now.field(name).type)) for name in self._fields}
        by_id = {id_: name for name, id_ in self._fields.items()}
        for number, klass in enumerate((OPEN, *sealed_under.classes)):
            wanted = {f.name: by_id[f.id] for f in sealed_under.fields_of(klass) if f.id in by_id}
            if wanted:
                data, offsets = _together(entries.payload, starts[number], lengths[number])
                if klass != OPEN:
                    if klass not in keys:
                        raise IntegrityError(f"the keymaster gave no keys of class {klass} of table {now.name}")
                    data, offsets = self._open(sealed_under, klass, keys[klass], ordinals, data, offsets)
                plain = unpack_cells(sealed_under, klass, data, offsets, list(wanted))
                found |= {wanted[name]: array for name, array in plain.items()}
        return found

    def _open(
        self,
        sealed_under: Table,
        klass: str,
        keys: Bytes2D,
        ordinals: npt.NDArray[np.uint64],
        data: npt.NDArray[np.uint8],
        offsets: I64,
    ) -> tuple[npt.NDArray[np.uint8], I64]:
        compartment = sealed_under.compartments[klass]
        ad = cell_ad(self._keymaster.room_id, sealed_under.id, compartment, sealed_under.version)
        plain, ends, bad = open_cells(keys, ordinals, data, offsets, ad)
        if bad.any():
            raise IntegrityError(
                f"a record of table {sealed_under.name} does not open: class {klass}",
                hint="the object was changed or swapped: run `strongroom check`",
            )
        return plain, ends


def _ordinals(payload: npt.NDArray[np.uint8], starts: I64) -> npt.NDArray[np.uint64]:
    """The row ordinal in the head of each entry, u64[n]."""
    found = np.zeros(len(starts), np.uint64)
    for byte in range(4):
        found |= payload[starts + 3 + byte].astype(np.uint64) << np.uint64(8 * byte)
    return found


def _together(payload: npt.NDArray[np.uint8], starts: I64, lengths: I64) -> tuple[npt.NDArray[np.uint8], I64]:
    """Pieces of a payload one behind the other, and their offsets."""
    held = np.ascontiguousarray(payload)
    pieces = Scattered(np.empty((0, 16), np.uint8), starts + held.ctypes.data, lengths, [held])
    return pieces.take(np.arange(len(starts), dtype=np.int64))
