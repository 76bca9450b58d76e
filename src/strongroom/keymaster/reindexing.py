"""Take index entries from one outer key of a field to the next, for the holder of a lease to rotate.

Rules it keeps:

1. No cell and no value is opened: a token is one block under the outer key, and an entry names a person and a row.
2. Whatever does not open stops it: an entry sealed again without having been verified would be believed from then on.
3. The next key is used for nothing but this until the lease commits; see `outerkeys`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from strongroom.errors import ConflictError, IntegrityError, UsageError
from strongroom.keymaster.api import Lease
from strongroom.keymaster.core import Core
from strongroom.keymaster.leases import Leases
from strongroom.keymaster.outerkeys import open_outer_key, outer_id, outer_key_uses, outer_version
from strongroom.keys.hierarchy import KEY_BYTES
from strongroom.keys.rows import Rows
from strongroom.seal.tokens import open_index_entries, rotate_tokens, seal_index_entries

ENTRIES_AT_ONCE_MAX = 1 << 24


class Reindexing:
    """Rotates outer keys for one keymaster's leases."""

    def __init__(self, core: Core, leases: Leases) -> None:
        self._core = core
        self._leases = leases

    def rotate(
        self,
        lease: Lease,
        table: str,
        field_name: str,
        value_tokens: npt.NDArray[np.uint8],
        entries: npt.NDArray[np.uint8],
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """See `Keymaster.rotate_index`."""
        core = self._core
        core.standing.refresh()
        field = core.standing.schema.table(table).field(field_name)
        if not field.find:
            raise UsageError(f"field {field_name} of table {table} has no index")
        if len(value_tokens) > ENTRIES_AT_ONCE_MAX:
            raise UsageError(f"at most {ENTRIES_AT_ONCE_MAX} entries are rotated at once")
        new = self._next_key(lease, field.id)
        keys = core.standing.field(field.id)
        old = core.standing.value_keys(field.id, core.head().number).outer
        subjects, sequences, ordinals, bad = open_index_entries(keys.siv, field.id, value_tokens, entries)
        if bad.any():
            raise IntegrityError(
                f"{int(np.count_nonzero(bad))} entries of the index of {field_name} do not open",
                hint="`strongroom check` names the object; mend it before the key is rotated",
            )
        tokens = rotate_tokens(old, new, value_tokens)
        return tokens, seal_index_entries(keys.siv, field.id, tokens, subjects, sequences, ordinals)

    def _next_key(self, lease: Lease, field: bytes) -> bytes:
        """The key that this lease goes to, made at its first call."""
        core = self._core

        def job(rows: Rows) -> bytes:
            self._leases.check(rows, lease, ("rotate",))
            planned = "SELECT field, version FROM outer_key_plan WHERE lease = ?"
            row = rows.execute(planned, (lease.lease_id,)).fetchone()
            if row is not None and row[0] != field:
                raise ConflictError("a lease rotates the key of one field")
            if row is not None:
                return open_outer_key(rows, core.ring, field, row[1], b"")
            now = outer_version(outer_key_uses(rows).get(field, []), core.head(rows).number)
            last = rows.execute(
                "SELECT count(*) FROM wrapped_key WHERE purpose = 'outer' AND substr(id, 1, 16) = ?", (field,)
            ).fetchone()[0]
            version = max(now, last + 1) + 1
            ident, key = outer_id(field, version), core.entropy(KEY_BYTES)
            rows.execute("INSERT INTO wrapped_key VALUES ('outer', ?, ?)", (ident, core.ring.wrap("outer", ident, key)))
            rows.execute("INSERT INTO outer_key_plan VALUES (?, ?, ?)", (lease.lease_id, field, version))
            return key

        found: bytes = core.run(job)
        return found
