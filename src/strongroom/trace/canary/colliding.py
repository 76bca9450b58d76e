"""Asks the room whether somebody has an identifier: look-ups in the blind index, metered like any.

Rules kept here:

1. An identifier is taken when there is an entry under it, whatever became of the record: of a value that somebody
   once had, too. No entry is opened, so nobody is told whose it is.
2. Of a subject the keymaster says it: of whoever has or had records, and of canaries registered before.
3. A field without an index cannot be asked about. It is remembered by name, so that whoever plants is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.schema.normalise import normalise
from strongroom.seal.columns import token_text

if TYPE_CHECKING:
    import pyarrow as pa

    from strongroom.index.finder import Finder
    from strongroom.keymaster.api import Keymaster

AT_ONCE = 10_000

Bool = npt.NDArray[np.bool_]


class RoomValues:
    """See `canary.ids.Collides`: what a `CanaryModel` asks.

    Args:
        keymaster: Gives tokens, and knows subjects.
        finder: Look-ups in the snapshot that is read.
        reading_id: A reading whose purpose has the verb plant.
    """

    def __init__(self, keymaster: Keymaster, finder: Finder, reading_id: bytes) -> None:
        self._keymaster = keymaster
        self._finder = finder
        self._reading = reading_id
        self._schema = keymaster.schema()
        self._known: dict[str, tuple[pa.Array, pa.Array]] = {}
        self.unasked: set[str] = set()
        self.looked_up = 0

    def __call__(self, table: str, name: str, values: pa.Array) -> Bool:
        """Which of some values of a field somebody has, bool[n]; null is nobody's."""
        import pyarrow as pa
        import pyarrow.compute as pc

        model = self._schema.table(table)
        field = model.field(name)
        if name != model.subject and not field.find:
            self.unasked.add(f"{table}.{name}")
            return np.zeros(len(values), np.bool_)
        forms = normalise(values if pa.types.is_integer(values.type) else values.cast(pa.string()), field.normalise)
        asked, taken = self._known.get(f"{table}.{name}", (pa.array([], pa.string()),) * 2)
        distinct = forms.drop_null().unique()
        fresh = distinct.filter(pc.invert(pc.is_in(distinct, asked)))
        self.looked_up += len(fresh)
        for at in range(0, len(fresh), AT_ONCE):
            some = fresh.slice(at, AT_ONCE)
            here = some.filter(pa.array(self._taken(table, name, some.to_pylist())))
            asked, taken = pa.concat_arrays([asked, some]), pa.concat_arrays([taken, here])
            self._known[f"{table}.{name}"] = (asked, taken)
        found: Bool = pc.is_in(forms, taken).to_numpy(zero_copy_only=False) & np.asarray(forms.is_valid())
        return found

    def _taken(self, table: str, name: str, texts: list[str]) -> Bool:
        model = self._schema.table(table)
        if name == model.subject:
            return self._keymaster.canaries.known(self._reading, table, texts)
        finder, field = self._finder, model.field(name)
        tokens = self._keymaster.value_tokens(self._reading, table, name, texts, finder.catalog.head.number)
        found, _entries = finder.index_entries(model, field, tokens)
        return np.isin(token_text(tokens), token_text(found))
