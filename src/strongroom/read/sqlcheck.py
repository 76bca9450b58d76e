"""Reads one SQL question over a table's columns, refuses what could name a person, and plans the rest.

Rules kept here:

1. One SELECT over one table. Joins, subqueries, unions, common table expressions, window functions and table
   functions are refused by name; comments never reach the engine, for nothing of the caller's text does
   (`sqlexpr`).
2. Only open columns that the purpose shows, in every clause: what may not be seen may not be filtered, sorted or
   grouped by either. A masked column is its masked value everywhere. Of sealed fields what the purpose declares, in
   aggregates (`sqlsealed`).
3. An aggregate is taken of a bare column, so that no condition inside it can single a person out. `min`, `max` and
   their kin give one person's value and are refused.
4. Every group, and the whole answer where there are no groups, has at least `min_group` persons, counted beside the
   answer; HAVING, ORDER BY and LIMIT see only what is left. An aggregate of a field that may be null also needs that
   many persons who have it.
5. Rows of persons need leave, a LIMIT, and a table that is not sensitive; the plan says which rows to charge.

A minimum group does not stop differencing: who asks twice, with and without one person in WHERE, learns that person's
share. That is why each question is noted, and what budgets on questions are for. Running is left to `sql`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strongroom.errors import DeniedError, UsageError
from strongroom.read.sqlexpr import as_condition, compile_expression
from strongroom.read.sqlkinds import MEASURES, Sql, function_name, not_offered, only, single, unique, whole_number
from strongroom.read.sqlparse import match, named_table, parse_select
from strongroom.read.sqlplan import ColumnView, Plan, TableView
from strongroom.read.sqlsealed import measured, no_rows, standing, stepped

__all__ = ["SQL_GROUPS_MAX", "SQL_ROWS_MAX", "ColumnView", "Plan", "TableView", "check_sql"]

SQL_ROWS_MAX = 10_000
SQL_GROUPS_MAX = 100_000
MIN_GROUP_LEAST = 2


def check_sql(text: str, tables: Mapping[str, TableView], min_group: int, rows_allowed: bool) -> Plan:
    """Read, check and plan one question.

    Args:
        text: The question: one SELECT in DuckDB's dialect.
        tables: Tables the purpose names, by name.
        min_group: Fewest distinct persons of a group; at least 2.
        rows_allowed: Whether the purpose may have rows, which are charged as persons.

    Returns:
        What to run.

    Raises:
        UsageError: The question cannot be read, or holds a construct that is not offered, which is named.
        DeniedError: A field or an answer that the purpose may not have; `rule` names the rule.
    """
    if min_group < MIN_GROUP_LEAST:
        raise UsageError(f"the minimum group is at least {MIN_GROUP_LEAST}")
    select = parse_select(text)
    only(select, "expressions", "from_", "where", "group", "having", "order", "limit", "offset", "distinct")
    compiler = _Compiler(select, named_table(select, tables), min_group)
    try:
        return compiler.rows(rows_allowed) if compiler.is_rows() else compiler.aggregate()
    except RecursionError:
        raise UsageError("the question is nested too deeply") from None


class _Compiler:
    """One question on its way to a plan. `columns`, `keys` and `cells` fill up as clauses are read."""

    def __init__(self, select: Any, table: tuple[TableView, str], min_group: int) -> None:
        self.select = select
        self.view, self.known_as = table
        self.min_group = min_group
        self.by_person = self.view.records != "one"
        self.columns: dict[str, ColumnView] = {}
        self.keys: dict[str, Sql] = {}
        self.cells: dict[str, Sql] = {}
        self.guards: dict[str, str] = {}
        self.measures: dict[str, tuple[str, str, ColumnView | None, bool]] = {}
        self.items = [self._item(i) for i in self._expanded()]

    # -- what is asked --------------------------------------------------------------------------
    def _expanded(self) -> list[Any]:
        from sqlglot import exp

        items: list[Any] = []
        for item in self.select.expressions:
            if type(item).__name__ != "Star":
                items.append(item)
                continue
            only(item)
            shown = [c for c in self.view.columns.values() if c.klass == "open" and c.show in ("plain", "masked")]
            items += [exp.column(c.name) for c in shown]
        if not items:
            raise UsageError("the question selects nothing")
        return items

    def _item(self, node: Any) -> tuple[str, Any]:
        if type(node).__name__ == "Alias":
            only(node, "this", "alias")
            return str(node.alias), node.this
        name = str(node.this.this) if type(node).__name__ == "Column" and hasattr(node.this, "this") else ""
        return name or type(node).__name__.lower(), node

    def is_rows(self) -> bool:
        """Whether the answer would be rows of persons."""
        from sqlglot import exp

        args = self.select.args
        if args.get("group") or args.get("having") or args.get("distinct"):
            return False
        order = args.get("order")
        nodes = [node for _, node in self.items] + (list(order.expressions) if order else [])
        return not any(n.find(exp.AggFunc) or any(map(single, n.walk())) for n in nodes)

    def names(self) -> tuple[str, ...]:
        """Names of the answer's columns, made different where they are not."""
        return unique([name for name, _ in self.items])

    # -- leaves ---------------------------------------------------------------------------------
    def column(self, node: Any) -> Sql | None:
        """What a column of the table stands for; refuses those the purpose does not show."""
        kind = type(node).__name__
        if single(node):
            raise DeniedError(
                f"{function_name(node)} gives a single person's value",
                rule="sql gives no single person's value",
                hint="ask for count, sum or avg of a group",
            )
        if kind in MEASURES or kind == "Count":
            raise UsageError("an aggregate stands here where sql cannot have one")
        if kind != "Column":
            return None
        column = self._named(node)
        if column.sealed is not None:
            column = standing(node, column, self._place(column))
        return self._used(column)

    def _named(self, node: Any) -> ColumnView:
        """The column that a name means, if the purpose allows it."""
        only(node, "this", "table")
        if type(node.this).__name__ != "Identifier":
            raise not_offered(node.this)
        qualifier = node.args.get("table")
        if qualifier is not None and str(qualifier.this).casefold() != self.known_as.casefold():
            raise UsageError("a field is named after another table than the one asked")
        name = match(str(node.this.this), self.view.columns)
        if name is None:
            raise UsageError(f"table {self.view.name} has no such field", hint="name a field of the schema")
        column = self.view.columns[name]
        self._allow(column)
        return column

    def _used(self, column: ColumnView) -> Sql:
        """A column as the engine names it; a sealed field may stand as two."""
        key = f"{column.name}\0{column.part}"
        self.columns.setdefault(key, column)
        return Sql(f"c{list(self.columns).index(key)}", column.kind)

    def _place(self, column: ColumnView) -> str:
        return f"{column.name} of {self.view.name}"

    def _allow(self, column: ColumnView) -> None:
        place = self._place(column)
        if column.sealed is not None:
            return
        if column.klass in self.view.sensitive_classes:
            raise DeniedError(
                f"{place} is of class {column.klass}, which is sensitive: sql neither shows nor filters by it",
                rule="sensitive fields are never a filter",
            )
        if column.klass != "open":
            raise DeniedError(
                f"{place} is sealed (class {column.klass}): sql reads open fields only",
                rule="sql reads open fields only",
                hint="get or find opens a record; it is charged and noted",
            )
        if column.show not in ("plain", "masked"):
            raise DeniedError(
                f"{place} is {column.show} under purpose {self.view.purpose}",
                rule=f"purpose {self.view.purpose} does not show {column.name}",
            )
        if column.type == "binary":
            raise UsageError(f"{place} is binary: sql does not read it")

    def cell(self, node: Any) -> Sql | None:
        """What stands for a node after grouping: a key or an aggregate."""
        kind = type(node).__name__
        if not (kind in MEASURES or kind == "Count"):
            if kind in ("Literal", "Null", "Boolean"):
                return None
            text = self._key_text(node)
            if text is not None:
                return Sql(f"k{list(self.keys).index(text)}", self.keys[text].kind)
            if kind == "Column":
                self.column(node)
                raise UsageError(
                    "a field stands neither in group by nor in an aggregate",
                    hint="every field outside an aggregate belongs into group by",
                )
            return self.column(node) if single(node) else None
        text, guard, result = self._aggregate(node)
        self.cells.setdefault(text, result)
        if guard is not None:
            self.guards.setdefault(text, guard)
        return Sql(f"a{list(self.cells).index(text)}", result.kind)

    def _key_text(self, node: Any) -> str | None:
        from sqlglot import exp

        if node.find(exp.AggFunc) is not None:
            return None
        before = dict(self.columns)
        try:
            text = compile_expression(node, self.column).text
        except UsageError:
            self.columns = before
            return None
        if text not in self.keys:
            self.columns = before
            return None
        return text

    def _aggregate(self, node: Any) -> tuple[str, str | None, Sql]:
        """Text of an aggregate, text of the count of persons who have its field, and its type."""
        only(node, "this")
        kind, argument = type(node).__name__, node.this
        distinct = type(argument).__name__ == "Distinct"
        if distinct:
            only(argument, "expressions")
            if len(argument.expressions) != 1 or kind != "Count":
                raise UsageError("distinct goes with count of one field")
            argument = argument.expressions[0]
        if kind == "Count" and type(argument).__name__ == "Star" and not distinct:
            only(argument)
            self.measures["count(*)"] = (kind, "*", None, False)
            return "count(*)", None, Sql("", "int")
        if type(argument).__name__ != "Column":
            raise DeniedError(
                f"{function_name(node)} takes a field, nothing computed",
                rule="sql aggregates take bare fields",
                hint="put the condition into where, or the computed value into group by",
            )
        column = self._named(argument)
        if column.sealed is not None:
            column = measured(kind, column, self._place(column), distinct=distinct)
        value = self._used(column)
        text, result = self._taken(kind, value, distinct=distinct)
        self.measures[text] = (kind, value.text, column, distinct)
        guard = f"count({value.text})"
        if self.by_person:
            guard = f"count(distinct case when {value.text} is not null then _who end)"
        return text, guard if column.nullable else None, result

    def _taken(self, kind: str, value: Sql, *, distinct: bool) -> tuple[str, Sql]:
        """Text and type of an aggregate of a column."""
        if kind == "Count":
            return f"count({'distinct ' if distinct else ''}{value.text})", Sql("", "int")
        if value.kind not in ("int", "float"):
            raise UsageError(f"{kind.lower()} needs a field of numbers")
        engine_type, kind_out = ("bigint", "int") if kind == "Sum" and value.kind == "int" else ("double", "float")
        return f"try_cast({MEASURES[kind]}({value.text}) as {engine_type})", Sql("", kind_out)

    # -- plans ----------------------------------------------------------------------------------
    def _where(self) -> str:
        where = self.select.args.get("where")
        if where is None:
            return ""
        only(where, "this")
        return f" where {as_condition(where.this, self.column)}"

    def _limit(self, required: bool) -> str:
        limit, offset = self.select.args.get("limit"), self.select.args.get("offset")
        if required and limit is None:
            raise UsageError("rows need a limit", hint=f"limit 1 to {SQL_ROWS_MAX}")
        text = ""
        if limit is not None:
            only(limit, "expression")
            most = SQL_ROWS_MAX if required else SQL_GROUPS_MAX
            text += f" limit {whole_number(limit.expression, 'limit', 0, most)}"
        if offset is not None:
            only(offset, "expression")
            text += f" offset {whole_number(offset.expression, 'offset', 0, 10**12)}"
        return text

    def _order(self, leaf: Any, selected: list[Sql]) -> str:
        order = self.select.args.get("order")
        if order is None:
            return ""
        only(order, "expressions")
        parts = []
        for item in order.expressions:
            if type(item).__name__ != "Ordered":
                raise not_offered(item)
            only(item, "this", "desc", "nulls_first")
            chosen = self._selected(item.this, alias_first=True)
            text = selected[chosen].text if chosen is not None else compile_expression(item.this, leaf).text
            nulls = "first" if item.args.get("nulls_first") else "last"
            parts.append(f"{text} {'desc' if item.args.get('desc') else 'asc'} nulls {nulls}")
        return f" order by {', '.join(parts)}"

    def _selected(self, node: Any, *, alias_first: bool = False) -> int | None:
        """Which selected item a name or number in GROUP BY or ORDER BY means, if one."""
        if type(node).__name__ == "Literal" and not node.is_string:
            return whole_number(node, "a column number", 1, len(self.items)) - 1
        if type(node).__name__ != "Column" or node.args.get("table") is not None:
            return None
        name = getattr(node.this, "this", None)
        if not isinstance(name, str) or (not alias_first and match(name, self.view.columns) is not None):
            return None
        return next((i for i, (n, _) in enumerate(self.items) if n.casefold() == name.casefold()), None)

    def rows(self, allowed: bool) -> Plan:
        """The plan of a question whose answer is rows of persons."""
        if self.view.sensitive:
            raise DeniedError(
                f"table {self.view.name} is sensitive: no rows start from it",
                rule="nothing starts from a sensitive table",
                hint="ask for groups, with count, sum or avg",
            )
        if not allowed:
            raise DeniedError(
                f"purpose {self.view.purpose} has aggregates only, and these are rows of persons",
                rule=f"purpose {self.view.purpose} allows no sql rows",
                hint="group by something and count",
            )
        selected = [compile_expression(node, self.column) for _, node in self.items]
        tail = self._where() + self._order(self.column, selected) + self._limit(required=True)
        no_rows(list(self.columns.values()))
        items = ", ".join(f"{s.text} as r{i}" for i, s in enumerate(selected))
        return self._plan("rows", f"select {items}, _file, _row from data{tail}", "", grouped=False)  # noqa: S608 - compiled

    def aggregate(self) -> Plan:
        """The plan of a question whose answer is groups."""
        grouped = self._read_keys()
        where = self._where()
        selected = [compile_expression(node, self.cell) for _, node in self.items]
        having = self.select.args.get("having")
        if having is not None:
            only(having, "this")
        kept = "" if having is None else f" where {as_condition(having.this, self.cell)}"
        tail = kept + self._order(self.cell, selected) + self._limit(required=False)
        answer = f"select {', '.join(f'{s.text} as r{i}' for i, s in enumerate(selected))} from groups{tail}"  # noqa: S608 - compiled
        inner = [f"{k.text} as k{i}" for i, k in enumerate(self.keys.values())]
        inner += [f"{self._cell_text(text)} as a{i}" for i, text in enumerate(self.cells)]
        inner += [f"{text} as g{i}" for i, text in enumerate(dict.fromkeys(self.guards.values()))]
        inner.append(f"count({'distinct _who' if self.by_person else '*'}) as n")
        by = f" group by {', '.join(str(i + 1) for i in range(len(self.keys)))}" if self.keys else ""
        scan = f"select {', '.join(inner)} from data{where}{by}"  # noqa: S608 - compiled
        return self._plan("aggregate", scan, answer, grouped=grouped)

    def _cell_text(self, text: str) -> str:
        """An aggregate as the engine takes it: rounded where the question touches a sealed field."""
        if not any(column.part for column in self.columns.values()):
            return text
        kind, name, column, distinct = self.measures[text]
        return stepped(kind, name, column, self.view.step, distinct=distinct)

    def _read_keys(self) -> bool:
        from sqlglot import exp

        group, distinct = self.select.args.get("group"), self.select.args.get("distinct")
        plain = [node for _, node in self.items if node.find(exp.AggFunc) is None]
        if distinct is not None:
            only(distinct)
            if group is not None or len(plain) != len(self.items):
                raise UsageError("distinct in sql goes with fields only", hint="use group by")
            nodes = plain
        elif group is None:
            return False
        elif group.args.get("all"):
            only(group, "all")
            nodes = plain
        else:
            only(group, "expressions")
            nodes = list(group.expressions)
        for node in nodes:
            chosen = self._selected(node)
            node = node if chosen is None else self.items[chosen][1]  # noqa: PLW2901
            found = compile_expression(node, self.column)
            self.keys.setdefault(found.text, found)
        return True

    def _plan(self, kind: str, scan: str, answer: str, *, grouped: bool) -> Plan:
        cells, counts = list(self.cells), list(dict.fromkeys(self.guards.values()))
        return Plan(
            kind=kind,
            tables=(self.view.name,),
            columns=tuple(self.columns.values()),
            scan=scan,
            answer=answer,
            names=self.names(),
            guards=tuple((f"a{cells.index(a)}", f"g{counts.index(g)}") for a, g in self.guards.items()),
            grouped=grouped,
            min_group=self.min_group,
            by_person=self.by_person and kind == "aggregate",
        )
