"""Sections of the report: each says one kind of fact, what it rests on, and what it does not say."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.trace.report import plots, shown
from strongroom.trace.report.facts import Affected, Dating, Ours, Sample, SampleFile, Share, TraceFacts
from strongroom.trace.report.markup import Child, Node, e, given
from strongroom.trace.report.page import code, listed, names, pairs, prose, section, table
from strongroom.trace.report.words import Words

UNKNOWN_MAX = 100
_CHANCE = """
A row of somebody else's list matches by chance at the stated rate. “Not shown” says that chance may explain what
matches; it does not say that the rows are somebody else's.
"""
_VERSIONS = """
A row dates the sample where the room held exactly its values for a part of the time only. A date is claimed from 13.8
nats (one in a million) on, and only where less than half of the period is left.
"""
_HOW = {"name": "by its name", "word": "by a word of its header", "values": "by its values", "text": "in running text"}
_LOOKUP = {"index": "looked up", "subject": "looked up as the person's number", "": "compared"}


# -- the sample --------------------------------------------------------------------------------------------


def the_sample(sample: Sample) -> Node:
    """What was read of it, and what was not."""
    rows = [
        (
            given(one.name),
            code(one.sha256) if one.sha256 else "not known",
            shown.size(one.bytes),
            one.form or "not known",
            _encoding(one),
            shown.count(one.rows),
            shown.count(sum(one.unread.values())),
        )
        for one in sample.files
    ]
    headings = ("File", "SHA-256", "Size#", "Form", "Encoding", "Rows#", "Unreadable#")
    columns = [
        (
            given(one.column),
            given(one.file),
            given(f"{one.table}.{one.field}"),
            _HOW.get(one.how, one.how),
            _LOOKUP.get(one.lookup, one.lookup),
            shown.count(one.values),
        )
        for one in sample.columns
    ]
    known = table("Columns that were recognised", ("Column", "File", "Field", "How", "Used", "Values#"), columns)
    return section(
        "sample",
        "The sample",
        e("p", "The sample was read as it was published, under the name ", given(sample.name), "."),
        table("Files of the sample", headings, rows) if rows else None,
        _unread(sample),
        e("p", f"{sample.repeated:,} rows say the same as an earlier one and were counted once.")
        if sample.repeated
        else None,
        known if columns else e("p", "No column was recognised as a field of this room."),
        _unknown(sample.unknown) if sample.unknown else None,
    )


def _unknown(columns: tuple[str, ...]) -> Node:
    left = len(columns) - UNKNOWN_MAX
    more = f", and {left:,} more." if left > 0 else "."
    return e("p", "Columns that no field of this room could be: ", names(columns[:UNKNOWN_MAX]), more)


def _encoding(one: SampleFile) -> str:
    if not one.encodings:
        return "UTF-8"
    return "UTF-8; " + ", ".join(f"{name}: {lines:,} lines" for name, lines in one.encodings.items())


def _unread(sample: Sample) -> Node | None:
    rows: list[tuple[Child, ...]] = []
    for one in sample.files:
        reasons = dict.fromkeys([*one.unread, *one.unread_bytes])
        rows += [
            (given(one.name), why, shown.count(one.unread.get(why, 0)), shown.size(one.unread_bytes.get(why, 0)))
            for why in reasons
        ]
        if one.replaced_bytes:
            rows.append(
                (given(one.name), "bytes that are no text; their rows were read", "", shown.size(one.replaced_bytes))
            )
    return table("What could not be read", ("File", "Why", "Rows#", "Bytes#"), rows) if rows else None


# -- is it ours --------------------------------------------------------------------------------------------


def is_it_ours(ours: Ours | None) -> Node:
    """The shares, with what chance would do."""
    if ours is None:
        return section("ours", "Is it ours", e("p", "This trace does not say what share of the sample is this room's."))
    rows = [(label, one) for label, one in _shares(ours)]
    lines = [
        (
            given(label),
            shown.count(one.tested),
            shown.count(one.matched),
            shown.tiny(one.chance),
            f"{shown.share(one.low)} to {shown.share(one.high, up=True)}" if one.shown else "not shown",
            shown.chance(one.log_chance),
        )
        for label, one in rows
    ]
    headings = ("What was tested", "Tested#", "Matched#", "Rate by chance#", "Share that is ours", "Chance of so many")
    return section(
        "ours",
        "Is it ours",
        e("p", ours_in_words(ours)),
        plots.shares(rows) if rows else None,
        table("Shares that are this room's, beyond chance", headings, lines) if lines else None,
        e("p", f"{ours.untested:,} rows had nothing to test.") if ours.untested else None,
        e(
            "p",
            prose(_CHANCE),
            f" The bounds are Chernoff's: together they are wrong with a chance of at most {shown.tiny(ours.error)}.",
            class_="soft",
        ),
    )


def _shares(ours: Ours) -> list[tuple[str, Share]]:
    levels = (("Rows with a field known", ours.by_one), ("Rows with two of one person", ours.by_two))
    return [(label, one) for label, one in levels if one is not None] + list(ours.columns.items())


def ours_in_words(ours: Ours | None) -> str:
    """One sentence: whether the sample is ours."""
    best = best_share(ours)
    if best is None:
        return "Whether the sample is this room's was not shown."
    return (
        f"At least {shown.share(best.low)} and at most {shown.share(best.high, up=True)} of {best.tested:,} rows "
        "that could be tested are this room's, beyond what chance matches."
    )


def best_share(ours: Ours | None) -> Share | None:
    """The share of rows to be told: by two fields of a person where that is shown, else by one."""
    if ours is None:
        return None
    return next((one for one in (ours.by_two, ours.by_one) if one is not None and one.shown), None)


# -- when --------------------------------------------------------------------------------------------------


def when(dating: Dating | None) -> Node:
    """When it was taken, or why nobody says so."""
    if dating is None:
        return section("when", "When the data was taken", e("p", "This trace does not say when the data was taken."))
    kinds = (("most rows agree", dating.best), ("likely", dating.likely), ("another take", dating.others))
    rows = [
        (
            kind,
            shown.moment(one.start),
            shown.moment(one.stop),
            shown.span(one.stop - one.start),
            shown.count(one.support),
            f"{one.mass:.3f}",
        )
        for kind, some in kinds
        for one in (some if dating.claimed else ())
    ]
    headings = ("Times", "From", "Before", "Width#", "Rows that agree#", "Probability#")
    return section(
        "when",
        "When the data was taken",
        e("p", when_in_words(dating)),
        plots.times(dating),
        table("Times at which the data was taken", headings, rows) if rows else None,
        e(
            "p",
            f"{dating.rows:,} rows have versions in the period, {dating.informative:,} of them leave times out, and "
            f"{dating.empty:,} have values that the room had at no time of it. "
            f"{shown.share(dating.foreign, up=True)} of the rows are taken to be of other dates. Evidence against "
            f"rows of dates of their own: {shown.nats(dating.log_e)} nats. {prose(_VERSIONS)[0]}",
            class_="soft",
        ),
    )


def when_in_words(dating: Dating | None) -> str:
    """One sentence: when the sample was taken."""
    if dating is None or dating.taken is None:
        why = "" if dating is None or not dating.why else f": {dating.why}"
        return f"When the data was taken is not claimed{why}."
    start, stop = dating.taken
    several = " (with gaps: see the table)" if len(dating.likely) > 1 else ""
    return (
        f"The data was taken between {shown.moment(start)} and {shown.moment(stop)}{several}: "
        "99.9 % of the probability, given that it was taken at one time."
    )


# -- who ---------------------------------------------------------------------------------------------------


def who(affected: Affected | None, words: Words) -> Node:
    """Who is in it, by class, table and kind of data, and whether a list was made."""
    if affected is None:
        return section("who", "Who is in it", e("p", "This trace does not say which persons are in the sample."))
    classes = [(one.name, one.rank, one.persons) for one in affected.classes]
    tables = [(one.table, "sensitive" if one.sensitive else "personal", one.persons) for one in affected.tables]
    kinds = [
        (
            given(words.kind(one.table, one.field, "en")),
            given(one.class_name),
            one.rank,
            shown.count(one.persons),
        )
        for one in affected.kinds
    ]
    return section(
        "who",
        "Who is in it",
        e("p", who_in_words(affected)),
        pairs(
            [
                ("Matched surely", _known(affected.sure)),
                ("Matched by chance, at most", _expected(affected.chance_at_most)),
                ("In the exports named, altogether", _known(affected.in_exports)),
                ("Under age at that time", _known(affected.minors)),
            ]
        ),
        plots.bars("classes", "Persons by class of data", _labelled(classes)) if classes else None,
        table("Persons by class of data", ("Class", "Rank", "Persons#"), _rows(classes)) if classes else None,
        plots.bars("tables", "Persons by table", _labelled(tables)) if tables else None,
        table("Persons by table", ("Table", "Rank", "Persons#", "Records#"), _table_rows(affected)) if tables else None,
        table("Persons by kind of data", ("Kind of data", "Class", "Rank", "Persons#"), kinds) if kinds else None,
        e("p", list_in_words(affected)),
    )


def who_in_words(affected: Affected | None) -> str:
    """One sentence: how many persons."""
    if affected is None:
        return "Which persons are in the sample is not known."
    return f"{affected.persons:,} persons of this room are in the sample."


def list_in_words(affected: Affected) -> str:
    """One sentence: the notification list."""
    one = affected.list
    if one.state == "made":
        entry = "" if one.entry is None else f", entry {one.entry} of the log"
        at = "" if one.at is None else f" at {shown.moment(one.at)}"
        many = "" if one.persons is None else f" of {one.persons:,} persons"
        return f"The list{many} to be notified was released{at}{entry}."
    if one.state == "waiting":
        what = f" (approval {one.approval})" if one.approval else ""
        return f"The list of whom to notify waits for another person's agreement{what}."
    return "No list of whom to notify was made: it is a release like any other, under a purpose and a budget."


def _known(number: int | None) -> str | None:
    return None if number is None else f"{number:,}"


def _expected(number: float | None) -> str | None:
    return None if number is None else f"{number:,.1f}"


def _labelled(rows: Sequence[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    return [(f"{plots.cut(name, 22)} ({rank})", rank, persons) for name, rank, persons in rows]


def _rows(rows: Sequence[tuple[str, str, int]]) -> list[tuple[Child, ...]]:
    return [(given(name), rank, shown.count(persons)) for name, rank, persons in rows]


def _table_rows(affected: Affected) -> list[tuple[Child, ...]]:
    return [
        (
            given(one.table),
            "sensitive" if one.sensitive else "plain",
            shown.count(one.persons),
            "" if one.records is None else shown.count(one.records),
        )
        for one in affected.tables
    ]


# -- what was not possible ---------------------------------------------------------------------------------


def limits(facts: TraceFacts) -> Node:
    """What was not possible, and why."""
    rows: list[Child] = [[e("strong", given(one.what)), ": ", given(one.why)] for one in facts.limits]
    said = listed(rows) if rows else e("p", "The trace names nothing that was not possible.")
    return section("limits", "What was not possible", said)
