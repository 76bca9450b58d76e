"""What a policy says, as frozen values: purposes, roles, actors and budgets.

Rules:

1. What is not named is withheld: a field shows only where a purpose names it or its class.
2. A field's own word beats the word for its class.
3. Nothing here depends on a schema; `TableRule.views` applies the words to one table of a schema.

Reading the TOML text is left to `policy`, deciding to `cedar`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import field as has
from typing import TYPE_CHECKING, Any

import msgspec

from strongroom.errors import IntegrityError
from strongroom.purpose.sealed import STEP_DEFAULT, SealedRule

if TYPE_CHECKING:
    from strongroom.schema.model import Schema, Table

SHOWS = ("plain", "masked", "token", "withheld")
TWO_PERSONS = ("plant", "trace", "ask-canary")
"""Verbs that always need another person's agreement."""
READ_VERBS = ("get", "find", "sql", "export", "tokenize", "detokenize", "rejects", "log", *TWO_PERSONS)
ACTS = (
    "put", "compact", "check", "log", "rejects", "schema", "policy", "copy", "restore", "slots", "turn", "rotate",
    "erase", "hold", "actors", "freeze", "disclose",
)  # fmt: skip
DELAY_DAYS_MAX = 3650
WINDOWS = ("hour", "day", "month")
LOOKUPS_PER_PERSON = 10
MIN_GROUP_DEFAULT = 10
DEFAULT_MASKS: Mapping[str, str] = {"string": "all", "date": "year", "timestamp": "year"}
"""The mask of a field that the schema gives none, by type; other types cannot be masked."""


class FieldView(msgspec.Struct, frozen=True):
    """How one field shows under a purpose: plain, masked, token or withheld.

    `mask` is the schema's mask of the field, or the default of its type, where `show` is masked; else None.
    """

    name: str
    klass: str
    show: str
    mask: str | None


@dataclass(frozen=True)
class Budget:
    """The most in any hour, any day, any 30 days; None where a window has no limit of its own."""

    hour: int | None = None
    day: int | None = None
    month: int | None = None

    def window(self, name: str) -> int | None:
        """The limit of one window: hour, day or month."""
        limit: int | None = getattr(self, name)
        return limit

    def times(self, factor: int) -> Budget:
        """The same windows, each limit multiplied."""
        return Budget(*(None if limit is None else limit * factor for limit in (self.hour, self.day, self.month)))

    def widest(self, other: Budget) -> Budget:
        """Per window the larger limit; no limit where either has none."""
        pairs = ((self.window(name), other.window(name)) for name in WINDOWS)
        return Budget(*(None if a is None or b is None else max(a, b) for a, b in pairs))


@dataclass(frozen=True)
class PutRule:
    """Tables a role may put into, and how many records."""

    tables: tuple[str, ...]
    budget: Budget


@dataclass(frozen=True)
class Role:
    """Acts a role may do without a purpose."""

    name: str
    may: tuple[str, ...] = ()
    put: PutRule | None = None


@dataclass(frozen=True)
class Actor:
    """Somebody who may ask, and their roles."""

    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class SqlRule:
    """What SQL may return: aggregates over groups of at least `min_group` persons, and rows or not.

    Of questions over sealed fields counts are multiples of `step`, sums of what so many persons can add.
    """

    min_group: int = MIN_GROUP_DEFAULT
    rows: bool = False
    step: int = STEP_DEFAULT


@dataclass(frozen=True)
class TableRule:
    """How the fields of one table show: class names and field names to plain, masked, token or withheld."""

    shows: Mapping[str, str]

    def views(self, table: Table) -> dict[str, FieldView]:
        """How each field of a table shows; a word that is a field's name is about the field, not a class."""
        own = {field.name for field in table.fields}
        by_class = {word: show for word, show in self.shows.items() if word not in own}
        result = {}
        for field in table.fields:
            show = self.shows.get(field.name) or by_class.get(field.klass) or "withheld"
            mask = (field.mask or DEFAULT_MASKS.get(field.type)) if show == "masked" else None
            result[field.name] = FieldView(field.name, field.klass, show, mask)
        return result


@dataclass(frozen=True)
class Approval:
    """When a read needs another person's agreement.

    Args:
        roles: Who may agree.
        always: Every read.
        over: More than so many distinct persons in an hour; None for no such limit.
        classes: A read that is shown one of these classes.
        hours: How long an agreement lasts.
    """

    roles: tuple[str, ...]
    always: bool = False
    over: int | None = None
    classes: tuple[str, ...] = ()
    hours: int = 24


@dataclass(frozen=True)
class CanaryRule:
    """What canary persons must withstand: so many recipients together, a sample of so many rows published."""

    colluders: int
    sample: int


@dataclass(frozen=True)
class ExportRule:
    """To whom a purpose exports, and how much.

    Args:
        recipients: Names of those who may receive.
        budget: Distinct persons per actor, apart from those read one by one.
        canaries: What canary persons in the file must withstand; None where there are none.
        decides: Whether decisions about single people are taken on the copy: it has no canary persons then.
        statutory: The law that demands all of a sensitive table; None where such a table goes by named subjects only.
    """

    recipients: tuple[str, ...]
    budget: Budget
    canaries: CanaryRule | None = None
    decides: bool = False
    statutory: str | None = None


@dataclass(frozen=True)
class Purpose:
    """Why a reading may happen: legal basis, who, which verbs and fields, how much.

    Args:
        name: The word a caller gives.
        legal_basis: Stated in every log entry's policy.
        roles: Who may use it.
        deny: Actors who may not, whatever their roles.
        verbs: Of `READ_VERBS`.
        tables: Table name to how its fields show.
        budget: Distinct persons per actor.
        total: Distinct persons of all actors together.
        lookups: Values looked up per actor, hits and misses alike.
        sql: What SQL may return, where `verbs` has sql.
        may_know_erased: Whether a reader learns that a person was erased.
        sensitive: Why fields or tables of a sensitive class are shown; None where none are.
        approval: When another person must agree; None for never.
        break_glass: Roles that may read without that agreement, and are reviewed for it.
        delay_days: For how many days the persons who were read are not told.
        sealed: Table name to what of its sealed fields SQL may add up.
        export: To whom it exports, where `verbs` has export.
    """

    name: str
    legal_basis: str
    roles: tuple[str, ...]
    deny: tuple[str, ...]
    verbs: tuple[str, ...]
    tables: Mapping[str, TableRule]
    budget: Budget
    total: Budget
    lookups: Budget
    sql: SqlRule | None
    may_know_erased: bool
    sensitive: str | None
    approval: Approval | None = None
    break_glass: tuple[str, ...] = ()
    delay_days: int = 0
    sealed: Mapping[str, SealedRule] = has(default_factory=dict)
    export: ExportRule | None = None

    def views(self, schema: Schema) -> dict[str, dict[str, FieldView]]:
        """Per table this purpose names and the schema still has: how each field shows."""
        return {name: rule.views(schema.tables[name]) for name, rule in self.tables.items() if name in schema.tables}


@dataclass(frozen=True)
class Witness:
    """Who cosigns checkpoints of the log: a public key as one line, and where it is asked."""

    key: str
    url: str


@dataclass(frozen=True)
class WitnessRule:
    """How many of which witnesses must cosign a checkpoint before it counts."""

    quorum: int
    witnesses: tuple[Witness, ...]


@dataclass(frozen=True)
class Policy:
    """One version of a room's policy; `exports` is what all exports together may have, apart from `room`."""

    room: Budget
    roles: Mapping[str, Role]
    actors: Mapping[str, Actor]
    purposes: Mapping[str, Purpose]
    witnesses: WitnessRule | None = None
    exports: Budget | None = None

    def role_under(self, actor: str, purpose: str) -> str | None:
        """The role under which an actor uses a purpose: the first that it names and they have."""
        roles = self.actors[actor].roles if actor in self.actors else ()
        return next((role for role in self.purposes[purpose].roles if role in roles), None)

    def role_for(self, actor: str, act: str) -> str | None:
        """The role under which an actor does an act that needs no purpose: the first of theirs that may."""
        roles = self.actors[actor].roles if actor in self.actors else ()
        return next((role for role in roles if act in self.roles[role].may), None)

    def to_json(self) -> str:
        """Canonical JSON; `from_json` gives an equal policy back."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Policy:
        """Read what `to_json` wrote.

        Raises:
            IntegrityError: The text is not a stored policy.
        """
        try:
            value = json.loads(text)
            return Policy(
                room=Budget(**value["room"]),
                roles={name: _role(role) for name, role in value["roles"].items()},
                actors={name: Actor(actor["name"], tuple(actor["roles"])) for name, actor in value["actors"].items()},
                purposes={name: _purpose(purpose) for name, purpose in value["purposes"].items()},
                witnesses=_witnesses(value.get("witnesses")),
                exports=None if value.get("exports") is None else Budget(**value["exports"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise IntegrityError("the stored policy is not what was written") from None


def _role(value: dict[str, Any]) -> Role:
    put = value["put"]
    rule = None if put is None else PutRule(tuple(put["tables"]), Budget(**put["budget"]))
    return Role(value["name"], tuple(value["may"]), rule)


def _purpose(value: dict[str, Any]) -> Purpose:
    sql = value["sql"]
    return Purpose(
        name=value["name"],
        legal_basis=value["legal_basis"],
        roles=tuple(value["roles"]),
        deny=tuple(value["deny"]),
        verbs=tuple(value["verbs"]),
        tables={name: TableRule(dict(rule["shows"])) for name, rule in value["tables"].items()},
        budget=Budget(**value["budget"]),
        total=Budget(**value["total"]),
        lookups=Budget(**value["lookups"]),
        sql=None if sql is None else SqlRule(**sql),
        may_know_erased=value["may_know_erased"],
        sensitive=value["sensitive"],
        approval=_approval(value.get("approval")),
        break_glass=tuple(value.get("break_glass", ())),
        delay_days=value.get("delay_days", 0),
        sealed={name: _sealed(rule) for name, rule in value.get("sealed", {}).items()},
        export=_export(value.get("export")),
    )


def _export(value: dict[str, Any] | None) -> ExportRule | None:
    if value is None:
        return None
    canaries = None if value["canaries"] is None else CanaryRule(**value["canaries"])
    recipients, budget = tuple(value["recipients"]), Budget(**value["budget"])
    return ExportRule(recipients, budget, canaries, value["decides"], value["statutory"])


def _sealed(value: dict[str, Any]) -> SealedRule:
    cuts = {name: tuple(points) for name, points in value["cuts"].items()}
    sums = {name: (low, high) for name, (low, high) in value["sums"].items()}
    return SealedRule(tuple(value["dimensions"]), cuts, sums)


def _approval(value: dict[str, Any] | None) -> Approval | None:
    if value is None:
        return None
    classes = tuple(value["classes"])
    return Approval(tuple(value["roles"]), value["always"], value["over"], classes, value["hours"])


def _witnesses(value: dict[str, Any] | None) -> WitnessRule | None:
    if value is None:
        return None
    return WitnessRule(value["quorum"], tuple(Witness(**witness) for witness in value["witnesses"]))
