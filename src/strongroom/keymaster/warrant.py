"""What one request that its caller signed allows a server to ask in the caller's name, and nothing besides.

Rules it keeps:

1. Subjects, values, table, fields and the greatest number of persons are those that the caller signed; the keymaster
   reads them from the signed bytes, never from what the server says of them.
2. Only persons are released whose identifier was signed, or whom an index entry under a signed value named.
3. A question over sealed fields has its table and fields in its signed text, word for word.
4. A request is answered once: its name is kept in the transaction that opens the reading, for longer than it lasts.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import ConflictError, DeniedError
from strongroom.keymaster.api import Ask
from strongroom.keymaster.core import REQUEST_ID_BYTES, Core
from strongroom.keymaster.exports.api import ExportPlan
from strongroom.keymaster.holder import Holder
from strongroom.keys.rows import Rows
from strongroom.purpose.budget import NO_OWN, OwnBudgets
from strongroom.schema.model import Table
from strongroom.schema.normalise import normalise_one

BEYOND = "warrant.beyond"
"""The rule that refuses a server what its caller did not ask."""
ONCE = "credential.once"
TIME_BYTES = 5


@dataclass(frozen=True)
class Signer:
    """Whose request it is: the credential that signed it, the server's it came through, and the request's names.

    `request` names the request itself, `again` whatever the caller repeats under one `Idempotency-Key`; 16 bytes each.
    """

    actor: str
    credential: str
    through: str
    request: bytes
    again: bytes | None = None
    own: OwnBudgets = NO_OWN
    digest: bytes = bytes(32)

    @property
    def holder(self) -> Holder:
        """The caller's credential, which is counted and named."""
        return Holder(self.credential, False, self.own)

    @classmethod
    def of(
        cls,
        actor: str,
        credential: str,
        through: str,
        nonce: str,
        created: int,
        idempotency: str,
        own: OwnBudgets = NO_OWN,
        digest: bytes = bytes(32),
    ) -> Signer:
        """Name a request by the time that it was signed at, its credential and its nonce.

        The time comes first, so that names that are kept together are written together: a page of the database for
        many of them, and not one for each.
        """
        again = _named("again", credential, idempotency) if idempotency else None
        name = created.to_bytes(TIME_BYTES, "big") + _named("request", credential, f"{created}\0{nonce}")
        return cls(actor, credential, through, name[:REQUEST_ID_BYTES], again, own, digest)

    @property
    def act(self) -> bytes:
        """The request id of what is done under the request: the same for what is repeated."""
        return self.again or _named("act", self.credential, self.request.hex())

    def said(self) -> dict[str, int | str]:
        """What the entry that opens a reading says of it besides."""
        return {"through": self.through}

    def once(self, core: Core, rows: Rows) -> None:
        """Remember the request; DeniedError when it was answered before."""
        if not remember(core, rows, self.request):
            raise DeniedError("this request was answered before", rule=ONCE)


@dataclass
class Warrant:
    """What a signed read allows: `subjects` and `where` have canonical values, `persons` is the most released."""

    signer: Signer
    verb: str
    table: str | None
    fields: tuple[str, ...] | None
    subjects: frozenset[str] = field(default=frozenset(), repr=False)
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    persons: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    tokens: set[bytes] = field(default_factory=set, repr=False)
    hits: dict[str, set[tuple[bytes, int, int]]] = field(default_factory=dict, repr=False)
    pairs: set[tuple[bytes, int]] = field(default_factory=set, repr=False)
    released: dict[bytes, int] = field(default_factory=dict, repr=False)
    rows: int = 0
    stood_in: int = 0
    words: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def lookups(self) -> int:
        """How many values it looks up."""
        return len(self.subjects) + sum(map(len, self.where.values()))

    def allow(self, tokens: npt.NDArray[np.uint8]) -> None:
        """Take the persons behind subject tokens u8[n,16] as asked for."""
        with self.lock:
            self.tokens.update(token.tobytes() for token in tokens)

    def allow_hits(self, field_name: str, tokens: npt.NDArray[np.uint8], sequences: Any, ordinals: Any) -> None:
        """Take the rows that index entries of a field name: those under every field that was signed are asked for."""
        rows = zip((t.tobytes() for t in tokens), sequences.tolist(), ordinals.tolist(), strict=True)
        with self.lock:
            self.hits.setdefault(field_name, set()).update(rows)
            if self.hits.keys() == self.where.keys():
                both = set.intersection(*self.hits.values())
                self.pairs = {(token, sequence) for token, sequence, _ in both}

    def check_subjects(self, table: str, identifiers: Sequence[str]) -> None:
        """Raise DeniedError unless the caller named these subjects."""
        if table != self.table or not self.subjects.issuperset(identifiers):
            raise beyond("a subject that its caller did not name")

    def check_values(self, table: str, field_name: str, values: Sequence[str]) -> None:
        """Raise DeniedError unless the caller asked for these values of this field."""
        if table != self.table or not set(self.where.get(field_name, ())).issuperset(values):
            raise beyond("a value that its caller did not name")

    def check_verb(self, verb: str) -> None:
        """Raise DeniedError unless the caller's request is of this verb."""
        if verb != self.verb:
            raise beyond("another verb than its caller")

    def check_table(self, table: str | None) -> None:
        """Raise DeniedError unless the caller's request is about this table; `sql` names it in its text."""
        if table is None or table == self.table or (self.table is None and table.casefold() in self.words):
            return
        raise beyond("a table that its caller did not name")

    def check_person(self, token: bytes) -> None:
        """Raise DeniedError unless the caller asked for the person of a token (16 B)."""
        if token not in self.tokens:
            raise beyond("a person whom its caller did not ask for")

    def check_buried(self, table: str, low: bytes, high: bytes) -> None:
        """Raise DeniedError unless tombstones are asked for of one person asked for, or of a table that is added up."""
        self.check_table(table)
        if self.verb == "sql":
            return
        if low != high:
            raise beyond("more than one of the persons whom its caller asked for")
        self.check_person(low)

    def check_counted(self, table: str) -> None:
        """Raise DeniedError unless the caller's request counts in this table."""
        self.check_verb("sql")
        self.check_table(table)

    def check_clean(self) -> None:
        """Raise DeniedError unless the caller's request streams whole runs."""
        self.check_verb("sql")

    def check_export(self, plan: ExportPlan) -> None:
        """Raise DeniedError unless the caller signed for an export of this plan."""
        del plan
        self.check_verb("export")

    def check_begun(self, plan: ExportPlan, export_id: bytes) -> None:
        """Raise DeniedError unless the caller signed for a new export of what is there now, and this is the first."""
        del export_id
        self.check_export(plan)

    def check_resumed(self, export_id: bytes, persons: int) -> None:
        """Raise DeniedError unless the caller signed to take this export up, of so many persons."""
        del export_id, persons
        self.check_verb("export")

    def check_added(self, tokens: npt.NDArray[np.uint8], persons: int) -> None:
        """Raise DeniedError unless the caller's export may hold these persons u8[n,16], and so many in all."""
        del tokens, persons
        self.check_verb("export")

    def check_opened(self, table: str, values: int, fields: int) -> None:
        """Raise DeniedError for stand-ins of more values than so many fields of what was released have."""
        self.check_table(table)
        with self.lock:
            self.stood_in += values
            if self.stood_in > self.rows * fields:
                raise beyond("stand-ins of values that it did not open")

    def check_tokens(self, verb: str, export_id: bytes, table: str, field_name: str, values: Sequence[str]) -> None:
        """Raise DeniedError unless the caller asked for tokens of these values, or for what is behind these tokens."""
        del export_id, table, field_name, values
        self.check_verb(verb)

    def check_aggregate(self, table: str, fields: Sequence[str], persons: int) -> None:
        """Raise DeniedError unless the caller's question names this table, these fields, and so many persons."""
        self.check_verb("sql")
        if not self.words.issuperset(name.casefold() for name in (table, *fields)):
            raise beyond("a table or field that its caller did not name")
        if persons > self.persons:
            raise too_many(self.persons)

    def check_release(self, ask: Ask, tokens: npt.NDArray[np.uint8]) -> None:
        """Raise DeniedError unless what is to be released, of persons u8[n,16], is what the caller asked for."""
        self.check_table(ask.table)
        if ask.verb != self.verb or (ask.verb != "sql" and ask.fields != self.fields):
            raise beyond("another verb, or other fields")
        bulk = ask.verb == "sql"
        names = {ask.request_id} if bulk else {token.tobytes() for token in tokens}
        with self.lock:
            if self.verb == "find":
                asked = zip(ask.tokens, ask.batches, strict=True)
                pairs = {(t.tobytes(), int.from_bytes(b[:8].tobytes(), "little")) for t, b in asked}
                if not pairs <= self.pairs:
                    raise beyond("a record that no signed value names")
            elif not (bulk or names <= self.tokens):
                raise beyond("a person whom its caller did not ask for")
            self.rows += len(ask.tokens)
            self.released.update(dict.fromkeys(names, len(tokens) if bulk else 1))
            if sum(self.released.values()) > self.persons:
                raise too_many(self.persons)


def repeated(rows: Rows, ident: bytes, digest: bytes) -> bool:
    """Whether a request was remembered under this name; ConflictError when it was another."""
    row = rows.execute("SELECT digest FROM request WHERE id = ?", (ident,)).fetchone()
    if row is not None and row[0] != digest:
        raise ConflictError("another request was made under this Idempotency-Key")
    return row is not None


def bind(core: Core, rows: Rows, signer: Signer) -> None:
    """Remember what is asked under an `Idempotency-Key`; ConflictError when it was something else before."""
    if signer.again is not None and not repeated(rows, signer.again, signer.digest):
        remember(core, rows, signer.again, signer.digest)


def spent_before(rows: Rows, warrant: Warrant | None) -> bool:
    """Whether what is asked was spent when it was asked before, under the same `Idempotency-Key`."""
    signer = None if warrant is None else warrant.signer
    return signer is not None and signer.again is not None and repeated(rows, signer.again, signer.digest)


def keep_spent(core: Core, rows: Rows, warrant: Warrant | None) -> None:
    """Remember that what is asked under an `Idempotency-Key` is spent."""
    if warrant is not None and warrant.signer.again is not None:
        remember(core, rows, warrant.signer.again, warrant.signer.digest)


def remember(core: Core, rows: Rows, ident: bytes, digest: bytes = bytes(32)) -> bool:
    """Remember the name of a request (16 B); False when it was remembered before."""
    sql = "INSERT INTO request VALUES (?, ?, '{}', ?) ON CONFLICT (id) DO NOTHING"
    return bool(rows.execute(sql, (ident, digest, core.journal.now(rows))).rowcount)


def subjects_of(model: Table, subjects: Sequence[str]) -> frozenset[str]:
    """Subjects in their canonical form."""
    return frozenset(normalise_one(subject, model.subject_field.normalise) for subject in subjects)


def values_of(model: Table, where: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Values of indexed fields in their canonical form, each once."""
    return {
        name: tuple(sorted({normalise_one(value, model.field(name).normalise) for value in values}))
        for name, values in where.items()
    }


def words_of(text: str) -> frozenset[str]:
    """The words of a question, whatever their case: names of tables and fields are among them."""
    return frozenset(re.findall(r"\w+", text.casefold()))


def too_many(most: int) -> DeniedError:
    """The error for more persons than were signed for."""
    told = f"more persons than the caller agreed to: the most was {most}"
    return DeniedError(told, rule=BEYOND, hint="sign the request for more")


def beyond(what: str) -> DeniedError:
    """The error for what a caller did not sign for."""
    return DeniedError(f"the server asks for {what}", rule=BEYOND)


def _named(what: str, credential: str, text: str) -> bytes:
    said = f"strongroom\0{what}\0{credential}\0{text}"
    return hashlib.sha256(said.encode()).digest()[:REQUEST_ID_BYTES]
