"""Learns the check digits of a column of numbers from the numbers themselves, and makes new numbers that keep them.

A check digit is a linear equation over the digits modulo a prime: 11 (resident ids, ISBN, patient numbers), 97, 13 or
7; modulo 10 it is two, modulo 2 and 5 (EAN, tracking numbers). The equations that every number of the sample satisfies
are the null space of the digits, found by Gaussian elimination; nobody has to name the scheme. The formula of Luhn is
linear once every second digit is doubled (ISO/IEC 7812-1) and is tried beside. Verhoeff's and Damm's are not linear
and are not found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.trace.canary.numbers import digit_matrix, of_matrix

Ints = npt.NDArray[np.int64]

PRIMES = (2, 5, 7, 11, 13, 97)
_EXTRA_ROWS = 48  # equations that chance alone satisfies: at most 2^-48
_ROWS_SOLVED = 600
_WIDTH_MAX = 40
_TEN = 10
_DOUBLED = np.array([0, 2, 4, 6, 8, 1, 3, 5, 7, 9, _TEN])


@dataclass(frozen=True)
class Equations:
    """What the digits of texts of one length satisfy.

    Args:
        places: Positions of digits, i64[k].
        doubled: Which of them count doubled as Luhn has it, bool[k].
        weights: Per prime the equations, i64[equations, k + 1]; the last column is the constant.
        fix: Index into `places` of the digit that is set last.
        ten: Whether that digit may be X, for ten.
    """

    places: Ints
    doubled: npt.NDArray[np.bool_]
    weights: dict[int, Ints]
    fix: int
    ten: bool

    def kept(self, digits: Ints) -> npt.NDArray[np.bool_]:
        """Which rows of digits i64[n, k] satisfy all equations."""
        good = np.ones(len(digits), np.bool_)
        wide = np.column_stack([np.where(self.doubled, _DOUBLED[digits], digits), np.ones(len(digits), np.int64)])
        for prime, weights in self.weights.items():
            good &= ((wide @ weights.T) % prime == 0).all(axis=1)
        return good


@dataclass(frozen=True)
class Checks:
    """The equations of a column, by the length of its texts in bytes."""

    by_width: dict[int, Equations]

    def keep(self, column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
        """The texts with their check digits set, and which of them could be; null stays null and counts as kept."""
        good = np.ones(len(column), np.bool_)
        if not self.by_width:
            return column, good
        lengths = pc.binary_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
        pieces = [column]
        at = np.arange(len(column))
        size = len(column)
        for width, rule in self.by_width.items():
            rows = np.flatnonzero(lengths == width)
            if not len(rows):
                continue
            block = digit_matrix(column.take(pa.array(rows)), width)
            good[rows] = _set(block, rule)
            pieces.append(of_matrix(block))
            at[rows] = size + np.arange(len(rows))
            size += len(rows)
        return pa.concat_arrays(pieces).take(pa.array(at)), good


def _values(block: npt.NDArray[np.uint8]) -> Ints:
    """Digits as numbers, X as ten, anything else as -1."""
    table = np.full(256, -1, np.int64)
    table[48:58] = np.arange(10)
    table[[88, 120]] = _TEN
    found: Ints = table[block]
    return found


def _set(block: npt.NDArray[np.uint8], rule: Equations) -> npt.NDArray[np.bool_]:
    digits = _values(block[:, rule.places])
    good = (digits >= 0).all(axis=1) & rule.kept(np.maximum(digits, 0))
    for value in range(11 if rule.ten else 10):
        left = np.flatnonzero(~good)
        if not len(left):
            break
        trial = np.maximum(digits[left], 0)
        trial[:, rule.fix] = value
        fits = rule.kept(trial) & (np.delete(digits[left], rule.fix, axis=1) >= 0).all(axis=1)
        block[left[fits], rule.places[rule.fix]] = 88 if value == _TEN else 48 + value
        good[left[fits]] = True
    return good


def learn_checks(column: pa.Array) -> Checks:
    """The check digits of a column of texts; null is left out."""
    texts = column.drop_null().cast(pa.string())
    lengths = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    found = {}
    for width in np.unique(lengths):
        rows = np.flatnonzero(lengths == width)
        if not 0 < width <= _WIDTH_MAX or len(rows) < _EXTRA_ROWS + width:
            continue
        rule = _learn(digit_matrix(texts.take(pa.array(rows)), int(width)))
        if rule is not None:
            found[int(width)] = rule
    return Checks(found)


def _learn(block: npt.NDArray[np.uint8]) -> Equations | None:
    digits = _values(block)
    plain = (digits >= 0).all(axis=0)
    ten = (digits == _TEN).any(axis=0)
    varied = (digits != digits[0]).any(axis=0)
    places = np.flatnonzero(plain & varied & (~ten | (np.arange(len(ten)) == len(ten) - 1)))
    if len(places) < 2:
        return None
    chosen = digits[:, places]
    order = np.arange(len(places))
    for doubled in (np.zeros(len(places), np.bool_), order % 2 == 0, order % 2 == 1):
        weights = _solve(np.where(doubled, _DOUBLED[chosen], chosen), bool(doubled.any()))
        if not weights:
            continue
        used = np.any([w[:, :-1].any(axis=0) for w in weights.values()], axis=0)
        fix = int(np.flatnonzero(used)[-1])
        rule = Equations(places, doubled, weights, fix, bool(ten[places[fix]]))
        if rule.kept(chosen).all():
            return rule
    return None


def _solve(digits: Ints, luhn: bool) -> dict[int, Ints]:
    wide = np.column_stack([digits, np.ones(len(digits), np.int64)])
    found = {}
    for prime in (2, 5) if luhn else PRIMES:
        some = wide[: _ROWS_SOLVED]
        null = _null_space(some % prime, prime)
        if len(null):
            kept = ((wide @ null.T) % prime == 0).all(axis=0)
            if kept.any():
                found[prime] = null[kept]
    return {} if luhn and set(found) != {2, 5} else found


def _null_space(rows: Ints, prime: int) -> Ints:
    """All vectors that every row is orthogonal to, modulo a prime; i64[vectors, columns]."""
    matrix = rows.copy()
    columns = matrix.shape[1]
    pivots: list[int] = []
    top = 0
    for column in range(columns):
        below = np.flatnonzero(matrix[top:, column])
        if not len(below):
            continue
        row = top + int(below[0])
        matrix[[top, row]] = matrix[[row, top]]
        matrix[top] = matrix[top] * pow(int(matrix[top, column]), -1, prime) % prime
        others = matrix[:, column].copy()
        others[top] = 0
        matrix = (matrix - others[:, None] * matrix[top]) % prime
        pivots.append(column)
        top += 1
        if top == len(matrix):
            break
    free = [c for c in range(columns) if c not in pivots]
    out = np.zeros((len(free), columns), np.int64)
    for i, column in enumerate(free):
        out[i, column] = 1
        out[i, pivots] = -matrix[: len(pivots), column] % prime
    return out
