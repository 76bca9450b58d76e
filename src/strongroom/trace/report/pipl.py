"""Drafts under Article 57 of China's Personal Information Protection Law, in English and Chinese: persons, authorities.

The article asks for the kinds of information, the causes and the possible harm; the remedial measures and what
individuals can do; and how to reach the handler.
"""

from __future__ import annotations

from strongroom.trace.report import shown
from strongroom.trace.report.drafting import contact, draft, kinds_told, listed_or_blank, taken, told
from strongroom.trace.report.facts import TraceFacts
from strongroom.trace.report.markup import Child, Node, e, given
from strongroom.trace.report.page import blank, code, lines, listed, pairs, section
from strongroom.trace.report.pipl_words import PHRASES, Phrases
from strongroom.trace.report.words import Language, Words


def persons(facts: TraceFacts, words: Words, language: Language) -> str:
    """A draft of the notice to individuals, as an HTML document. It names no recipient and no number of persons."""
    say = PHRASES[language]
    body = [_happened(facts, words, language), *_asked(facts, words, language), _contact(words, language)]
    return draft(say.persons_title, body, facts, language, authority=False)


def authority(facts: TraceFacts, words: Words, language: Language) -> str:
    """A draft of the notification to the departments that protect personal information, as an HTML document."""
    say = PHRASES[language]
    body = [
        _about(facts, words, language),
        _happened(facts, words, language),
        _scope(facts, language),
        *_asked(facts, words, language),
        _traced(facts, say),
        _contact(words, language),
    ]
    return draft(say.authority_title, body, facts, language, authority=True)


def _about(facts: TraceFacts, words: Words, language: Language) -> Node:
    say = PHRASES[language]
    name = words.named(language)
    to = words.authority.name.strip()
    aware = shown.moment(words.aware.timestamp()) if words.aware else blank(say.aware_missing, language)
    return section(
        "about",
        say.about,
        pairs(
            [
                (say.handler, given(name) if name else blank(say.handler_missing, language)),
                (say.to, given(to) if to else blank(say.to_missing, language)),
                (say.aware, aware),
                (say.traced_at, shown.moment(facts.at)),
            ]
        ),
        e("p", say.at_once, class_="soft"),
    )


def _happened(facts: TraceFacts, words: Words, language: Language) -> Node:
    say = PHRASES[language]
    name = words.named(language)
    between = taken(facts)
    return section(
        "happened",
        say.happened,
        e("p", told(words.said(language).happened, say.happened_missing, language)),
        e("p", say.sender, given(name) if name else blank(say.handler_missing, language), say.stop),
        e("p", say.taken.format(*between)) if between else None,
    )


def _asked(facts: TraceFacts, words: Words, language: Language) -> list[Node]:
    """Items 1 and 2 of the article."""
    say, said = PHRASES[language], words.said(language)
    return [
        section("kinds", say.kinds, e("p", say.kinds_some), kinds_told(facts.affected, words, language)),
        section("causes", say.causes, listed_or_blank(said.causes, say.causes_missing, language)),
        section("harm", say.harm, listed_or_blank(said.consequences, say.harm_missing, language)),
        section(
            "measures", say.measures, listed_or_blank([*said.measures, *said.proposed], say.measures_missing, language)
        ),
        section("advice", say.advice, listed_or_blank(said.advice, say.advice_missing, language)),
    ]


def _contact(words: Words, language: Language) -> Node:
    say = PHRASES[language]
    own = [one for one in words.said(language).contact if one.strip()]
    if own:
        return section("contact", say.contact, e("p", lines(own)))
    who = words.officer if words.officer.reachable else words.controller
    return section("contact", say.contact, e("p", contact(who, say.contact_missing, language)))


def _scope(facts: TraceFacts, language: Language) -> Node:
    say, affected = PHRASES[language], facts.affected
    if affected is None:
        return section("scope", say.scope, e("p", blank(say.number_missing, language)))
    rows: list[tuple[str, Child]] = [(say.number, shown.rounded(affected.persons))]
    if affected.minors is not None:
        rows.append((say.minors, shown.rounded(affected.minors)))
    if affected.in_exports is not None:
        rows.append((say.in_exports, shown.rounded(affected.in_exports)))
    records = sum(one.records or 0 for one in affected.tables)
    if records:
        rows.append((say.records, shown.rounded(records)))
    return section("scope", say.scope, pairs(rows))


def _traced(facts: TraceFacts, say: Phrases) -> Node:
    named: list[Child] = [
        [say.export, code(one.export.id), say.received, given(one.export.recipient), say.stop] for one in facts.accused
    ]
    lines = listed([*named, say.copy_only]) if named else e("p", say.nobody)
    return section("traced", say.traced, lines)
