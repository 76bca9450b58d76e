"""The section on whose copy it was: who is named on what evidence, who is excluded, and what silence means."""

from __future__ import annotations

from strongroom.trace.report import plots, shown
from strongroom.trace.report.facts import Accused, Excluded, Export, Handful, TraceFacts, Weighing
from strongroom.trace.report.markup import Child, Node, e, given
from strongroom.trace.report.page import code, listed, names, pairs, prose, section, table

CHANCE_SMALLEST = 1e-30
CANDIDATES_MAX = 30

_READING = """
“Named” says that rows of the sample came from that copy. It does not say that the recipient published it: it may have
been stolen from them, or have been published before by somebody else.

By canaries an export is named only where its evidence E is at least N/ε; by tokens only where a key that did not make
them fits them with a chance of at most ε, over all exports tried. Of either kind of evidence the probability that any
innocent export is named is then at most ε, however many recipients put their copies together, whatever they left out or
added.

The bounds rest on the secrecy of the keys by which canaries were drawn and tokens made, and on nobody but its recipient
having had rows of that copy.

Silence says nothing: too few rows, too many copies put together, canaries taken out, and innocence look alike. How near
the strongest unnamed export is serves to plan whether to look for more rows, never for suspicion.

That every person of the sample is in some export accuses nobody: a larger export holds more persons.
"""


def which_copy(facts: TraceFacts) -> Node:
    """Whose copy it was, or that nothing is said."""
    weighing = facts.weighing
    return section(
        "copies",
        "Which copy it came from",
        e("p", copies_in_words(facts)),
        [_accused(one, facts) for one in facts.accused],
        plots.evidence(weighing, facts.accused) if weighing is not None and weighing.judged else None,
        _weighed(weighing) if weighing is not None else e("p", "No canaries were weighed."),
        _handfuls(facts.handfuls) if facts.handfuls else None,
        _excluded(facts.excluded) if facts.excluded else None,
        _reading(facts),
    )


def copies_in_words(facts: TraceFacts) -> str:
    """One sentence: which exports are named."""
    if not facts.accused:
        return "No export is named: the evidence reaches the bound for none. That says nothing about any recipient."
    several = "One export is named" if len(facts.accused) == 1 else f"{len(facts.accused):,} exports are named"
    return f"{several} as a source of the sample."


def _accused(one: Accused, facts: TraceFacts) -> Node:
    return e(
        "div",
        e("h3", "Named: export ", code(one.export.id), ", received by ", given(one.export.recipient)),
        _pairs(one, facts),
    )


def _pairs(one: Accused, facts: TraceFacts) -> Node:
    export = one.export
    rows: list[tuple[str, Child]] = [
        ("Recipient", given(export.recipient)),
        ("Purpose", given(export.purpose) if export.purpose else None),
        ("Agreed to by", names(export.approvers) if export.approvers else None),
        ("Made by", given(export.actor) if export.actor else None),
        ("Made at", None if export.at is None else shown.moment(export.at)),
        ("Persons", None if export.persons is None else shown.count(export.persons)),
        ("Records", None if export.records is None else shown.count(export.records)),
        ("Tables", names(export.tables) if export.tables else None),
    ]
    return pairs([*rows, *_evidence(one, facts.weighing), *_proof(export)])


def _evidence(one: Accused, weighing: Weighing | None) -> list[tuple[str, Child]]:
    rows: list[tuple[str, Child]] = []
    if one.canaries is not None and weighing is not None:
        canaries = one.canaries
        reached = "reaches" if canaries.log_e >= weighing.threshold else "does not reach"
        terms = f"N = {weighing.ever_issued:,}, ε = {shown.tiny(weighing.epsilon)}"
        bound = f"ln(N/ε) = {shown.nats(weighing.threshold)} ({terms})"
        found = f"{canaries.offered:,} canaries found that had been offered to it"
        rows.append(("By canaries", f"it holds {canaries.held:,} of {found}"))
        rows.append(("Evidence", f"ln E = {shown.nats(canaries.log_e)} {reached} {bound}"))
    if one.tokens is not None:
        chance = f"wrong with a chance of at most {shown.tiny(max(one.tokens.chance, CHANCE_SMALLEST))}"
        of: list[Child] = [" of ", given(one.tokens.field)] if one.tokens.field else []
        rows.append(("By tokens", [f"{one.tokens.rows:,} rows have tokens", of, " that its key made"]))
        rows.append(("Evidence of tokens", f"ln E = {shown.nats(one.tokens.log_e)}; {chance}"))
    return rows


def _proof(export: Export) -> list[tuple[str, Child]]:
    return [
        ("Entries in the log", ", ".join(str(one) for one in export.entries) if export.entries else None),
        ("Commitment to its canaries", code(export.commitment) if export.commitment else None),
    ]


def _weighed(weighing: Weighing) -> Node:
    return pairs(
        [
            ("Canaries found", f"{weighing.canaries:,}"),
            ("Exports ever issued (N)", f"{weighing.ever_issued:,}"),
            ("Exports weighed", f"{weighing.judged:,}"),
            ("Bound of naming any innocent export (ε)", shown.tiny(weighing.epsilon)),
            ("Threshold ln(N/ε)", shown.nats(weighing.threshold)),
            ("Strongest below it, not named", None if weighing.nearest is None else shown.nats(weighing.nearest)),
            ("Not weighed, because opened before", f"{weighing.opened:,}" if weighing.opened else None),
            ("Digest of the canaries found", code(weighing.finds_digest) if weighing.finds_digest else None),
            ("Entry of that digest in the log", None if weighing.finds_entry is None else str(weighing.finds_entry)),
        ]
    )


def _handfuls(handfuls: tuple[Handful, ...]) -> Node:
    rows = [
        (
            given(one.field),
            shown.count(one.rows),
            _some(one.exports),
            shown.tiny(one.chance),
        )
        for one in handfuls
    ]
    return e(
        "div",
        e("h3", "Candidates by tokens that keep a value's form"),
        e(
            "p",
            "Such a token fits several keys. Too few rows have them to name one export: these are candidates, "
            "and none of them is accused.",
        ),
        table("Candidates by tokens", ("Field", "Rows#", "Candidate exports", "Chance that this is wrong#"), rows),
    )


def _some(exports: tuple[str, ...]) -> list[Child]:
    ids: list[Child] = [[", " if n else None, code(one)] for n, one in enumerate(exports[:CANDIDATES_MAX])]
    left = len(exports) - CANDIDATES_MAX
    return [*ids, f", and {left:,} more" if left > 0 else None]


def _excluded(excluded: tuple[Excluded, ...]) -> Node:
    rows = [
        (code(one.export.id), given(one.export.recipient), given(one.file), shown.count(one.row), given(one.why))
        for one in excluded
    ]
    return e(
        "div",
        e("h3", "Exports that cannot be the only source"),
        e("p", "The row of the sample that excludes an export is given by its number; nothing of the row is shown."),
        table("Exports excluded", ("Export", "Recipient", "File", "Row#", "Why"), rows),
    )


def _reading(facts: TraceFacts) -> Node:
    """What the evidence says, and what it does not."""
    return e("div", e("h3", "How to read this"), listed(prose(_READING)), class_="note" if facts.accused else None)
