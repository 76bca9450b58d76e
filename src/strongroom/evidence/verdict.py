"""What the canaries found in a sample prove about each export: e-values, and accusation only where they reach N/ε.

Rules:

1. The evidence against export i is E_i, the mean over fixed hypotheses h of the product, over the found canaries that
   were offered to i, of q_h/p where i holds the canary and (1 - q_h)/(1 - p) where it does not.
2. For an export that gave nothing to the sample its coins are independent of what was found. Then each factor has
   mean p q/p + (1 - p)(1 - q)/(1 - p) = 1, and E_i has mean 1: Markov's inequality gives P(E_i >= x) <= 1/x.
3. Export i is accused exactly when E_i >= N/ε, N being all exports ever issued, so that
   P(any innocent one is accused) <= ε, for any number of colluders, any strategy, any loss, any foreign rows.
4. As finds come in, in any order, E_i is a martingale for the innocent: by Ville's inequality (3) holds for the whole
   time, so that rows may be added and looked at as often as one likes.
5. Below the bound no name is told. Absent canaries are not weighed; nor are exports whose row was opened: whoever saw a
   row can plant what it holds.

Sources: J. Ville, 1939; V. Vovk and R. Wang, "E-values", Ann. Statist. 49(3), 2021; G. Tardos, 2008.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError
from strongroom.evidence.code import BIAS_ONE, Counts, Fits, Found, count_held
from strongroom.evidence.coderow import CodeRow

EPSILON = 1e-9
STRATEGIES = ("union", "interleave", "majority", "coin", "minority")
COLLUDERS_WEIGHED = (2, 3, 4, 5)
HOLDS_BEYOND_CHANCE = (0.97, 0.9, 0.75, 0.6, 0.4)  # of the finds, where foreign rows are mixed in
DOUBT = 0.001  # of each hypothesis: so that one find that contradicts it does not make it impossible

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Accused:
    """An export whose copy was published.

    Args:
        export: Its id, 16 bytes.
        log_e: ln E.
        held: How many of the finds that were offered to it are in it.
        offered: How many were offered to it.
    """

    export: bytes
    log_e: float
    held: int
    offered: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a sample proves.

    Args:
        accused: Exports that reach the bound, the strongest evidence first; empty: the sample does not say whose it is.
        epsilon: Bound of the probability that any innocent export is accused, by all finds of this sample.
        ever_issued: N.
        threshold: ln(N/ε), in nats.
        judged: How many exports were weighed.
        found: How many canaries were found.
        nearest: Greatest ln E below the threshold, of an export that is not named; None where all are accused.
        spent: Exports that were not weighed because their rows had been opened.
    """

    accused: tuple[Accused, ...]
    epsilon: float
    ever_issued: int
    threshold: float
    judged: int
    found: int
    nearest: float | None
    spent: tuple[bytes, ...] = ()

    @property
    def silent(self) -> bool:
        """Whether the evidence names nobody."""
        return not self.accused


def judge(
    rows: Iterable[CodeRow],
    sample: Found,
    *,
    ever_issued: int,
    epsilon: float = EPSILON,
    opened: Collection[bytes] = (),
    fits: Fits | None = None,
) -> Verdict:
    """Weigh a sample against exports.

    Args:
        rows: Code rows of the exports that could have been the source, of all of them or fewer.
        sample: Canaries found in it. They may be anybody's choice, made in any knowledge but that of the coins.
        ever_issued: N: all exports ever issued, also those left out of `rows`.
        epsilon: Bound of the probability that any innocent export is accused.
        opened: Exports whose rows were opened to somebody.
        fits: See `code.count_held`.

    Raises:
        UsageError: N is less than the exports given, one is given twice, or ε is not within 0 and 1.
    """
    spent: list[bytes] = []
    counts = count_held(unopened(rows, frozenset(opened), spent), sample, fits)
    return weigh(counts, len(sample), ever_issued=ever_issued, epsilon=epsilon, spent=spent)


def weigh(
    counts: Counts, finds: int, *, ever_issued: int, epsilon: float = EPSILON, spent: Collection[bytes] = ()
) -> Verdict:
    """The verdict that follows from counts: for whoever has no keys, where another counted what each export holds.

    Args:
        counts: Of each export, how many finds it was offered and holds.
        finds: How many canaries were found.
        ever_issued: N: all exports ever issued.
        epsilon: Bound of the probability that any innocent export is accused.
        spent: Exports that were not counted because their rows had been opened.

    Raises:
        UsageError: As `judge`.
    """
    threshold = _threshold(ever_issued, epsilon)
    given = len(counts.exports) + len(spent)
    if len({*counts.exports, *spent}) != given:
        raise UsageError("an export is weighed once: its code row was given twice")
    if ever_issued < given:
        raise UsageError(f"{given} code rows were given of {ever_issued} exports ever issued")
    weights = log_e(counts)
    order = np.argsort(-weights, kind="stable")
    reached = int((weights >= threshold).sum())
    held, offered = counts.held.sum(axis=1), counts.offered.sum(axis=1)
    accused = tuple(
        Accused(counts.exports[i], float(weights[i]), int(held[i]), int(offered[i])) for i in order[:reached].tolist()
    )
    nearest = float(weights[order[reached]]) if reached < len(order) else None
    judged = len(counts.exports)
    return Verdict(accused, epsilon, ever_issued, threshold, judged, finds, nearest, tuple(sorted(spent)))


def log_e(counts: Counts) -> F64:
    """Evidence of each export as ln E, f64[n]."""
    holds, lacks = _factors(counts.biases)
    weights = counts.held @ holds.T + (counts.offered - counts.held) @ lacks.T
    total: F64 = np.logaddexp.reduce(weights, axis=1) - math.log(len(holds))
    return total


def _threshold(ever_issued: int, epsilon: float) -> float:
    if ever_issued < 1 or not 0 < epsilon < 1:
        raise UsageError("evidence is weighed for at least one export, and the bound lies between 0 and 1")
    return math.log(ever_issued / epsilon)


def unopened(rows: Iterable[CodeRow], opened: frozenset[bytes], spent: list[bytes]) -> Iterable[CodeRow]:
    """The rows that were opened to nobody; ids of the others go into `spent`."""
    for row in rows:
        if row.export in opened:
            spent.append(row.export)
        else:
            yield row


@lru_cache(maxsize=64)
def _factors(biases: tuple[int, ...]) -> tuple[F64, F64]:
    """Logarithms of q/p and (1 - q)/(1 - p) of each hypothesis and bias, f64[hypotheses, biases] each."""
    chance = np.array(biases, np.float64) / BIAS_ONE
    holds = np.empty((len(HYPOTHESES), len(biases)))
    holds[:] = [[one(p) for p in chance.tolist()] for one in HYPOTHESES.values()]
    return np.log(holds / chance), np.log((1 - holds) / (1 - chance))


# -- hypotheses: how likely a source holds a canary that was found -----------------------------------------


def _published(strategy: str, colluders: int, holders: int) -> float:
    """How likely colluders publish a canary that so many of them hold."""
    if holders == colluders or strategy == "union":
        return 1.0
    twice = (2 * holders > colluders) - (2 * holders < colluders)
    return {
        "interleave": holders / colluders,  # each row from one of the copies, by chance
        "majority": (1 + twice) / 2,
        "coin": 0.5,
        "minority": (1 - twice) / 2,
    }[strategy]


def holding(strategy: str, colluders: int, p: float) -> float:
    """How likely one of several colluders holds a canary of bias p that they published."""
    shown = [
        math.comb(colluders, t) * p**t * (1 - p) ** (colluders - t) * _published(strategy, colluders, t)
        for t in range(1, colluders + 1)
    ]
    return sum(weight * t / colluders for t, weight in enumerate(shown, 1)) / sum(shown)


def _hypotheses() -> dict[str, Callable[[float], float]]:
    """Name → q(p): one thief or an intersection; five strategies of 2 to 5 colluders; a share of foreign rows."""

    def of(strategy: str, colluders: int) -> Callable[[float], float]:
        return lambda p: max(p, holding(strategy, colluders, p))

    def beyond(share: float) -> Callable[[float], float]:
        return lambda p: p + (1 - p) * share

    raw: dict[str, Callable[[float], float]] = {"all": lambda _: 1.0}
    for colluders in COLLUDERS_WEIGHED:
        raw |= {f"{name} of {colluders}": of(name, colluders) for name in STRATEGIES}
    raw |= {f"{share:.0%} beyond chance": beyond(share) for share in HOLDS_BEYOND_CHANCE}
    return {name: _doubted(one) for name, one in raw.items()}


def _doubted(one: Callable[[float], float]) -> Callable[[float], float]:
    return lambda p: (1 - DOUBT) * one(p) + DOUBT * p


HYPOTHESES = _hypotheses()
"""26 of them, weighed alike: not knowing which is true costs ln 26 = 3.3 nats."""
