"""Resident ids and mobile numbers of people who do not exist, formed by the rules that real ones follow.

Resident id (GB 11643-1999): area of six digits, birth date of eight, serial of three (odd for men), check
character (ISO 7064 MOD 11-2). Mobile numbers have a prefix that is in use. A number may by chance be somebody's.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strongroom.demo.columns import Digits, Ints, ascii_table, digits, distinct, strings
from strongroom.demo.places import YEAR_MAX, YEAR_MIN

EPOCH = np.datetime64(f"{YEAR_MIN}-01-01", "D")
DAYS = int((np.datetime64(f"{YEAR_MAX + 1}-01-01", "D") - EPOCH).astype(np.int64))
SERIALS = 999

_WEIGHTS = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])
_CHECK = np.frombuffer(b"10X98765432", np.uint8)

MOBILE_PREFIXES = tuple(
    [f"13{d}" for d in range(10)] + [f"15{d}" for d in "012356789"] + [f"18{d}" for d in range(10)]
    + ["145", "147", "162", "165", "166", "167", "170", "171", "172", "173", "175", "176", "177", "178"]
)  # fmt: skip
# 41 x 10^8 numbers are below 2^32, which `distinct` needs.
_MOBILE_SPACE = 41 * 10**8


@cache
def _days() -> npt.NDArray[np.datetime64]:
    return EPOCH + np.arange(DAYS)


@cache
def iso_days() -> Digits:
    """Every day as ASCII, 2001-02-03: u8[DAYS, 10]."""
    return ascii_table([str(day) for day in _days()])


@cache
def years() -> Ints:
    """Year of every day: i64[DAYS]."""
    return _days().astype("datetime64[Y]").astype(np.int64) + 1970


def resident_ids(area: Ints, day: Ints, serial: Ints) -> pa.Array:
    """Ids with their check characters.

    Args:
        area: Six digits, i64[n].
        day: Days since EPOCH, i64[n].
        serial: 1 to 999, odd for men, i64[n].
    """
    day_digits = iso_days()[:, [0, 1, 2, 3, 5, 6, 8, 9]]
    serial_digits = digits(np.arange(SERIALS + 1), 3)
    day_sum = (day_digits.astype(np.int64) - 48) @ _WEIGHTS[6:14]
    serial_sum = (serial_digits.astype(np.int64) - 48) @ _WEIGHTS[14:]
    codes, which = np.unique(area, return_inverse=True)
    code_digits = digits(codes, 6)
    code_sum = (code_digits.astype(np.int64) - 48) @ _WEIGHTS[:6]
    out = np.empty((len(area), 18), np.uint8)
    out[:, :6] = code_digits[which]
    out[:, 6:14] = day_digits[day]
    out[:, 14:17] = serial_digits[serial]
    out[:, 17] = _CHECK[(code_sum[which] + day_sum[day] + serial_sum[serial]) % 11]
    return strings(out)


def mobile_numbers(start: int, n: int, seed: int) -> pa.Array:
    """The start-th and following mobile numbers of a fixed disorder: no two are equal, up to 4.1 billion."""
    number = distinct(start, n, _MOBILE_SPACE, seed)
    four = digits(np.arange(10_000), 4)
    out = np.empty((n, 11), np.uint8)
    out[:, :3] = ascii_table(MOBILE_PREFIXES)[number // 10**8]
    out[:, 3:7] = four[number // 10**4 % 10**4]
    out[:, 7:] = four[number % 10**4]
    return strings(out)


def days(rng: np.random.Generator, first: str, last: str, n: int) -> pa.Array:
    """A day per row from `first` to `last` (each as 2001-02-03), as 2001-02-03."""
    table = _days_between(first, last)
    return strings(table[rng.integers(0, len(table), n)])


def _days_between(first: str, last: str) -> Digits:
    return ascii_table([str(day) for day in np.arange(np.datetime64(first), np.datetime64(last) + 1)])


def moments(rng: np.random.Generator, first: str, last: str, n: int) -> pa.Array:
    """A moment per row between two days (each as 2001-02-03, both possible), as 2001-02-03 04:05:06."""
    table = _days_between(first, last)
    day = rng.integers(0, len(table), n)
    second = np.minimum(np.abs(rng.normal(14 * 3600, 4 * 3600, n)), 86_399).astype(np.int64)
    two = digits(np.arange(60), 2)
    out = np.empty((n, 19), np.uint8)
    out[:, :10] = table[day]
    out[:, 10], out[:, 13], out[:, 16] = b" ::"
    for at, value in ((11, second // 3600), (14, second // 60 % 60), (17, second % 60)):
        out[:, at : at + 2] = two[value]
    return strings(out)
