"""The report for the regulator: what a trace found, in one page that can be printed."""

from __future__ import annotations

import hashlib

from strongroom.trace.report import shown
from strongroom.trace.report.copies import copies_in_words, which_copy
from strongroom.trace.report.facts import KIND, VERSION, TraceFacts, to_json
from strongroom.trace.report.markup import Child, Node, e, given
from strongroom.trace.report.page import blank, code, contents, document, lines, listed, pairs, prose, section
from strongroom.trace.report.sections import (
    is_it_ours,
    limits,
    ours_in_words,
    the_sample,
    when,
    when_in_words,
    who,
    who_in_words,
)
from strongroom.trace.report.words import Language, Words

_CHECKING = f"""
The read log only grows, and can be witnessed by others: its entries of exports, of the digest of the canaries found,
and of this trace are in the order in which they were made.

The commitment to an export's canaries was in the log when it was issued. It can be opened for a court, for this export
alone; from what is opened, the log and the sample the accusation is made again without any key.

The files of the sample are those of the stated SHA-256.

This page was made of facts that are kept as JSON ({KIND}, version {VERSION}), whose digest is above: the same facts
give the same page. Neither holds a value of any person.
"""

_MADE = {
    "en": ("Made by strongroom from facts with SHA-256 ", ", of ", "."),
    "zh": ("由 strongroom 根据核对结果生成，SHA-256：", "，时间：", "。"),
}


def render(facts: TraceFacts, words: Words) -> str:
    """The report as one HTML document: no script, nothing fetched, ready for A4.

    Args:
        facts: What was found.
        words: What the operator says of itself.
    """
    body = [
        in_short(facts),
        the_sample(facts.sample),
        is_it_ours(facts.ours),
        which_copy(facts),
        when(facts.dating),
        who(facts.affected, words),
        limits(facts),
        _checking(facts),
    ]
    top: list[Child] = [_about(facts, words), contents("Contents", body)]
    return document(f"Report on a published sample: {facts.room}", top, body, foot(facts, "en"), "en")


def in_short(facts: TraceFacts) -> Node:
    """The whole report in a few sentences."""
    said: list[Child] = [
        _read(facts),
        ours_in_words(facts.ours),
        [
            copies_in_words(facts),
            [
                [" Export ", code(a.export.id), ", received by ", given(a.export.recipient), "."]
                for a in facts.accused[:5]
            ],
        ],
        when_in_words(facts.dating),
        who_in_words(facts.affected),
    ]
    if facts.limits:
        several = "One thing was" if len(facts.limits) == 1 else f"{len(facts.limits):,} things were"
        said.append(f"{several} not possible: see below.")
    return section("short", "In short", e("div", listed(said), class_="short"))


def _read(facts: TraceFacts) -> list[Child]:
    rows = sum(one.rows for one in facts.sample.files)
    lost = sum(sum(one.unread.values()) for one in facts.sample.files)
    of = f"{len(facts.sample.files):,} file" + ("" if len(facts.sample.files) == 1 else "s")
    return ["The sample ", given(facts.sample.name), f" has {rows:,} rows in {of}; {lost:,} could not be read."]


def _about(facts: TraceFacts, words: Words) -> Node:
    return pairs(
        [
            ("Controller", lines(words.controller.lines) or blank("name and address of the controller")),
            ("Room", [given(facts.room), ", id ", code(facts.room_id)]),
            ("Trace ended", shown.moment(facts.at)),
            ("Traced by", given(facts.actor) if facts.actor else None),
            ("Purpose", given(facts.purpose) if facts.purpose else None),
        ]
    )


def _checking(facts: TraceFacts) -> Node:
    return section(
        "checking",
        "How this can be checked",
        pairs(
            [
                ("First entry of the trace in the log", None if facts.entry is None else str(facts.entry)),
                ("Snapshot it was compared with", None if facts.snapshot is None else str(facts.snapshot)),
                ("Digest of the facts (SHA-256)", code(digest(facts))),
            ]
        ),
        listed(prose(_CHECKING)),
    )


def digest(facts: TraceFacts) -> str:
    """SHA-256 of the archived facts, hex."""
    return hashlib.sha256(to_json(facts)).hexdigest()


def foot(facts: TraceFacts, language: Language) -> list[Child]:
    """What stands below pages whose reader may check the facts."""
    made, of, stop = _MADE[language]
    return [e("p", made, code(digest(facts)), of, shown.moment(facts.at), stop)]
