"""What all drafts share: that they say so, blanks for what nobody said, kinds of data, approximate numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from strongroom.trace.report import shown
from strongroom.trace.report.facts import Affected, TraceFacts
from strongroom.trace.report.markup import Child, Node, e, given
from strongroom.trace.report.page import blank, blanks, document, lines, listed, table
from strongroom.trace.report.regulator import foot
from strongroom.trace.report.sections import best_share
from strongroom.trace.report.words import Contact, Language, Words


@dataclass(frozen=True)
class _Notes:
    draft: str
    left: str
    one_left: str
    none_left: str
    not_shown: str
    values: str
    sensitive: str
    unnamed: str
    kinds: str


_NOTES = {
    "en": _Notes(
        draft="DRAFT. Not sent, and not legal advice: a person who is responsible checks it first.",
        left="{} places are marked that only the controller can fill in.",
        one_left="One place is marked that only the controller can fill in.",
        none_left="No place is left to be filled in.",
        not_shown="The trace did not show that the sample is this room's: find out first whether there was a breach.",
        values="Of the records it tells kinds and numbers, and no person's value.",
        sensitive="sensitive",
        unnamed="a plain name for {}",
        kinds="kinds of personal data",
    ),
    "zh": _Notes(
        draft="草稿。尚未发出，也不是法律意见：须由负责人先行核对。",
        left="有 {} 处标出的内容只能由处理者填写。",
        one_left="有 1 处标出的内容只能由处理者填写。",
        none_left="没有待填写之处。",
        not_shown="核对未能表明样本来自本系统。请先确认是否确有泄露发生。",
        values="本文仅说明记录的种类和数量，不含任何个人的具体信息。",
        sensitive="敏感个人信息",
        unnamed="{} 的通俗名称",
        kinds="个人信息的种类",
    ),
}


def draft(title: str, body: Sequence[Node], facts: TraceFacts, language: Language, *, authority: bool) -> str:
    """A draft as an HTML document.

    Args:
        title: Its heading.
        body: Its sections.
        facts: What was found.
        language: Of the draft.
        authority: Whether an authority reads it: then the digest of the facts stands below.
    """
    notes = _NOTES[language]
    left = blanks(body)
    top: list[Child] = [e("p", notes.draft, class_="draft")]
    if not shown_ours(facts):
        top.append(e("p", notes.not_shown, class_="note"))
    blank_places = (notes.none_left, notes.one_left)[left] if left < 2 else notes.left.format(left)
    top.append(e("p", blank_places, " ", notes.values, class_="soft"))
    return document(title, top, body, foot(facts, language) if authority else [], language)


def shown_ours(facts: TraceFacts) -> bool:
    """Whether anything shows that the sample is of this room: a share beyond chance, or an export that is named."""
    return bool(facts.accused) or best_share(facts.ours) is not None


def taken(facts: TraceFacts) -> tuple[str, str] | None:
    """Between which times the data was taken, where that is claimed."""
    between = None if facts.dating is None else facts.dating.taken
    return None if between is None else (shown.moment(between[0]), shown.moment(between[1]))


def told(text: str, missing: str, language: Language = "en") -> Node:
    """What was said, or a blank."""
    return given(text) if text.strip() else blank(missing, language)


def listed_or_blank(items: Sequence[str], missing: str, language: Language = "en") -> Node:
    """A list of what was said, or a blank."""
    said: list[Child] = [given(one) for one in items if one.strip()]
    return listed(said) if said else e("p", blank(missing, language))


def contact(who: Contact, missing: str, language: Language = "en") -> list[Child]:
    """How somebody is reached, a line each, and a blank where it does not say."""
    known = lines(who.lines)
    return known if who.reachable else [*known, blank(missing, language)]


def kinds_told(affected: Affected | None, words: Words, language: Language) -> Node:
    """The kinds of data, as persons call them."""
    notes = _NOTES[language]
    kinds = [one for one in affected.kinds if one.persons] if affected is not None else []
    if not kinds:
        return e("p", blank(notes.kinds, language))
    rows: list[Child] = []
    for one in kinds:
        name = words.said(language).kinds.get(f"{one.table}.{one.field}", "").strip()
        missing = notes.unnamed.format(f"{one.table}.{one.field}")
        mark = f" ({notes.sensitive})" if language == "en" else f"（{notes.sensitive}）"
        rows.append([given(name) if name else blank(missing, language), mark if one.rank == "sensitive" else None])
    return listed(rows)


def kinds_table(affected: Affected | None, words: Words) -> Node:
    """The kinds of data with approximate numbers of persons, for an authority."""
    if affected is None or not affected.kinds:
        return e("p", blank("categories of records"))
    rows = [
        (given(words.kind(one.table, one.field, "en")), one.rank, f"about {shown.rounded(one.persons)}")
        for one in affected.kinds
    ]
    return table("Categories of data", ("Kind of data", "Rank", "Persons#"), rows)


def concerned(affected: Affected | None) -> list[tuple[str, Child]]:
    """How many persons, approximately."""
    if affected is None:
        return [("Number in the sample", blank("approximate number of persons"))]
    rows: list[tuple[str, Child]] = [("Number in the sample", f"about {shown.rounded(affected.persons)}")]
    if affected.minors is not None:
        rows.append(("Under age among them", f"about {shown.rounded(affected.minors)}"))
    if affected.in_exports is not None:
        rows.append(("In the copies named, altogether", f"about {shown.rounded(affected.in_exports)}"))
    return rows
