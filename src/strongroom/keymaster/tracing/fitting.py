"""As many persons as budgets and an agreement hold, where fewer than were asked for will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from strongroom.errors import BudgetError
from strongroom.keymaster.releasing import planned
from strongroom.seal.columns import sort_entries

if TYPE_CHECKING:
    from strongroom.keymaster.behind import PersonsBehind
    from strongroom.keymaster.core import Core
    from strongroom.keymaster.ledger import Plan
    from strongroom.keys.rows import Rows
    from strongroom.purpose.budget import Limit


def fitting(core: Core, rows: Rows, limits: Sequence[Limit], persons: PersonsBehind) -> tuple[Plan, PersonsBehind]:
    """The plan that counts as many of some persons as fit, by their tokens, and those persons.

    Raises:
        BudgetError: Not one more fits; it says what is left.
    """
    try:
        return planned(core, rows, limits, persons.ordinals), persons
    except BudgetError:
        low, high = 0, len(persons.ordinals)
        while high - low > 1:
            half = (low + high) // 2
            try:
                planned(core, rows, limits, first_of(persons, half).ordinals)
                low = half
            except BudgetError:
                high = half
        if not low:
            raise
    fewer = first_of(persons, low)
    return planned(core, rows, limits, fewer.ordinals), fewer


def first_of(persons: PersonsBehind, count: int) -> PersonsBehind:
    """So many of them only, the first by token: tokens are random to whoever chose the sample."""
    if count >= len(persons.distinct):
        return persons
    kept = np.sort(sort_entries(persons.tokens)[:count])
    distinct = persons.distinct[kept]
    found = persons.found & np.isin(persons.row_ordinals, distinct)
    return replace(persons, found=found, distinct=distinct, tokens=np.ascontiguousarray(persons.tokens[kept]))
