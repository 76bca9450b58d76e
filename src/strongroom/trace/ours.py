"""Whether a sample is ours: what share of its rows the room knows, beyond what chance would match.

A value of a foreign row is in the room by chance at a known rate: how many values the room has, by how many there are.
Two rates matter, and both are the caller's to state. Against made-up identifiers it is the whole space (a Chinese
mobile number is one of 7 * 10^9). Against somebody else's list of the same people it is the share of the identifiers in
use that the room has: a room that holds most people of a country matches most rows of any list of them, and then only
what the room alone has (its own numbers, canaries, tokens, versions of values) shows whose it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError
from strongroom.trace.chance import log_upper_tail, share_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

Counts = npt.NDArray[np.integer]

ERROR = 1e-9

SPACES: Mapping[str, float] = {
    "phone:CN": 7e9,
    "phone:US": 8e2 * 8e2 * 1e4,
    "resident": 3_000 * 365.25 * 100 * 999,
}
"""How many identifiers of a kind there can be; of resident numbers those of a century, in about 3,000 areas."""


@dataclass(frozen=True)
class Share:
    """What share of tested rows is ours.

    Args:
        tested: Distinct rows that had something to test.
        matched: Those that the room knows.
        chance: Rate at which a foreign row would match.
        low: Lower bound of the share that is ours, 0 to 1.
        high: Upper bound; together the bounds are wrong with a chance of at most the stated error.
        log_chance: Bound on the chance, as a natural logarithm, that as many foreign rows match as did.
        shown: Whether that chance is at most the stated error: that some rows are ours.
    """

    tested: int
    matched: int
    chance: float
    low: float
    high: float
    log_chance: float
    shown: bool


@dataclass(frozen=True)
class Ours:
    """Whether a sample is ours, by rows and by columns.

    Args:
        rows: Rows of the sample.
        repeated: Rows that say the same as an earlier one; they are not counted again.
        untested: Rows without anything to test.
        by_one: Rows with at least one field that the room knows.
        by_two: Rows with at least two that belong to one person, which chance hardly ever makes.
        columns: The same for each column or table.
    """

    rows: int
    repeated: int
    untested: int
    by_one: Share
    by_two: Share
    columns: Mapping[str, Share] = field(default_factory=dict)


def density(values: int, space: float) -> float:
    """The rate at which a foreign identifier is one of the room's.

    Args:
        values: Distinct values in the room.
        space: How many identifiers there are: in all (`SPACES`), or in use.

    Raises:
        UsageError: There are fewer identifiers than values.
    """
    if values < 0 or space < max(values, 1):
        raise UsageError("the space of identifiers is smaller than what the room has")
    return values / space


def share_of(tested: int, matched: int, chance: float, *, error: float = ERROR) -> Share:
    """What share of tested values or rows is ours.

    Args:
        tested: How many were tested, each once.
        matched: How many of them the room has.
        chance: Mean rate at which a foreign one matches.
        error: Chance that a bound is wrong.

    Raises:
        UsageError: The counts or shares make no sense.
    """
    if not 0 <= matched <= tested or not 0.0 <= chance <= 1.0 or not 0.0 < error < 1.0:
        raise UsageError("counts of matches or their chances make no sense")
    low, high = share_bounds(tested, matched, error)
    log_chance = log_upper_tail(tested, matched, chance)
    shown = tested > 0 and log_chance <= np.log(error)
    if chance >= 1.0:
        return Share(tested, matched, chance, 0.0, 1.0, 0.0, shown=False)
    beyond = [min(max((bound - chance) / (1.0 - chance), 0.0), 1.0) for bound in (low, high)]
    return Share(tested, matched, chance, beyond[0], beyond[1], log_chance, shown)


def judge(
    matched: Counts,
    tested: Counts,
    chance: float,
    *,
    same: npt.NDArray[np.uint64] | None = None,
    columns: Mapping[str, tuple[int, int, float]] | None = None,
    error: float = ERROR,
) -> Ours:
    """Judge a sample by what was matched in each row.

    Args:
        matched: Fields of each row that one person of the room has, int[n]; where fields of a row point to different
            persons, the most that point to one.
        tested: Fields of each row that were looked for, int[n].
        chance: Greatest rate at which a foreign value of any of these fields matches.
        same: A number for each row, equal where rows say the same, u64[n]; none repeats if None.
        columns: For each column or table how many distinct values were tested, how many matched, and their chance.
        error: Chance that a bound is wrong, of each share.

    Raises:
        UsageError: The arrays differ in length, or counts make no sense.
    """
    matched, tested = np.asarray(matched), np.asarray(tested)
    if len(matched) != len(tested) or (same is not None and len(same) != len(tested)):
        raise UsageError("counts must be given for each row")
    if np.any(matched > tested) or np.any(matched < 0):
        raise UsageError("counts of matches or their chances make no sense")
    rows = len(tested)
    if same is not None:
        first = np.unique(np.asarray(same), return_index=True)[1]
        matched, tested = matched[first], tested[first]
    repeated = rows - len(tested)
    untested = int(np.count_nonzero(tested == 0))
    matched, tested = matched[tested > 0], tested[tested > 0]
    rows_of = np.bincount(tested.astype(np.int64, copy=False))
    fields = np.arange(len(rows_of))
    one = 1.0 - (1.0 - chance) ** fields
    # Two fields of a foreign row point to one person by chance only if the second hits that one person.
    two = np.minimum(fields * (fields - 1) / 2.0 * chance * chance, 1.0)
    levels = [
        share_of(len(tested), int(np.count_nonzero(matched >= least)), _mean(rates, rows_of), error=error)
        for least, rates in ((1, one), (2, two))
    ]
    by_column = {name: share_of(*counts, error=error) for name, counts in (columns or {}).items()}
    return Ours(rows, repeated, untested, levels[0], levels[1], by_column)


def _mean(rates: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> float:
    """The mean of rates, each of so many rows."""
    return float(min(np.average(rates, weights=rows), 1.0)) if rows.any() else 0.0
