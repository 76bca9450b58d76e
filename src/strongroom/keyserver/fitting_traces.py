"""Holds what a keymaster answers to a trace against what was asked: see `fitting`.

Rules it keeps:

1. As many rows as were asked about; places among what was given; no token to look for twice.
2. Whoever is accused is named, and reaches the bound for so many exports: an answer that contradicts itself is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from strongroom.evidence.verdict import EPSILON, Verdict
from strongroom.keymaster.tracing.api import FORM_LOOKUPS_MAX, FormTried, Looked, Origin, TraceHits, Versions, Weighed
from strongroom.seal.columns import token_text

if TYPE_CHECKING:
    from strongroom.keymaster.exports.api import ExportRecord

TOKEN_BYTES = 16
KEY_BYTES = DIGEST_BYTES = 32
TIMES_MAX = float(1 << 37)
"""Seconds since 1970 that a date can still say."""

Args = Mapping[str, Any]


def _rows(array: Any, count: int, width: int) -> bool:
    return bool(array.shape == (count, width))


def _places(array: Any, most: int) -> bool:
    """Places below a number, ascending, each once."""
    ascending = array.ndim == 1 and bool((array[1:] > array[:-1]).all())
    return ascending and (not len(array) or 0 <= int(array[0]) <= int(array[-1]) < most)


def _export(one: ExportRecord) -> bool:
    ident = len(one.id) == 2 * TOKEN_BYTES and set(one.id) <= set("0123456789abcdef")
    return ident and 0.0 <= one.at <= TIMES_MAX and 0.0 <= one.ended <= TIMES_MAX


def _looked(name: str) -> Callable[[Args, Looked], bool]:
    return lambda args, answer: (
        _rows(answer.tokens, len(args[name]), TOKEN_BYTES) and answer.there.shape == (len(args[name]),)
    )


def _hits(args: Args, answer: TraceHits) -> bool:
    count = len(answer.subjects)
    same = _rows(answer.subjects, count, TOKEN_BYTES) and answer.rows.shape == (count,)
    return same and _places(answer.rows, len(args["entries"]))


def _origins(answer: tuple[Origin, ...]) -> bool:
    return len({one.export.id for one in answer}) == len(answer) and all(map(_origin, answer))


def _origin(one: Origin) -> bool:
    return _export(one.export) and 0 < one.verified <= one.tried and 0.0 <= one.chance <= EPSILON and one.log_e > 0.0


def _tried(_args: Args, answer: FormTried) -> bool:
    asked = answer.asked
    if not _rows(asked, len(asked), TOKEN_BYTES) or not len(asked) <= answer.lookups <= FORM_LOOKUPS_MAX:
        return False
    own = token_text(asked)
    return bool((own[1:] > own[:-1]).all())


def _weighed(args: Args, answer: Weighed) -> bool:
    size = len(args["sample"].persons)
    return (
        answer.leaf >= 0
        and len(answer.digest) == DIGEST_BYTES
        and 0 <= answer.sure <= answer.persons <= size
        and len(answer.counts) == len(args["sample"].names)
        and all(0 <= count <= answer.persons for count in answer.counts)
        and (answer.in_accused is None or answer.in_accused >= 0)
        and all(_export(one.export) and 0 <= one.at < size and 0 <= one.outside <= size for one in answer.excluded)
        and _verdict(answer, size - answer.persons)
    )


def _verdict(answer: Weighed, finds: int) -> bool:
    """Whether those accused are named, and reach a bound that is that of so many exports."""
    verdict, others = answer.verdict, answer.others
    if verdict is None:
        return not len(answer.accused) and not len(answer.excluded) and others.shape == (0,)
    named = [one.export.hex() for one in verdict.accused]
    return (
        named == [one.id for one in answer.accused]
        and len(set(named)) == len(named)
        and all(map(_export, answer.accused))
        and min(finds, 1) <= verdict.found <= finds  # persons of one household are one find
        and _bound(verdict)
        and others.shape == (verdict.judged - len(named),)
        and bool((others[1:] >= others[:-1]).all() and (others < verdict.threshold).all())
        and _nearest(verdict, others)
    )


def _nearest(verdict: Verdict, others: Any) -> bool:
    """Whether the nearest that is told is the last of those that stay without names."""
    if not len(others) or verdict.nearest is None:
        return not len(others) and verdict.nearest is None
    return math.isclose(verdict.nearest, float(others[-1]), abs_tol=1e-9)


def _bound(verdict: Verdict) -> bool:
    if verdict.epsilon != EPSILON or not 0 <= verdict.judged <= verdict.ever_issued - len(verdict.spent):
        return False
    if verdict.ever_issued < 1 or not math.isclose(verdict.threshold, math.log(verdict.ever_issued / EPSILON)):
        return False
    return all(
        verdict.threshold <= one.log_e < math.inf and 0 <= one.held <= one.offered <= verdict.found
        for one in verdict.accused
    )


def _versions(args: Args, answer: Versions) -> bool:
    count = len(args["tokens"])
    return (
        all(_rows(some, count, KEY_BYTES) for some in answer.keys.values())
        and _places(answer.missing, count)
        and answer.born.shape == answer.minted.shape == (count,)
        and 0.0 <= answer.since <= TIMES_MAX
        and bool(((answer.minted >= 0.0) & (answer.minted <= TIMES_MAX)).all())
        and answer.leaf >= 0
        and 0 <= answer.persons <= count
        and 0 <= answer.left_out <= count
    )


RULES: Mapping[str, Callable[[Args, Any], bool]] = {
    "traces.look_up": _looked("values"),
    "traces.open_hits": _hits,
    "traces.name_tokens": lambda _args, answer: _origins(answer),
    "traces.try_formed": _tried,
    "traces.name_formed": lambda _args, answer: _origins(answer),
    "traces.behind_tokens": _looked("tokens"),
    "traces.weigh": _weighed,
    "traces.versions": _versions,
}
