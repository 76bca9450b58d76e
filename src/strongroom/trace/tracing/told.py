"""What a trace found, in lines for whoever asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from strongroom.trace.report.shown import moment, share, tiny

if TYPE_CHECKING:
    from strongroom.trace.report.facts import Accused, Dating, Export, Interval, Ours, Share, TraceFacts

LISTED_MAX = 20
LEAST_TOLD = 0.001


def lines(facts: TraceFacts) -> Iterator[str]:
    """The facts, a line at a time; they hold no value."""
    rows = sum(one.rows for one in facts.sample.files)
    yield f"sample: {_many(rows, 'row')} in {_many(len(facts.sample.files), 'file')}, {facts.sample.repeated:,} repeat"
    yield f"is it ours: {_ours(facts.ours)}"
    if not facts.accused and facts.weighing is None:
        yield "whose copy: not said: no export was ever issued"
    elif not facts.accused:
        yield "whose copy: not said: the evidence names no export. That is no sign of anybody's innocence, or guilt"
    for one in facts.accused:
        yield f"whose copy: {_export(one.export)}"
        yield from _why(one, facts)
    if facts.excluded:
        yield f"cannot be the only source: {_many(len(facts.excluded), 'export')}"
    for out in facts.excluded[:LISTED_MAX]:
        yield f"  {_export(out.export)}: row {out.row:,} of {out.file}: {out.why}"
    if len(facts.excluded) > LISTED_MAX:
        yield f"  and {len(facts.excluded) - LISTED_MAX:,} more: --json lists them"
    yield f"of when: {_when(facts.dating)}"
    if facts.affected is not None:
        sure = facts.affected.sure or 0
        yield f"who: {_many(facts.affected.persons, 'person')} of the room, {sure:,} by two identifiers or a token"
        for kind in facts.affected.kinds:
            yield f"  {kind.table}.{kind.field} ({kind.class_name}): {kind.persons:,}"
    for limit in facts.limits:
        yield f"not possible: {limit.what}: {limit.why}"
    yield f"noted: entry {facts.entry} of the log has the digest of what was found, from before exports were weighed"


def _ours(ours: Ours | None) -> str:
    if ours is None or ours.by_one is None or not ours.by_one.tested:
        return "not said: there was nothing to look for"
    one = ours.by_one
    if not one.matched:
        return f"not shown: none of {_many(one.tested, 'row')} matches"
    if not one.shown and ours.by_two is not None and ours.by_two.shown:
        return f"yes, {_least(ours.by_two)}: {ours.by_two.matched:,} by two fields of one person"
    if one.chance >= 1.0:
        return f"not shown: {one.matched:,} of {one.tested:,} rows match, and nobody said how often foreign ones do"
    if not one.shown:
        return f"not shown: {one.matched:,} of {one.tested:,} rows match, and chance may match as many"
    two = "" if ours.by_two is None else f"; {ours.by_two.matched:,} by two fields of one person"
    return f"yes, {_least(one)}: {one.matched:,} match{two}"


def _least(one: Share) -> str:
    """The bound of a share that is shown; of few rows it is next to nothing, and is not told."""
    least = f"at least {share(one.low)}" if one.low >= LEAST_TOLD else "some"
    return f"{least} of {_many(one.tested, 'row')}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _export(export: Export) -> str:
    at = "" if export.at is None else f", {moment(export.at)}"
    return f"export {export.id} to {export.recipient}, purpose {export.purpose}{at}"


def _why(one: Accused, facts: TraceFacts) -> Iterator[str]:
    if one.tokens is not None:
        told = f"chance {tiny(one.tokens.chance)} at most" if one.tokens.chance else "chance next to nothing"
        yield f"  by tokens of {one.tokens.field} in {one.tokens.rows:,} rows, {told}"
    if one.canaries is not None and facts.weighing is not None:
        yield (
            f"  by canary persons: ln E {one.canaries.log_e:.1f}, {facts.weighing.threshold:.1f} needed;"
            f" it holds {one.canaries.held:,} of {one.canaries.offered:,} found"
        )


def _when(dating: Dating | None) -> str:
    if dating is None:
        return "not said"
    if not dating.claimed:
        return f"not said: {dating.why}"
    others = "".join(f"; another take {_span(one)}" for one in dating.others)
    return f"taken {' or '.join(_span(one) for one in dating.likely)}{others}"


def _span(one: Interval) -> str:
    return f"between {moment(one.start)} and {moment(one.stop)}"
