"""How likely chance is to do as well: bounds that hold for every size, by Chernoff and Hoeffding.

Source: W. Hoeffding, Probability inequalities for sums of bounded random variables, 1963, theorem 1: for independent
trials with mean probability p, P(at least k of n) <= exp(-n D(k/n || p)), D the Kullback-Leibler divergence. The trials
need not have the same probability. The bound is a little larger than the true tail: it errs on the side of silence.
"""

from __future__ import annotations

import math

_STEPS = 200


def log_upper_tail(tested: int, hits: float, p: float) -> float:
    """The natural logarithm of a bound on the chance of at least so many hits.

    Args:
        tested: Independent trials.
        hits: How many of them hit, or more.
        p: Mean probability of a hit by chance.
    """
    if tested <= 0 or hits <= p * tested:
        return 0.0
    return -tested * divergence(min(hits / tested, 1.0), p)


def divergence(a: float, b: float) -> float:
    """D(a || b) of two probabilities, in nats; infinite where b says impossible and a says not."""
    total = 0.0
    for x, y in ((a, b), (1.0 - a, 1.0 - b)):
        if x > 0.0:
            if y <= 0.0:
                return math.inf
            total += x * math.log(x / y)
    return max(total, 0.0)


def share_bounds(tested: int, hits: int, error: float) -> tuple[float, float]:
    """Bounds of the true probability of a hit; each is wrong with a chance of at most error / 2.

    Args:
        tested: Independent trials.
        hits: How many of them hit.
        error: Of both bounds together.

    Returns:
        The lower and the upper bound; 0 and 1 where nothing was tested.
    """
    if tested <= 0:
        return 0.0, 1.0
    share, allowed = hits / tested, math.log(2.0 / error) / tested
    return _where(share, 0.0, share, allowed), _where(share, 1.0, share, allowed)


def _where(near: float, far: float, share: float, allowed: float) -> float:
    """The value between near and far at which the divergence reaches what is allowed, by halving."""
    for _ in range(_STEPS):
        middle = (near + far) / 2.0
        if divergence(share, middle) < allowed:
            near = middle
        else:
            far = middle
    return far
