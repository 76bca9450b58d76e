"""Drafts under the GDPR: the notification of Article 33(3) to the authority, the notice of Article 34(2) to persons.

What a trace found is filled in, what the controller said is quoted, and what neither says is a marked blank.
"""

from __future__ import annotations

from datetime import timedelta

from strongroom.trace.report import shown
from strongroom.trace.report.copies import copies_in_words
from strongroom.trace.report.drafting import (
    concerned,
    contact,
    draft,
    kinds_table,
    kinds_told,
    listed_or_blank,
    shown_ours,
    taken,
    told,
)
from strongroom.trace.report.facts import TraceFacts
from strongroom.trace.report.markup import Child, Node, e, given
from strongroom.trace.report.page import blank, code, listed, pairs, section
from strongroom.trace.report.sections import list_in_words, ours_in_words, when_in_words
from strongroom.trace.report.words import Said, Words

HOURS = 72
_KIND_OF_BREACH = "Personal data was disclosed without authority: records were published (a breach of confidentiality)."
_PHASES = {"first": "first notification", "further": "further information", "last": "last information"}


def authority(facts: TraceFacts, words: Words) -> str:
    """A draft of the notification to the supervisory authority, Article 33(3)(a) to (d), as an HTML document."""
    said = words.en
    body = [
        _about(words),
        _clock(facts, words),
        section(
            "nature",
            "Nature of the breach: Article 33(3)(a)",
            e("p", _KIND_OF_BREACH if shown_ours(facts) else blank("whether personal data was disclosed")),
            e("p", told(said.happened, "what happened, when and how it was noticed")),
            e("h3", "How it could happen"),
            listed_or_blank(said.causes, "how it could happen, as far as is known"),
            e("h3", "What a trace of the published sample shows"),
            listed(_traced(facts)),
            e("h3", "Persons concerned"),
            pairs(
                [
                    (
                        "Categories",
                        listed_or_blank(said.persons, "categories of persons: customers, patients, children"),
                    ),
                    *concerned(facts.affected),
                ]
            ),
            e("h3", "Records concerned"),
            _records(facts),
            kinds_table(facts.affected, words),
        ),
        section("contact", "Contact point: Article 33(3)(b)", _officer(words)),
        section(
            "consequences",
            "Likely consequences: Article 33(3)(c)",
            listed_or_blank(said.consequences, "likely consequences for the persons, given the kinds of data above"),
        ),
        _measures(said),
        _phases(facts, said),
    ]
    return draft(
        "Notification of a personal data breach to the supervisory authority", body, facts, "en", authority=True
    )


def persons(facts: TraceFacts, words: Words) -> str:
    """A draft of the notice to persons, Article 34(2), in plain words, as an HTML document. It names no recipient."""
    said = words.en
    name = words.named("en")
    between = taken(facts)
    body = [
        section(
            "happened",
            "What happened",
            e("p", told(said.happened, "what happened, in plain words")),
            e("p", "This notice is from ", given(name) if name else blank("the controller's name"), "."),
            e("p", f"The data was taken between {between[0]} and {between[1]}.") if between else None,
        ),
        section(
            "data",
            "Which data this is about",
            e("p", "The published records have these kinds of data. Of you, they may have only some of them."),
            kinds_told(facts.affected, words, "en"),
        ),
        section(
            "consequences",
            "What may follow for you",
            listed_or_blank(said.consequences, "likely consequences, in plain words"),
        ),
        section(
            "measures",
            "What we have done, and will do",
            listed_or_blank([*said.measures, *said.proposed], "measures taken or going to be taken"),
        ),
        section("advice", "What you can do", listed_or_blank(said.advice, "what persons can do to protect themselves")),
        section("contact", "Whom you can ask", _officer(words), _complain(words)),
    ]
    return draft("A notice about your personal data", body, facts, "en", authority=False)


def _about(words: Words) -> Node:
    to = words.authority
    return section(
        "about",
        "About this notification",
        pairs(
            [
                ("Controller", contact(words.controller, "name and address of the controller")),
                ("To", given(to.name) if to.name.strip() else blank("the competent supervisory authority")),
                ("Earlier notification", given(to.reference) if to.reference.strip() else None),
                ("Phase", _PHASES[to.phase] if to.phase else blank("first notification, or further information")),
            ]
        ),
    )


def _clock(facts: TraceFacts, words: Words) -> Node:
    """Article 33(1): 72 hours from when the controller became aware, and the reasons where it took longer."""
    aware = words.aware
    if aware is None:
        until: Child = blank("72 hours after the controller became aware")
        late = None
    else:
        due = (aware + timedelta(hours=HOURS)).timestamp()
        until = shown.moment(due)
        late = facts.at > due
    delay: Child = given(words.en.delay) if words.en.delay.strip() else None
    if delay is None and late:
        delay = blank("reasons for the delay: the trace ended after the 72 hours")
    if delay is None:
        delay = "needed if this is sent after that time"
    return section(
        "times",
        "Times: Article 33(1)",
        pairs(
            [
                (
                    "Aware of the breach",
                    shown.moment(aware.timestamp()) if aware else blank("when the controller became aware"),
                ),
                ("72 hours end", until),
                ("Trace of the sample ended", shown.moment(facts.at)),
                ("Reasons for delay", delay),
            ]
        ),
        e("p", "The 72 hours count from when the controller became aware, not from the trace.", class_="soft"),
    )


def _traced(facts: TraceFacts) -> list[Child]:
    named: list[Child] = [
        ["Named: export ", code(one.export.id), ", received by ", given(one.export.recipient), "."]
        for one in facts.accused
    ]
    if named:
        named.append("That an export is named says that rows came from that copy, not that its recipient published it.")
    rows = sum(one.rows for one in facts.sample.files)
    return [
        ["The sample ", given(facts.sample.name), f" has {rows:,} rows."],
        ours_in_words(facts.ours),
        copies_in_words(facts),
        *named,
        when_in_words(facts.dating),
    ]


def _records(facts: TraceFacts) -> Node:
    known = [one for one in facts.affected.tables if one.records is not None] if facts.affected is not None else []
    if not known:
        return e("p", blank("approximate number of records"))
    rows: list[Child] = [
        [
            given(one.table),
            f": about {shown.rounded(one.records or 0)} records",
            " (sensitive)" if one.sensitive else "",
        ]
        for one in known
    ]
    return listed(rows)


def _officer(words: Words) -> Node:
    who = words.officer if words.officer.reachable else words.controller
    missing = "name and contact details of the data protection officer or another contact point"
    return e("p", contact(who if who.reachable else words.officer, missing))


def _complain(words: Words) -> Node | None:
    name = words.authority.name.strip()
    return e("p", "You can also complain to the supervisory authority: ", given(name), ".") if name else None


def _measures(said: Said) -> Node:
    return section(
        "measures",
        "Measures: Article 33(3)(d)",
        e("h3", "Taken"),
        listed_or_blank(said.measures, "measures taken to address the breach"),
        e("h3", "Proposed, and to mitigate its effects"),
        listed_or_blank([*said.proposed, *said.advice], "measures proposed, and what mitigates possible effects"),
    )


def _phases(facts: TraceFacts, said: Said) -> Node:
    """Article 33(4): what is not known yet, and Article 34: whether persons were told."""
    missing: list[Child] = [given(one) for one in said.later]
    if facts.affected is None:
        missing.append("Which persons are concerned: the trace does not say.")
    if facts.dating is None or not facts.dating.claimed:
        missing.append("When the data was taken: not claimed.")
    missing += [[given(one.what), ": ", given(one.why)] for one in facts.limits]
    return section(
        "phases",
        "Information that follows: Article 33(4)",
        listed(missing) if missing else e("p", "Nothing is known to be missing."),
        e("h3", "Communication to the persons: Article 34"),
        e("p", list_in_words(facts.affected)) if facts.affected is not None else None,
        e("p", blank("whether and when the persons are told, or which condition of Article 34(3) is met")),
    )
