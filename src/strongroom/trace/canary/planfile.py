"""Reads `canaries.toml`: what a room says about its canaries, with the lists of identifiers in files beside it.

```toml
unit = 4                                   # persons that belong together
sensitive_tables = ["cases"]               # only where canaries may stand in them

[sources.persons]                          # table, then field
mobile = { own = "our-numbers.txt" }       # one a line, beside this file
resident_id = "complete"                   # or "void", "null"

[sources.cases]
case_no = { own = "held-back.txt" }        # numbers of the room that no index can be asked about

[avoid.reports]
role = ["suspect"]

[kinds.patients]
nhs_no = "outside number"

[texts.visits]
letter = "letters.txt"
```

Every word must be known: keys, tables, fields, kinds. Messages name places and files, never a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from strongroom.errors import PolicyError, UsageError
from strongroom.purpose.toml import Node, load, nearest
from strongroom.trace.canary.policy import COMPLETE, KINDS, NULL, OWN, UNIT_MAX, VOID, CanaryPolicy, Source

if TYPE_CHECKING:
    from strongroom.schema.model import Schema

Lines = Callable[[str], Sequence[str]]
"""The lines of a file that is named in the text."""

UNIT_DEFAULT = CanaryPolicy().unit
_WORDS = (COMPLETE, VOID, NULL)


def parse_canaries(text: str, schema: Schema, lines: Lines) -> CanaryPolicy:
    """Read the text of a `canaries.toml`.

    Args:
        text: TOML.
        schema: The room's: tables and fields must be in it.
        lines: Gives the lines of a file by its name in the text.

    Raises:
        PolicyError: With the place as a TOML path, and a hint.
        UsageError: A file that is named cannot be read.
    """
    root = load(text)
    root.only("unit", "sensitive_tables", "sources", "kinds", "avoid", "texts")
    unit = root.count("unit", 1) or UNIT_DEFAULT
    if unit > UNIT_MAX:
        raise PolicyError(f"unit is over {UNIT_MAX} persons")
    tables = root.words("sensitive_tables", tuple(schema.tables))
    for name in tables:
        if schema.tables[name].klass != "sensitive":
            raise PolicyError(f"sensitive_tables names {name}, which is not sensitive", hint="leave it out")
    return CanaryPolicy(
        sources={f"{n.table}.{n.field}": _source(n, lines) for n in _fields(root.table("sources"), schema)},
        kinds={f"{n.table}.{n.field}": _kind(n) for n in _fields(root.table("kinds"), schema)},
        sensitive_tables=tables,
        avoid={f"{n.table}.{n.field}": _listed(n) for n in _fields(root.table("avoid"), schema)},
        unit=unit,
        texts={f"{n.table}.{n.field}": _column(_texts(n, lines)) for n in _fields(root.table("texts"), schema)},
    )


class _Place:
    """One field's word: its table, its name, and the node that it stands in."""

    def __init__(self, node: Node, table: str, field: str) -> None:
        self.node, self.table, self.field = node, table, field

    def __str__(self) -> str:
        return self.node.place(self.field)


def _fields(node: Node, schema: Schema) -> Iterator[_Place]:
    for table in node.names():
        if table not in schema.tables:
            raise PolicyError(f"{node.place(table)} names no table", hint=nearest(table, tuple(schema.tables)))
        inner = node.table(table)
        known = [f.name for f in schema.tables[table].fields]
        for field in inner.names():
            if field not in known:
                raise PolicyError(f"{inner.place(field)} names no field of table {table}", hint=nearest(field, known))
            yield _Place(inner, table, field)


def _source(place: _Place, lines: Lines) -> Source:
    try:
        word = place.node.text(place.field)
    except PolicyError:
        own = place.node.table(place.field)
        own.only(OWN)
        name = own.text(OWN)
        if name is None:
            raise PolicyError(f"{place} names no file", hint='{ own = "our-numbers.txt" }') from None
        return Source(OWN, _column(lines(name)))
    if word not in _WORDS:
        raise PolicyError(
            f"{place} is no source of identifiers", hint=f'one of {", ".join(_WORDS)}, or {{ own = "FILE" }}'
        )
    return Source(str(word))


def _kind(place: _Place) -> str:
    word = place.node.text(place.field)
    if word not in KINDS:
        raise PolicyError(f"{place} is no kind of field", hint=f"one of {', '.join(KINDS)}")
    return str(word)


def _listed(place: _Place) -> tuple[object, ...]:
    try:
        found = place.node.words(place.field)
    except PolicyError:
        raise PolicyError(f"{place} must be a list of texts, each once") from None
    if not found:
        raise PolicyError(f"{place} lists nothing", hint="leave it out")
    return found


def _texts(place: _Place, lines: Lines) -> Sequence[str]:
    name = place.node.text(place.field)
    if name is None:
        raise PolicyError(f"{place} names no file")
    return lines(name)


def _column(values: Sequence[str]) -> object:
    import pyarrow as pa

    found = pa.array(values, pa.string()).unique()
    if not len(found):
        raise UsageError("a list of identifiers or texts has no line")
    return found
