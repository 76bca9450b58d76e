"""Read `policy.toml` into a policy, and refuse one that says something it may not.

Rules it keeps:

1. A purpose without a legal basis, roles, tables or a budget is refused; so is a room without a budget.
2. Every word must be known: keys, tables, classes, fields, roles, verbs. Nothing is skipped in silence.
3. A field of a sensitive class, or any field of a sensitive table, shows only under a purpose that states
   why.
4. What of sealed fields may be added up is read and checked by `sealed`.
5. What canary persons are planted and asked for under has another person's agreement every time, and no way around it.
6. `masked` needs a type that has masks, `token` a field that the schema gives tokens.

`check_policy` applies the rules about tables and fields again when the schema changes under a policy.
Deciding is left to `cedar`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import PolicyError
from strongroom.purpose.exports import read_budget, read_export
from strongroom.purpose.model import (
    ACTS,
    DEFAULT_MASKS,
    DELAY_DAYS_MAX,
    LOOKUPS_PER_PERSON,
    MIN_GROUP_DEFAULT,
    READ_VERBS,
    SHOWS,
    TWO_PERSONS,
    Actor,
    Approval,
    Budget,
    FieldView,
    Policy,
    Purpose,
    PutRule,
    Role,
    SqlRule,
    TableRule,
)
from strongroom.purpose.observers import parse_witnesses
from strongroom.purpose.sealed import QUESTIONS_DEFAULT, STEP_DEFAULT, check_sealed, read_sealed
from strongroom.purpose.toml import Node, check_name, load, nearest

if TYPE_CHECKING:
    from strongroom.schema.model import Field, Schema, Table

__all__ = [
    "Actor",
    "Budget",
    "FieldView",
    "Policy",
    "Purpose",
    "PutRule",
    "Role",
    "SqlRule",
    "TableRule",
    "check_policy",
    "parse_policy",
]


HOURS_DEFAULT = 24
HOURS_MAX = 7 * 24

def parse_policy(text: str, schema: Schema) -> Policy:
    """Read the text of a `policy.toml` that is meant for a schema.

    Raises:
        PolicyError: With the place as a TOML path, and a hint.
    """
    root = load(text)
    root.only("room", "roles", "actors", "purposes", "witnesses")
    purposes = root.table("purposes")
    role_names = root.table("roles").names()
    names = purposes.names()
    roles = {name: _role(root.table("roles").table(name), name, names) for name in role_names}
    actors = {name: _actor(root.table("actors").table(name), name, roles) for name in root.table("actors").names()}
    room, exports = _room(root.table("room"))
    policy = Policy(
        room=room,
        roles=roles,
        actors=actors,
        purposes={name: _purpose(purposes.table(name), name, roles, actors) for name in names},
        witnesses=parse_witnesses(root.table("witnesses")) if root.has("witnesses") else None,
        exports=exports,
    )
    _check_both_sides(root.table("roles"), policy)
    check_policy(policy, schema)
    return policy


def check_policy(policy: Policy, schema: Schema) -> None:
    """Check that everything a policy says of tables and fields holds under a schema.

    Raises:
        PolicyError: It names a table, class or field the schema lacks, masks a field without a mask, or shows
            something sensitive without saying why.
    """
    for role in policy.roles.values():
        if role.put is not None:
            for name in role.put.tables:
                _known_table(schema, name, f"roles.{role.name}.put.tables")
    for purpose in policy.purposes.values():
        for name, rule in purpose.tables.items():
            place = f"purposes.{purpose.name}.tables"
            _check_table(purpose, rule, _known_table(schema, name, place), schema, f"{place}.{name}")
        for name in purpose.sealed:
            _known_table(schema, name, f"purposes.{purpose.name}.sealed")
        check_sealed(purpose, schema)


def _room(node: Node) -> tuple[Budget, Budget | None]:
    node.only("budget", "exports")
    return read_budget(node, "budget"), read_budget(node, "exports") if node.has("exports") else None


def _role(node: Node, name: str, purposes: tuple[str, ...]) -> Role:
    check_name(name, "a role")
    node.only("purposes", "may", "put")
    node.words("purposes", purposes)
    may = node.words("may", ACTS)
    if ("put" in may) != node.has("put"):
        raise PolicyError(
            f"{node.path} must give put both ways or not at all",
            hint='may = ["put"] and put = { tables = [...], budget = { day = ... } }',
        )
    if not node.has("put"):
        return Role(name, may)
    put = node.table("put")
    put.only("tables", "budget")
    tables = put.words("tables")
    if not tables:
        raise PolicyError(f"{put.path} names no tables")
    return Role(name, may, PutRule(tables, read_budget(put, "budget")))


def _actor(node: Node, name: str, roles: dict[str, Role]) -> Actor:
    check_name(name, "an actor")
    node.only("roles")
    granted = node.words("roles", roles)
    if not granted:
        raise PolicyError(f"{node.path} has no roles")
    return Actor(name, granted)


def _purpose(node: Node, name: str, roles: dict[str, Role], actors: dict[str, Actor]) -> Purpose:
    check_name(name, "a purpose")
    node.only(
        "legal_basis", "roles", "deny", "verbs", "tables", "budget", "total", "lookups", "sql",
        "may_know_erased", "sensitive", "approval", "break_glass", "delay_days", "sealed", "export",
    )  # fmt: skip
    basis = node.text("legal_basis")
    if basis is None:
        raise PolicyError(f"{node.path} has no legal_basis", hint='legal_basis = "contract, GDPR 6(1)(b)"')
    granted = node.words("roles", roles)
    if not granted:
        raise PolicyError(f"{node.path} has no roles", hint="say who may use it")
    sql = _sql(node.table("sql")) if node.has("sql") else None
    verbs = _verbs(node, sql)
    export = read_export(node, verbs)
    _check_two(node, verbs)
    alone = export is not None and verbs == ("export",) and not node.has("budget")
    budget = export.budget if export is not None and alone else read_budget(node, "budget")
    return Purpose(
        name=name,
        legal_basis=basis,
        roles=granted,
        deny=node.words("deny", actors),
        verbs=verbs,
        tables=_tables(node.table("tables")),
        budget=budget,
        total=read_budget(node, "total") if node.has("total") else Budget(),
        lookups=_lookups(node, budget),
        sql=sql or (SqlRule() if "sql" in verbs else None),
        may_know_erased=node.flag("may_know_erased"),
        sensitive=node.text("sensitive"),
        approval=_approval(node.table("approval"), roles) if node.has("approval") else None,
        break_glass=_break_glass(node, roles),
        delay_days=_delay(node),
        sealed=read_sealed(node.table("sealed")),
        export=export,
    )


def _delay(node: Node) -> int:
    days = node.count("delay_days") or 0
    if days > DELAY_DAYS_MAX:
        raise PolicyError(
            f"{node.place('delay_days')} is over {DELAY_DAYS_MAX}", hint="whoever was read is told within ten years"
        )
    return days


def _lookups(node: Node, budget: Budget) -> Budget:
    """As stated, or ten times the persons; a question over sealed fields is one too, and is asked about all persons."""
    if node.has("lookups"):
        return read_budget(node, "lookups")
    return Budget(day=QUESTIONS_DEFAULT) if node.has("sealed") else budget.times(LOOKUPS_PER_PERSON)


def _approval(node: Node, roles: dict[str, Role]) -> Approval:
    node.only("roles", "always", "over", "classes", "hours")
    granted = node.words("roles", roles)
    if not granted:
        raise PolicyError(f"{node.path} has no roles", hint="say who may agree")
    found = Approval(
        granted, node.flag("always"), node.count("over"), node.words("classes"), node.count("hours", 1) or HOURS_DEFAULT
    )
    if not found.always and found.over is None and not found.classes:
        raise PolicyError(f"{node.path} never asks anybody", hint="always = true, over = 20, or classes = [...]")
    if found.hours > HOURS_MAX:
        raise PolicyError(f"{node.place('hours')} is over {HOURS_MAX}", hint="an agreement lasts a week at most")
    return found


def _break_glass(node: Node, roles: dict[str, Role]) -> tuple[str, ...]:
    granted = node.words("break_glass", roles)
    if granted and not node.has("approval"):
        raise PolicyError(
            f"{node.place('break_glass')} lifts nothing: the purpose needs no approval",
            hint="give it approval = { … }, whose roles review what was read",
        )
    return granted


def _verbs(node: Node, sql: SqlRule | None) -> tuple[str, ...]:
    if not node.has("verbs"):
        return ("get", "find") if sql is None else ("get", "find", "sql")
    verbs = node.words("verbs", READ_VERBS)
    if not verbs:
        raise PolicyError(f"{node.place('verbs')} is empty", hint=f"any of {', '.join(READ_VERBS)}")
    if sql is not None and "sql" not in verbs:
        raise PolicyError(f"{node.path} has settings for sql, but its verbs leave sql out")
    return verbs


def _check_two(node: Node, verbs: tuple[str, ...]) -> None:
    """What only two people do together is agreed to every time, and no glass is broken for it."""
    both = [verb for verb in verbs if verb in TWO_PERSONS]
    if not both:
        return
    if not node.has("approval") or not node.table("approval").flag("always"):
        raise PolicyError(
            f"{node.path} may {' and '.join(both)}, which needs another person's agreement every time",
            hint="approval = { roles = [...], always = true }",
        )
    if node.has("break_glass"):
        raise PolicyError(f"{node.path} may {' and '.join(both)}: no role does that alone", hint="take break_glass out")


def _sql(node: Node) -> SqlRule:
    node.only("min_group", "rows", "step")
    least = node.count("min_group", 2)
    return SqlRule(
        MIN_GROUP_DEFAULT if least is None else least, node.flag("rows"), node.count("step", 1) or STEP_DEFAULT
    )


def _tables(node: Node) -> dict[str, TableRule]:
    if not node.names():
        raise PolicyError(f"{node.path} names no table", hint='tables.persons = { name = "plain" }')
    rules = {}
    for name in node.names():
        words = node.table(name)
        shows = {}
        for word in words.names():
            show = words.text(word)
            if show not in SHOWS:
                raise PolicyError(f"{words.place(word)} must be one of {', '.join(SHOWS)}")
            shows[word] = show
        rules[name] = TableRule(shows)
    return rules


def _check_both_sides(node: Node, policy: Policy) -> None:
    """A role that lists its purposes must list just those that list the role."""
    for role in policy.roles:
        if not node.table(role).has("purposes"):
            continue
        listed = set(node.table(role).words("purposes"))
        granted = {name for name, purpose in policy.purposes.items() if role in purpose.roles}
        for name in sorted(listed ^ granted):
            has, lacks = (f"roles.{role}.purposes", f"purposes.{name}.roles")
            if name in granted:
                has, lacks = lacks, has
            raise PolicyError(
                f"{has} and {lacks} disagree about role {role} and purpose {name}",
                hint=f"add it to {lacks}, or take it out of {has}",
            )


def _known_table(schema: Schema, name: str, place: str) -> Table:
    table = schema.tables.get(name)
    if table is None:
        raise PolicyError(f"{place} names an unknown table {name!r}", hint=nearest(name, tuple(schema.tables)))
    return table


def _check_table(purpose: Purpose, rule: TableRule, table: Table, schema: Schema, place: str) -> None:
    fields = {field.name for field in table.fields}
    classes = {field.klass for field in table.fields}
    for word in rule.shows:
        if word not in fields | classes:
            hint = nearest(word, sorted(fields | classes))
            raise PolicyError(f"{place} names {word!r}, which is no field or class of table {table.name}", hint=hint)
    shown = [view for view in rule.views(table).values() if view.show != "withheld"]
    if table.klass == "sensitive" and purpose.sensitive is None:
        raise PolicyError(
            f"{place} opens a sensitive table, and the purpose does not say why",
            hint=f'purposes.{purpose.name}.sensitive = "why this purpose must"',
        )
    for view in shown:
        info = schema.classes.get(view.klass)
        if info is not None and info.sensitive and purpose.sensitive is None:
            raise PolicyError(
                f"{place} shows field {view.name} of sensitive class {view.klass}, and the purpose does not say why",
                hint=f'withhold it, or state purposes.{purpose.name}.sensitive = "why this purpose must"',
            )
        _check_show(table.field(view.name), view.show, place)


def _check_show(field: Field, show: str, place: str) -> None:
    name, withhold = field.name, f'say {field.name} = "withheld"'
    if show == "masked" and field.mask is None and field.type not in DEFAULT_MASKS:
        problem = f"{place} masks field {name}, and no mask is for {field.type}"
        raise PolicyError(problem, hint=withhold)
    if show == "token" and not field.token:
        raise PolicyError(
            f"{place} shows a token of field {name}, which the schema does not allow",
            hint=f"declare token = true for {name} in the schema, or {withhold}",
        )
