"""Puts that race an erasure: secrets for the rows of a batch, and none for whoever was erased since the put began.

Rules it keeps:

1. A row is born dead when its person was erased after the put's lease was granted, unless the person has come back by
   another put meanwhile and the batch was minted after the erasure. Its keys come from a secret that is thrown away.
2. The tombstone of somebody who has not come back rises to cover the batch, so that its entries are dead everywhere.
3. What was found before the transaction is checked within it; when somebody was faster, it is looked up again.
4. No row is sealed alive that would be dead: where a tombstone that rose covers an older batch, of a put that began
   after the erasure, that put is told, and put again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from strongroom.errors import ConflictError, UnavailableError
from strongroom.keymaster.api import Lease
from strongroom.keymaster.core import Core
from strongroom.keymaster.erasures.tombstones import any_buried, buried_at
from strongroom.keys.hierarchy import KEY_BYTES
from strongroom.keys.pages import U64, Bytes2D, halves
from strongroom.keys.rows import Rows, counter
from strongroom.keys.writer import distinct
from strongroom.seal.columns import token_text

ATTEMPTS_MAX = 16

Within = Callable[[Rows, int, U64], None]


class _FasterError(ConflictError):
    """Somebody was erased or came back since it was looked; never leaves this module."""


class _Seen(NamedTuple):
    """What was looked up: dead rows bool[n], tokens whose tombstones rise, and what must not have changed since.

    `pages` is the state of the key pages where some of the persons were erased: one of them may come back; else 0.
    """

    dead: npt.NDArray[np.bool_]
    rising: list[bytes]
    newest: int
    pages: int


def ensure_living(
    core: Core, lease: Lease, sequence: int, subjects: Bytes2D, within: Within
) -> tuple[Bytes2D, int]:
    """Secrets u8[n,32] for the rows of a batch, made now for persons not seen before; see `KeyStore.ensure`.

    Args:
        core: Keys and state.
        lease: The put's lease.
        sequence: Sequence of its batch.
        subjects: Subject tokens u8[n,16], repeats allowed.
        within: Called within the transaction, as `KeyStore.ensure` does.

    Returns:
        The secrets, and how many persons are new.
    """
    for _ in range(ATTEMPTS_MAX):
        seen = _look(core, lease, sequence, subjects)

        def checked(rows: Rows, new: int, again: U64, seen: _Seen = seen) -> None:
            if _newest(rows, lease) != seen.newest or seen.pages not in {0, counter(rows, "pages")}:
                raise _FasterError("somebody was erased meanwhile")
            _check_none_covered(rows, lease, sequence, subjects)
            sql = "UPDATE tombstone SET sequence = ? WHERE token = ? AND sequence < ?"
            rows.executemany(sql, [(sequence, token, sequence) for token in seen.rising])
            within(rows, new, again)

        try:
            return _ensure(core, sequence, subjects, seen.dead, checked)
        except _FasterError:
            continue
    raise UnavailableError("persons of this put keep being erased: try again")


def _ensure(
    core: Core, sequence: int, subjects: Bytes2D, dead: npt.NDArray[np.bool_], within: Within
) -> tuple[Bytes2D, int]:
    if not dead.any():
        ensured = core.keys.ensure(subjects, sequence, within)
        return ensured.secrets, ensured.new
    secrets = np.empty((len(subjects), KEY_BYTES), np.uint8)
    thrown = core.entropy(KEY_BYTES * int(dead.sum()))
    secrets[dead] = np.frombuffer(thrown, np.uint8).reshape(-1, KEY_BYTES)
    if dead.all():
        with core.state.write() as rows:
            within(rows, 0, np.empty(0, np.uint64))
        return secrets, 0
    ensured = core.keys.ensure(np.ascontiguousarray(subjects[~dead]), sequence, within)
    secrets[~dead] = ensured.secrets
    return secrets, ensured.new


def _look(core: Core, lease: Lease, sequence: int, subjects: Bytes2D) -> _Seen:
    rows = core.state.read()
    newest = _newest(rows, lease)
    if not newest:
        return _Seen(np.zeros(len(subjects), np.bool_), [], 0, 0)
    pages = counter(rows, "pages")
    own, place = distinct(subjects, *halves(subjects))
    since = {row[0] for row in rows.execute(_SINCE, (lease.lease_id,)).fetchall()}
    names = [token.tobytes() for token in own]
    among = np.flatnonzero(np.array([name in since for name in names], np.bool_))
    if not among.size:
        return _Seen(np.zeros(len(subjects), np.bool_), [], newest, 0)
    erased = np.ascontiguousarray(own[among])
    back = core.keys.lookup(erased).found
    gone = np.zeros(len(own), np.bool_)
    gone[among] = ~back | (buried_at(rows, erased) >= sequence)
    return _Seen(gone[place], [names[at] for at in among[~back].tolist()], newest, pages)


def _check_none_covered(rows: Rows, lease: Lease, sequence: int, subjects: Bytes2D) -> None:
    """Raise ConflictError where a person erased before the lease has a tombstone that rose over its batch since."""
    if not any_buried(rows):
        return
    covered = [row[0] for row in rows.execute(_COVERED, (sequence, lease.lease_id)).fetchall()]
    if covered and np.isin(token_text(subjects), token_text(np.frombuffer(b"".join(covered), np.uint8))).any():
        raise ConflictError(
            "persons of this put were erased before it began, and a put from before that has sealed them since",
            hint="put it again: nothing of it was kept",
        )


_COVERED = "SELECT token FROM tombstone WHERE sequence >= ? AND leaf <= (SELECT leaf FROM lease WHERE id = ?)"
_SINCE = "SELECT token FROM tombstone WHERE leaf > (SELECT leaf FROM lease WHERE id = ?)"
_NEWEST = "SELECT max(leaf) FROM tombstone WHERE leaf > (SELECT leaf FROM lease WHERE id = ?)"


def _newest(rows: Rows, lease: Lease) -> int:
    """The newest erasure since the lease began; 0 if there was none."""
    found = rows.execute(_NEWEST, (lease.lease_id,)).fetchone()[0] if any_buried(rows) else None
    return 0 if found is None else int(found)
