"""Parses a question into one SELECT and the one table it asks, and refuses every other statement.

Rules kept here:

1. Parsing is bounded: bytes and brackets are counted before the parser runs.
2. The parser's errors quote the question, so none leaves here, not even as the context of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from strongroom.errors import UsageError
from strongroom.read.sqlkinds import not_offered, only
from strongroom.read.sqlplan import TableView

SQL_BYTES_MAX = 16_384
SQL_NESTING_MAX = 60


def parse_select(text: str) -> Any:
    """The one SELECT that a text is, as sqlglot parsed it; UsageError when it is anything else."""
    import sqlglot
    from sqlglot.tokenizer_core import TokenType

    if len(text.encode("utf-8", "replace")) > SQL_BYTES_MAX:
        raise UsageError(f"a question has at most {SQL_BYTES_MAX} bytes")
    dialect = sqlglot.Dialect.get_or_raise("duckdb")
    tokens: list[Any] = []
    statements: list[Any] | None = None
    # The parser raises many kinds and quotes the question: its errors end here, not even as a context.
    with suppress(Exception):
        tokens = list(dialect.tokenize(text))
    _check_tokens(tokens, TokenType)
    with suppress(Exception):
        statements = [s for s in dialect.parser().parse(tokens, "") if s is not None]
    if statements is None:
        raise UsageError("the question cannot be read as sql")
    if len(statements) != 1 or type(statements[0]).__name__ != "Select":
        raise UsageError("sql answers one plain select over one table")
    return statements[0]


def _check_tokens(tokens: list[Any], kinds: Any) -> None:
    while tokens and tokens[-1].token_type == kinds.SEMICOLON:
        tokens.pop()
    if any(t.token_type == kinds.SEMICOLON for t in tokens):
        raise UsageError("sql answers one statement at a time")
    if not tokens or tokens[0].token_type != kinds.SELECT:
        raise UsageError("sql answers a select, nothing else", hint="a question begins with select")
    depth = deepest = 0
    for token in tokens:
        depth += (token.token_type == kinds.L_PAREN) - (token.token_type == kinds.R_PAREN)
        deepest = max(deepest, depth)
    if deepest > SQL_NESTING_MAX:
        raise UsageError("the question is nested too deeply")


def named_table(select: Any, tables: Mapping[str, TableView]) -> tuple[TableView, str]:
    """The view of the one table asked, and the name it goes by in the question."""
    source = select.args.get("from_")
    if source is None:
        raise UsageError("the question names no table", hint="select ... from TABLE")
    only(source, "this")
    table = source.this
    if type(table).__name__ != "Table":
        raise not_offered(table)
    only(table, "this", "alias")
    if type(table.this).__name__ != "Identifier":
        raise not_offered(table.this)
    alias = table.args.get("alias")
    if alias is not None:
        only(alias, "this")
    name = match(str(table.this.this), tables)
    if name is None:
        raise UsageError("no such table for this purpose", hint=f"tables: {', '.join(sorted(tables)) or 'none'}")
    return tables[name], str(alias.this.this) if alias is not None and alias.this is not None else name


def match(name: str, among: Mapping[str, Any]) -> str | None:
    """The name among those given, whatever its case; None when there is none."""
    return name if name in among else next((k for k in among if k.casefold() == name.casefold()), None)
