"""What stands: the schema and policy in force, past versions of tables, and the decider made of them.

Rules it keeps:

1. A policy always fits the schema in force; a change that breaks that is refused.
2. Versions are kept for ever: a record opens under the table version it was sealed under.
3. `number` counts every change; a decision made under another number is made again inside the transaction. What stands
   is at least as new as its number says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from strongroom.errors import DeniedError, IntegrityError, NotFoundError
from strongroom.keymaster.database.state import State
from strongroom.keymaster.log.witnessing import rule_of
from strongroom.keymaster.outerkeys import open_outer_key, outer_key_uses, outer_version
from strongroom.keys.hierarchy import FIELD_KEY_BYTES, FieldKeys, KeyRing, TokenKeys, field_keys
from strongroom.keys.rows import Rows, counter, take
from strongroom.purpose.budget import Kind, Limit, limits
from strongroom.purpose.cedar import Decider, Decision
from strongroom.purpose.freeze import Freezes
from strongroom.purpose.policy import Policy, check_policy, parse_policy
from strongroom.schema.model import Schema, Table
from strongroom.schema.parse import parse_schema
from strongroom.schema.stored import table_from_json, table_to_json
from strongroom.seal.tokens import EntryOpener


class Standing:
    """Schema, policy and index keys in force, read again when the database says they changed."""

    def __init__(self, state: State, ring: KeyRing, entropy: Callable[[int], bytes]) -> None:
        self._state = state
        self._ring = ring
        self._entropy = entropy
        self._lock = threading.Lock()
        self.number = -1
        self.schema = Schema({}, {}, 0)
        self.policy_number = 0
        self._policy: Policy | None = None
        self._decider: Decider | None = None
        self._tables: dict[tuple[bytes, int], Table] = {}
        self._by_date: dict[tuple[bytes, int], bool] = {}
        self._fields: dict[bytes, FieldKeys] = {}
        self._openers: dict[bytes, EntryOpener] = {}
        self._uses: dict[bytes, list[tuple[int, int]]] = {}
        self._outer: dict[tuple[bytes, int], TokenKeys] = {}
        self._limits: dict[tuple[str, str, Kind], tuple[Limit, ...]] = {}

    def forget(self) -> None:
        """Drop index keys."""
        self._fields.clear()
        self._openers.clear()
        self._outer.clear()

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        if self._policy is None:
            raise IntegrityError("the keymaster has no policy")
        return self._policy

    @property
    def decider(self) -> Decider:
        """Decides under schema and policy in force."""
        if self._decider is None:
            raise IntegrityError("the keymaster has no policy")
        return self._decider

    def refresh(self, rows: Rows | None = None) -> int:
        """Read schema and policy if they changed; returns the number of the change in force.

        Args:
            rows: A transaction, which sees every change. Without one this is a first look (`State.recent_counter`).
        """
        number = self._state.recent_counter("standing") if rows is None else counter(rows, "standing")
        if number == self.number:
            return number
        source = rows or self._state.read()  # whoever writes may hold up a thread's first read, and waits below
        with self._lock:  # one after the other: what somebody read before another change is not put in its place
            number = counter(source, "standing")
            if number == self.number:
                return number
            row = source.execute("SELECT stored FROM schema_version ORDER BY number DESC LIMIT 1").fetchone()
            schema = Schema.from_json(row[0])
            sql = "SELECT number, stored FROM policy_version ORDER BY number DESC LIMIT 1"
            policy_number, stored = source.execute(sql).fetchone()
            freezes = Freezes.of(source.execute("SELECT kind, name FROM frozen").fetchall())
            self._use(schema, policy_number, Policy.from_json(stored), freezes)
            self._uses = outer_key_uses(source)
            self.number = number
        return number

    def _use(self, schema: Schema, policy_number: int, policy: Policy, freezes: Freezes) -> None:
        self.schema, self.policy_number, self._policy = schema, policy_number, policy
        self._decider = Decider(policy, schema, freezes=freezes)
        self._limits = {}

    def limits(self, actor: str, purpose: str, kind: Kind) -> tuple[Limit, ...]:
        """What the policy in force counts an actor against under a purpose; see `budget.limits`."""
        kept = self._limits
        found = kept.get((actor, purpose, kind))
        if found is None:
            found = kept[actor, purpose, kind] = limits(self.policy, actor, purpose, kind)
        return found

    def require(self, decision: Decision) -> Decision:
        """Pass an allowed decision on; DeniedError when it was refused."""
        if not decision.allowed:
            raise DeniedError(decision.reason, rule=decision.rule)
        return decision

    def require_one_of(self, actor: str, acts: Sequence[str]) -> None:
        """Raise DeniedError unless the policy lets an actor do one of some acts somewhere."""
        self.refresh()
        roles = self.policy.actors[actor].roles if actor in self.policy.actors else ()
        may = {act for role in roles for act in self.policy.roles[role].may}
        stopped = self.decider.stopped(actor)
        if stopped is not None:
            raise DeniedError(stopped.reason, rule=stopped.rule)
        if not may & set(acts):
            raise DeniedError(f"the actor may do none of {', '.join(acts)}", rule="room.may")

    def table_version(self, table_id: bytes, version: int) -> Table:
        """A table at a version; NotFoundError if there was none."""
        known = self._tables.get((table_id, version))
        if known is None:
            sql = "SELECT stored FROM table_version WHERE id = ? AND version = ?"
            row = self._state.read().execute(sql, (table_id, version)).fetchone()
            if row is None:
                raise NotFoundError(f"no version {version} of that table")
            known = self._tables[table_id, version] = table_from_json(row[0])
        return known

    def ever_kept_by_date(self, table: Table) -> bool:
        """Whether the retention of a table goes, or ever went, by a date in its records."""
        known = self._by_date.get((table.id, table.version))
        if known is None:
            every = [table, *(self.table_version(table.id, version) for version in range(1, table.version))]
            known = any(one.retention is not None and one.retention.by is not None for one in every)
            self._by_date[table.id, table.version] = known
        return known

    # -- changing -------------------------------------------------------------------------------
    def check_text(self, rows: Rows, kind: str, text: str) -> None:
        """Raise what keeping a text as the new policy or schema would raise; nothing changes."""
        if kind == "policy":
            self._policy_of(rows, text)
        else:
            self._schema_of(rows, text)

    def _schema_of(self, rows: Rows, text: str) -> Schema:
        last = rows.execute("SELECT stored FROM schema_version ORDER BY number DESC LIMIT 1").fetchone()
        schema = parse_schema(text, Schema.from_json(last[0]) if last else None, self._entropy)
        row = rows.execute("SELECT stored FROM policy_version ORDER BY number DESC LIMIT 1").fetchone()
        if row is not None:
            check_policy(Policy.from_json(row[0]), schema)
        return schema

    def _policy_of(self, rows: Rows, text: str) -> Policy:
        stored = rows.execute("SELECT stored FROM schema_version ORDER BY number DESC LIMIT 1").fetchone()[0]
        schema = Schema.from_json(stored)
        policy = parse_policy(text, schema)
        rule_of(policy.witnesses)
        Decider(policy, schema).validate()
        return policy

    def set_schema(self, rows: Rows, text: str) -> Schema:
        """Keep a new schema version within a transaction, with keys for new indexes and tokens."""
        schema = self._schema_of(rows, text)
        rows.execute("INSERT INTO schema_version VALUES (?, ?, ?)", (schema.number, text, schema.to_json()))
        for table in schema.tables.values():
            sql = "INSERT INTO table_version VALUES (?, ?, ?) ON CONFLICT (id, version) DO NOTHING"
            rows.execute(sql, (table.id, table.version, table_to_json(table)))
        self.new_fields(rows, schema)
        take(rows, "standing")
        return schema

    def new_fields(self, rows: Rows, schema: Schema) -> None:
        """Make keys for fields that are indexed or shown as tokens and have none, within a transaction."""
        for table in schema.tables.values():
            for field in table.fields:
                if field.find or field.token:
                    self._new_field(rows, field.id)

    def set_policy(self, rows: Rows, text: str) -> tuple[int, Policy]:
        """Keep a new policy version within a transaction; returns its number."""
        policy = self._policy_of(rows, text)
        last = rows.execute("SELECT max(number) FROM policy_version").fetchone()[0]
        number = (last or 0) + 1
        rows.execute("INSERT INTO policy_version VALUES (?, ?, ?)", (number, text, policy.to_json()))
        take(rows, "standing")
        return number, policy

    # -- index keys -----------------------------------------------------------------------------
    def _new_field(self, rows: Rows, field_id: bytes) -> None:
        found = rows.execute("SELECT 1 FROM wrapped_key WHERE purpose = 'field' AND id = ?", (field_id,)).fetchone()
        if found is None:
            wrapped = self._ring.wrap("field", field_id, self._entropy(FIELD_KEY_BYTES))
            rows.execute("INSERT INTO wrapped_key VALUES ('field', ?, ?)", (field_id, wrapped))

    def field(self, field_id: bytes) -> FieldKeys:
        """The keys of a field that is indexed or shown as a token."""
        keys = self._fields.get(field_id)
        if keys is None:
            sql = "SELECT wrapped FROM wrapped_key WHERE purpose = 'field' AND id = ?"
            row = self._state.read().execute(sql, (field_id,)).fetchone()
            if row is None:
                raise NotFoundError("the field has no index")
            keys = self._fields[field_id] = field_keys(self._ring.unwrap("field", field_id, row[0]))
        return keys

    def value_keys(self, field_id: bytes, snapshot: int) -> TokenKeys:
        """The keys that value tokens of a field were made with in a snapshot; see `outerkeys`."""
        version = outer_version(self._uses.get(field_id, []), snapshot)
        keys = self._outer.get((field_id, version))
        if keys is None:
            base = self.field(field_id).tokens
            outer = open_outer_key(self._state.read(), self._ring, field_id, version, base.outer)
            keys = self._outer[field_id, version] = TokenKeys(base.inner, outer)
        return keys

    def opener(self, field_id: bytes) -> EntryOpener:
        """Opens index entries of a field."""
        opener = self._openers.get(field_id)
        if opener is None:
            opener = self._openers[field_id] = EntryOpener(self.field(field_id).siv, field_id)
        return opener
