"""Which entries of several runs are live, a run at a time, without opening any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.seal.run import token_changes, token_words

if TYPE_CHECKING:
    from strongroom.index.runs import RunReader
    from strongroom.schema.model import Table

Mask = npt.NDArray[np.bool_] | None


def live_masks(table: Table, runs: Sequence[RunReader]) -> list[Mask]:
    """Per run, in commit order: which entries are live, bool[n]; None where all are.

    In a table with one record a subject an entry is superseded by a later one of the same token, in its run or in a
    later run. Runs whose token ranges do not meet are not compared.
    """
    if table.records != "one":
        return [None] * len(runs)
    masks: list[Mask] = []
    for number, run in enumerate(runs):
        later = [r for r in runs[number + 1 :] if r.entry.commit > run.entry.commit and _meet(run, r)]
        if not later and run.entry.persons == run.entry.entries:
            masks.append(None)
            continue
        tokens = _tokens(run)
        live = np.ones(len(tokens), bool)
        live[:-1] = token_changes(tokens)[1:]
        for other in later:
            live &= ~_among(tokens, _tokens(other))
        masks.append(None if live.all() else live)
    return masks


def _meet(a: RunReader, b: RunReader) -> bool:
    return a.entry.entries > 0 and b.entry.entries > 0 and a.entry.lo <= b.entry.hi and b.entry.lo <= a.entry.hi


def _tokens(run: RunReader) -> npt.NDArray[np.uint8]:
    """Tokens of a run, u8[n,16], sorted."""
    parts = [columns.tokens for columns in run.blocks()]
    return np.concatenate(parts) if parts else np.empty((0, 16), np.uint8)


def _among(tokens: npt.NDArray[np.uint8], others: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Whether each of some sorted tokens is among other sorted tokens, by all 16 bytes."""
    if not len(others):
        return np.zeros(len(tokens), bool)
    # 16 bytes as one comparable item: byte strings compare like the tokens, but numpy drops trailing zeros, so the
    # two halves are compared on their own.
    high, low = token_words(tokens).T
    other_high, other_low = token_words(others).T
    found = np.zeros(len(tokens), bool)
    at = np.searchsorted(other_high, high, side="left")
    open_ = at < len(others)
    while open_.any():
        here = np.flatnonzero(open_)
        place = at[here]
        same = other_high[place] == high[here]
        hit = same & (other_low[place] == low[here])
        found[here[hit]] = True
        go_on = same & ~hit
        at[here] += 1
        open_[here] = go_on & (at[here] < len(others))
    return found
