"""Proposes the text of a `schema.toml` from samples of tables: types, classes, subject, what to find, how to mask.

Rules it keeps:

1. The text parses as a schema, whatever the sample; every field says in a comment what it was drafted from.
2. When in doubt a field is sealed: text is only `open` where its header says so and its values are few.
3. Nothing sensitive, and nothing with few values, is to be searched.
4. Values do not stand in the text: shares and counts do. Field names are the headers, which the person at the
   terminal knows.

Reading of files is left to the caller, deciding to a person: it is a draft.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from strongroom.errors import InputError
from strongroom.schema.draft_values import Match, kind_of
from strongroom.schema.draft_words import Meaning, meaning_of, sounds_like_subject, sounds_sensitive
from strongroom.schema.quasi import unique_share
from strongroom.schema.vocabulary import sounds_like_few_values

if TYPE_CHECKING:
    import pyarrow as pa

READS_MIN = 0.98
FEW_VALUES_MAX = 64
FEW_SHARE_MAX = 0.05
FIND_DISTINCT_MIN = 0.5
NAME_BYTES_MAX = 64
_CODE_MAX = 40
_WRITTEN_AS_DIGITS = frozenset({"phone", "resident identity number", "passport", "card or account", "name"})


@dataclass(frozen=True)
class _Column:
    """What was found out about one column of a sample."""

    header: str
    name: str
    type: str
    meaning: Meaning | None
    match: Match | None
    rows: int
    filled: int
    distinct: int
    longest: int
    reads: float

    @property
    def klass(self) -> str:
        if "sensitive" in {self.match.kind.klass if self.match else "", self.meaning.klass if self.meaning else ""}:
            return "sensitive"
        if self.match is not None:
            return self.match.kind.klass
        if self.meaning is not None and (self.meaning.klass != "open" or self.type != "string" or self.few):
            return self.meaning.klass
        return "identity" if self.type in {"string", "binary"} or sounds_like_subject(self.header) else "open"

    @property
    def few(self) -> bool:
        return self.distinct <= FEW_VALUES_MAX and self.distinct <= max(2, FEW_SHARE_MAX * self.filled)

    @property
    def distinct_share(self) -> float:
        return self.distinct / self.filled if self.filled else 0.0

    def subject_score(self) -> tuple[float, ...]:
        """Higher is better: possible at all, complete, named like one, recognised, many distinct, short."""
        possible = self.type in {"string", "int"} and self.klass not in {"sensitive", "open"} and self.filled > 0
        return (
            float(possible),
            float(self.filled == self.rows),
            float(sounds_like_subject(self.header) and self.longest <= _CODE_MAX),
            float(self.match is not None and self.match.kind.find),
            float(self.distinct == self.filled),
            self.distinct_share,
            -float(self.longest),
        )


def draft_tables(samples: Mapping[str, pa.Table]) -> str:
    """Propose a schema.

    Args:
        samples: A sample of each table, by the name it shall have.

    Returns:
        The text of `schema.toml`, ending in a line end.

    Raises:
        InputError: There is no table, or one has no columns.
    """
    if not samples:
        raise InputError("there is nothing to draft from", hint="name at least one file.")
    tables: dict[str, list[_Column]] = {}
    sources: dict[str, pa.Table] = {}
    for given, sample in samples.items():
        if not sample.num_columns:
            raise InputError("a sample has no columns")
        name = _identifier(given, "table", tables)
        names: dict[str, str] = {}
        for header in sample.column_names:
            names[header] = _identifier(header, "field", names.values())
        tables[name] = [_column(header, names[header], sample.column(header)) for header in sample.column_names]
        sources[name] = sample
    subjects = _subjects(tables)
    parts = [
        "# A draft from samples: read every line, correct it, then create the room with it.",
        "# Classes: open is not sealed per person; identity, contact and sensitive are.",
    ]
    for name, columns in tables.items():
        parts.append(_table_text(name, columns, subjects[name], sources[name]))
    return "\n".join(parts) + "\n"


def _column(header: str, name: str, values: pa.ChunkedArray) -> _Column:
    import pyarrow.compute as pc

    texts, kind = _texts(values)
    counted = texts.drop_null().value_counts()
    distinct, counts = counted.field("values"), counted.field("counts").to_pylist()
    meaning = meaning_of(header)
    match = (
        kind_of(distinct.to_pylist(), counts, meaning.kind if meaning else None) if kind in {"string", "int"} else None
    )
    reads = 1.0
    if match is not None or (meaning is not None and meaning.kind in _WRITTEN_AS_DIGITS):
        kind = "string"
    elif kind == "string":
        kind, reads = _type_of(distinct, counts, header)
    longest = pc.max(pc.utf8_length(distinct)).as_py() if kind == "string" and len(distinct) else 0
    return _Column(header, name, kind, meaning, match, len(values), sum(counts), len(distinct), longest or 0, reads)


def _texts(values: pa.ChunkedArray) -> tuple[pa.Array, str]:
    """The values as text, empty ones null, and the type that the column has."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = pa.concat_arrays(values.chunks or [pa.array([], values.type)])
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    kind = _arrow_kind(array.type)
    if kind == "binary" or (kind == "string" and not _is_text(array.type)):
        return pa.array([None if v is None else f"v{hash(v)}" for v in map(repr, array.to_pylist())], pa.string()), kind
    text = array.cast(pa.string())
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(text), ""), pa.scalar(None, pa.string()), text), kind


def _arrow_kind(kind: pa.DataType) -> str:
    import pyarrow as pa

    tests = {
        "int": pa.types.is_integer,
        "float": pa.types.is_floating,
        "bool": pa.types.is_boolean,
        "date": pa.types.is_date,
        "timestamp": pa.types.is_timestamp,
    }
    for name, test in tests.items():
        if test(kind):
            return name
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return "binary" if binary else "string"


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(text or pa.types.is_null(kind) or pa.types.is_decimal(kind) or pa.types.is_time(kind))


_CODE = re.compile(r"[+-]?0[0-9]+|\+[0-9]+")


def _type_of(distinct: pa.Array, counts: list[int], header: str) -> tuple[str, float]:
    """The narrowest type that put would read these texts as, and the share of values it would read."""
    from strongroom.schema.reading import read

    total = sum(counts)
    texts = distinct.to_pylist()
    if not total:
        return "string", 1.0
    for kind in ("bool", "date", "int", "float", "timestamp"):
        if kind == "bool" and set(map(str.casefold, map(str.strip, texts))) <= {"0", "1"}:
            continue
        if kind == "date" and all(t.strip().isdigit() for t in texts) and not _dated(header):
            continue
        if kind in {"int", "float"} and (sounds_like_subject(header) or any(_CODE.fullmatch(t.strip()) for t in texts)):
            continue
        if kind == "bool" and not set(map(str.casefold, map(str.strip, texts))) <= {
            "true",
            "false",
            "yes",
            "no",
            "t",
            "f",
            "是",
            "否",
        }:
            continue
        typed, _ = read(distinct, kind)
        reads = sum(n for n, ok in zip(counts, typed.is_valid().to_pylist(), strict=True) if ok) / total
        if reads >= READS_MIN:
            return kind, reads
    return "string", 1.0


def _dated(header: str) -> bool:
    meaning = meaning_of(header)
    return meaning is not None and meaning.kind in {"date of birth", "time or amount"}


def _identifier(given: str, fallback: str, taken: object) -> str:
    """A name that the schema allows, close to the given one and not taken."""
    name = unicodedata.normalize("NFKC", given)
    name = re.sub(r"\W+", "_", name).strip("_")
    name = re.sub(r"^(?=\d)", f"{fallback}_", name)
    while len(name.encode()) > NAME_BYTES_MAX - 4:
        name = name[:-1]
    if not name.isidentifier() or name.startswith("_") or unicodedata.normalize("NFKC", name) != name:
        name = fallback
    folded = {str(t).casefold() for t in taken}  # type: ignore[attr-defined]
    found, count = name, 1
    while found.casefold() in folded:
        count += 1
        found = f"{name}_{count}"
    return found


# -- choosing the subject ----------------------------------------------------------------------------


def _subjects(tables: Mapping[str, list[_Column]]) -> dict[str, _Column]:
    """The subject of each table; tables that hold another's single-record subject take that one."""
    best = {name: max(columns, key=_Column.subject_score) for name, columns in tables.items()}
    single = {t: c.name.casefold() for t, c in best.items() if c.distinct == c.filled == c.rows and c.rows}
    for name, columns in tables.items():
        others = {subject for table, subject in single.items() if table != name}
        shared = [c for c in columns if c.name.casefold() in others and c.subject_score()[:2] == (1.0, 1.0)]
        if shared and best[name] not in shared:
            best[name] = shared[0]
    return best


# -- writing -----------------------------------------------------------------------------------------


def _table_text(name: str, columns: list[_Column], subject: _Column, sample: pa.Table) -> str:
    one = subject.distinct == subject.filled and subject.filled > 0
    sensitive = sounds_sensitive(name)
    lines = ["", f"[tables.{_key(name)}]"]
    lines.append(f'subject = "{subject.name}"  # {subject.distinct:,} distinct in {subject.rows:,} rows')
    if subject.filled < subject.rows:
        lines.append(
            f"# {subject.rows - subject.filled:,} of {subject.rows:,} rows have no subject and would be rejected"
        )
    lines.append(f'records = "{"one" if one else "many"}"')
    if sensitive:
        lines.append('class = "sensitive"  # going by its name: nothing starts from such a table')
    lines += ["", f"[tables.{_key(name)}.fields]"]
    lines += [_field_text(_as_subject(c) if c is subject else c, subject, sensitive) for c in columns]
    opened = [c.header for c in columns if c.klass == "open" and c is not subject]
    if opened:
        share = unique_share(sample.select(opened), opened)
        lines.append(
            f"# {_share(share)} of {sample.num_rows:,} sampled rows are alone with their values in "
            "the open fields together"
        )
        if share > FEW_SHARE_MAX:
            lines.append("# consider a sealed class for some of them: together they single people out")
    return "\n".join(lines)


def _as_subject(column: _Column) -> _Column:
    """A subject must be text or a whole number and not sensitive, whatever was found."""
    kind = column.type if column.type in {"string", "int"} else "string"
    if column.klass not in {"sensitive", "open"}:
        return replace(column, type=kind)
    return replace(column, type=kind, meaning=Meaning("subject", "identity"), match=None)


def _field_text(c: _Column, subject: _Column, table_sensitive: bool) -> str:
    is_subject = c.header == subject.header
    settings = [f'type = "{c.type}"', f'class = "{c.klass}"']
    steps = _steps(c, is_subject)
    if c.type == "string" and steps:
        settings.append("normalise = [" + ", ".join(f'"{s}"' for s in steps) + "]")
    if _findable(c) and not is_subject and not table_sensitive:
        settings.append("find = true")
    mask = c.match.kind.mask if c.match else c.meaning.mask if c.meaning else None
    if mask == "year" and c.type not in {"date", "timestamp"}:
        mask = None
    if mask is not None and mask != "year" and c.type != "string":
        mask = None
    if mask is not None and c.klass not in {"open", "sensitive"}:
        settings.append(f'mask = "{mask}"')
    if c.few and c.filled and c.klass != "open" and not is_subject and c.type == "string":
        settings.append("low_cardinality = true")
    if c.klass == "open" and c.type == "string":
        settings.append(f'reason = "{c.distinct} distinct values in {c.filled} sampled ones: confirm or seal"')
    return f"{_key(c.name)} = {{ {', '.join(settings)} }}  # {_comment(c)}"


def _steps(c: _Column, is_subject: bool) -> tuple[str, ...]:
    if c.match is not None:
        return c.match.kind.normalise
    return ("trim",) if is_subject else ()


def _findable(c: _Column) -> bool:
    return (
        c.match is not None
        and c.match.kind.find
        and c.klass != "sensitive"
        and not c.few
        and c.distinct_share >= FIND_DISTINCT_MIN
        and not sounds_like_few_values(c.name)
    )


def _comment(c: _Column) -> str:
    parts = []
    if not c.filled:
        parts.append("no values in the sample")
    elif c.match is not None:
        parts.append(f"{_share(c.match.share)} of {c.filled:,} values are {c.match.kind.name}")
    elif c.type != "string" and c.reads < 1.0:
        parts.append(f"{_share(c.reads)} of {c.filled:,} values read as {c.type}, the others would be rejected")
    else:
        parts.append(f"{c.distinct:,} distinct in {c.filled:,} values")
    if c.meaning is not None:
        parts.append(f"header: {c.meaning.kind}")
    if c.filled < c.rows and c.filled:
        parts.append(f"{_share(1 - c.filled / c.rows)} empty")
    if c.name != c.header:
        parts.append("renamed: give the names to put with --columns, or rename it in the file")
    return "; ".join(parts)


def _share(share: float) -> str:
    shown = f"{100 * share:.1f}"
    if shown == "100.0" and share < 1:
        shown = "99.9"
    return f"{shown} %"


def _key(name: str) -> str:
    """A TOML key: bare where it may be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'
