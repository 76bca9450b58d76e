"""How numbers, shares and times are shown, in English and Chinese."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0


def count(number: int) -> str:
    """1,234,567."""
    return f"{number:,}"


def share(value: float, *, up: bool = False) -> str:
    """A share of 0 to 1 in percent; a lower bound is never rounded up, an upper one (`up`) never down."""
    scaled = value * 10_000
    return f"{(math.ceil(scaled - 1e-9) if up else math.floor(scaled + 1e-9)) / 100:.2f} %"


def chance(log_chance: float) -> str:
    """A bound of a chance, given its natural logarithm: never less than it is."""
    if log_chance >= 0.0:
        return "1"
    if log_chance > math.log(0.001):
        return f"at most {math.ceil(math.exp(log_chance) * 1_000) / 1_000:.3f}"
    return f"at most 10{raised(math.ceil(log_chance / math.log(10.0) - 1e-9))}"


def tiny(value: float) -> str:
    """A small probability: 10⁻⁹, 3 · 10⁻⁵, 0.03; rounded up."""
    if value <= 0.0:
        return "0"
    if value >= 0.001:
        return f"{min(math.ceil(value * 1_000) / 1_000, 1.0):.3f}"
    power = math.floor(math.log10(value) + 1e-9)
    lead = math.ceil(value / 10.0**power - 1e-6)
    return f"10{raised(power)}" if lead == 1 else f"{lead} · 10{raised(power)}"


def raised(power: int) -> str:
    """An exponent."""
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def nats(value: float) -> str:
    """Evidence."""
    return f"{value:,.1f}"


def moment(seconds: float) -> str:
    """A time, to the second."""
    try:
        return f"{_EPOCH + timedelta(seconds=math.floor(seconds)):%Y-%m-%d %H:%M:%S} UTC"
    except OverflowError:
        return "a time that no calendar has"


def span(seconds: float) -> str:
    """How long something is."""
    for unit, name in ((DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:,.0f} seconds"


def size(number: int) -> str:
    """Bytes."""
    for power, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if number >= power:
            return f"{number / power:,.1f} {name}"
    return f"{number:,} B"


def rounded(number: int) -> str:
    """An approximate number, as notices give it: two figures, or all below 100."""
    if number < 100:
        return f"{number:,}"
    step = 10 ** (len(str(number)) - 2)
    return f"{(number + step // 2) // step * step:,}"
