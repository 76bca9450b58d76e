"""What a signed export allows a server to ask in its caller's name: that export, of so many persons, and no other.

Rules it keeps:

1. Tables, recipient, condition and snapshot of the plan are those that were signed, or stood when the reading opened.
   What is taken up is the export that was signed for; whoever signed for a new one takes up none.
2. Of named subjects only these are added. Whom a condition chooses the server says, which sees the open fields; it says
   so of no more persons than were signed for, canary persons among them: nobody is told apart by being counted.
3. One request is one export: `persons` holds for all that it gives. After a refusal there is no other either.
4. Nothing but records of these tables is opened, and no release outside the export is made under it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from strongroom.identity import asked
from strongroom.keymaster.api import Bytes2D
from strongroom.keymaster.exports.api import ExportPlan
from strongroom.keymaster.warrant import Signer, Warrant, beyond, subjects_of, too_many, words_of
from strongroom.schema.model import Schema
from strongroom.seal.columns import places_among, token_text


@dataclass
class ExportWarrant(Warrant):
    """See the module; `forms` has the canonical subjects by table, `snapshot` the number of what is read."""

    said: asked.Export = field(kw_only=True, repr=False)
    forms: Mapping[str, frozenset[str]] = field(kw_only=True, repr=False)
    snapshot: int = -1
    export: bytes = field(default=b"", repr=False)
    named: set[bytes] = field(default_factory=set, repr=False)
    ordered: Bytes2D | None = field(default=None, repr=False)

    @classmethod
    def of(cls, signer: Signer, verb: str, said: asked.Export, schema: Schema) -> ExportWarrant:
        """The warrant of a signed export, under the schema in force."""
        models = [schema.tables[name] for name in said.tables if name in schema.tables]
        forms = {model.name: subjects_of(model, said.subjects or ()) for model in models}
        return cls(signer, verb, None, None, persons=said.persons, said=said, forms=forms)

    @property
    def lookups(self) -> int:
        """See `Warrant.lookups`: a subject is looked up in each table."""
        return sum(map(len, self.forms.values()))

    def allow(self, tokens: Bytes2D) -> None:
        """See `Warrant.allow`."""
        with self.lock:
            self.named.update(token.tobytes() for token in tokens)
            self.ordered = None

    def check_subjects(self, table: str, identifiers: Sequence[str]) -> None:
        """See `Warrant.check_subjects`."""
        if not self.forms.get(table, frozenset()).issuperset(identifiers):
            raise beyond("a subject that its caller did not name")

    def check_table(self, table: str | None) -> None:
        """See `Warrant.check_table`."""
        if table is not None and table not in self.said.tables:
            raise beyond("a table that its caller did not name")

    def check_buried(self, table: str, low: bytes, high: bytes) -> None:
        """See `Warrant.check_buried`: the records of a table are streamed."""
        del low, high
        self.check_table(table)

    def check_clean(self) -> None:
        """See `Warrant.check_clean`."""

    def check_export(self, plan: ExportPlan) -> None:
        """See `Warrant.check_export`."""
        said = self.said
        signed = (tuple(said.tables), said.recipient, said.where or "", said.subjects is not None)
        if (plan.tables, plan.recipient, plan.where, plan.named) != signed:
            raise beyond("another export than its caller")
        if not words_of(plan.where).issuperset(name.casefold() for name in plan.where_fields):
            raise beyond("a condition on other fields than its caller")

    def check_begun(self, plan: ExportPlan, export_id: bytes) -> None:
        """See `Warrant.check_begun`."""
        self.check_export(plan)
        if self.said.resume is not None or plan.snapshot != self.snapshot:
            raise beyond("a new export, or one of another snapshot")
        self._only(export_id)

    def check_resumed(self, export_id: bytes, persons: int) -> None:
        """See `Warrant.check_resumed`."""
        if self.said.resume != export_id.hex():
            raise beyond("an export that its caller did not take up")
        if persons > self.persons:
            raise too_many(self.persons)
        self._only(export_id)

    def _only(self, export_id: bytes) -> None:
        """Take this as the one export of the request; DeniedError where it had one, whatever became of that."""
        with self.lock:
            if self.export not in {b"", export_id}:
                raise beyond("a second export")
            self.export = export_id

    def check_added(self, tokens: Bytes2D, persons: int) -> None:
        """See `Warrant.check_added`."""
        if self.said.subjects is not None and not self._are_named(tokens):
            raise beyond("a person whom its caller did not name")
        if persons > self.persons:
            raise too_many(self.persons)

    def _are_named(self, tokens: Bytes2D) -> bool:
        with self.lock:
            if self.ordered is None:
                self.ordered = np.frombuffer(b"".join(sorted(self.named)), np.uint8).reshape(-1, 16)
            named = self.ordered
        return bool(places_among(token_text(named), token_text(tokens))[1].all())
