"""Plots as SVG: evidence against its threshold, times, persons, shares; each has a title and a text that says the same.

Nothing is told by colour alone. Lengths are in a grid of 720 units' width.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence

from strongroom.trace.report import shown
from strongroom.trace.report.facts import Accused, Bin, Dating, Interval, Share, Weighing
from strongroom.trace.report.markup import Child, Node, e
from strongroom.trace.report.page import BLUE, GREY, INK, LINE, ORANGE, PAPER, RED, SHADE, SOFT

WIDTH = 720.0
NAMED_MAX = 12
BARS_MAX = 40
TICKS_MAX = 300
_LABEL_WIDTH = 36
_RANKS = {"open": GREY, "personal": BLUE, "sensitive": ORANGE}

Scale = Callable[[float], float]


def figure(name: str, title: str, text: str, height: float, shapes: Sequence[Child], caption: str = "") -> Node:
    """A drawing with its title and what it says in words.

    Args:
        name: Distinct within the page, for its ids.
        title: What is drawn.
        text: What it says, for whoever does not see it.
        height: In units of the grid.
        shapes: What is drawn.
        caption: What stands below.
    """
    svg = e(
        "svg",
        e("title", title, id=f"{name}-title"),
        e("desc", text, id=f"{name}-text"),
        shapes,
        viewBox=f"0 0 {WIDTH:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{name}-title",
        aria_describedby=f"{name}-text",
        font_family="sans-serif",
        font_size=12,
    )
    return e("figure", svg, e("figcaption", caption or title))


def _text(x: float, y: float, text: str, *, anchor: str = "start", fill: str = INK, bold: bool = False) -> Node:
    weight = "700" if bold else None
    node = e("text", text, x=x, y=y, text_anchor=anchor, fill=fill, font_weight=weight)
    for name, value in (("paint-order", "stroke"), ("stroke", PAPER), ("stroke-width", "3")):
        node.set(name, value)  # a rim, where a label crosses a line
    return node


def _line(x1: float, y1: float, x2: float, y2: float, *, stroke: str = LINE, dash: str | None = None) -> Node:
    return e("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, stroke_width=1.25, stroke_dasharray=dash)


def _box(x: float, y: float, width: float, height: float, fill: str, *, stroke: str | None = None) -> Node:
    return e("rect", x=x, y=y, width=max(width, 0.0), height=max(height, 0.0), fill=fill, stroke=stroke)


def cut(text: str, most: int = _LABEL_WIDTH) -> str:
    """A label that fits; characters of East Asia are two wide."""
    wide = 0
    for number, one in enumerate(text):
        wide += 2 if unicodedata.east_asian_width(one) in "WF" else 1
        if wide > most:
            return f"{text[: max(number - 1, 0)]}…"
    return text


# -- evidence ----------------------------------------------------------------------------------------------


def evidence(weighing: Weighing, accused: Sequence[Accused]) -> Node:
    """The evidence of each export against the threshold: the accused by name, the others as counts."""
    named = [(one.export.recipient, one.export.id, one.canaries.log_e) for one in accused if one.canaries is not None]
    lines, hidden = named[:NAMED_MAX], named[NAMED_MAX:]
    scale = _around(weighing.threshold, 20.0, WIDTH - 20.0, _reach(weighing, [log_e for _, _, log_e in named]))
    top = 24.0 + 34.0 * len(lines)
    floor = top + 120.0
    x = scale(weighing.threshold)
    shapes: list[Child] = [_axis(scale, weighing, floor)]
    shapes += _counted(weighing.unnamed, scale, floor, floor - top - 20.0)
    shapes += [
        _line(x, 14, x, floor, stroke=RED, dash="5 3"),
        _text(x - 4, 12, "named from here on", anchor="end", fill=RED),
    ]
    for number, (recipient, export, log_e) in enumerate(lines):
        y = 34.0 + 34.0 * number
        at = scale(log_e)
        points = f"{at:.1f},{y - 6:.1f} {at + 6:.1f},{y:.1f} {at:.1f},{y + 6:.1f} {at - 6:.1f},{y:.1f}"
        label = f"{cut(recipient)}, export {export[:8]}: {shown.nats(log_e)}"
        shapes += [e("polygon", points=points, fill=RED), _text(min(at + 6, WIDTH - 20), y + 19, label, anchor="end")]
    text = (
        f"{weighing.judged:,} exports were weighed. The threshold is {shown.nats(weighing.threshold)}. "
        + (f"{len(named):,} reach it. " if named else "None reaches it. ")
        + (
            ""
            if weighing.nearest is None
            else f"The strongest below it has {shown.nats(weighing.nearest)}; it is not named."
        )
    )
    caption = "Evidence of each export (ln E) against the threshold; exports below it are counted, not named."
    if hidden:
        caption += f" {len(hidden):,} further named exports stand above."
    return figure("evidence", "Evidence of each export", text, floor + 40.0, shapes, caption)


def _reach(weighing: Weighing, named: Sequence[float]) -> tuple[float, float]:
    values = [edge for one in weighing.unnamed for edge in (one.low, one.high)]
    low = min([-weighing.threshold, *values])
    return low, max([weighing.threshold * 1.5, *named])


def _around(threshold: float, left: float, right: float, reach: tuple[float, float]) -> Scale:
    """Even up to the threshold on both sides of nought, logarithmic beyond."""

    def bent(value: float) -> float:
        part = value / threshold
        return part if abs(part) <= 1.0 else math.copysign(1.0 + math.log10(abs(part)), part)

    low, high = bent(reach[0]), bent(reach[1])
    return lambda value: left + (bent(value) - low) / max(high - low, 1e-9) * (right - left)


def _axis(scale: Scale, weighing: Weighing, floor: float) -> list[Child]:
    t = weighing.threshold
    ticks: list[Child] = [_line(20, floor, WIDTH - 20, floor, stroke=INK)]
    for value in (-t * 100, -t * 10, -t, 0.0, t, t * 10, t * 100):
        x = scale(value)
        if 19.0 <= x <= WIDTH - 19.0:
            label = f"ln(N/ε) = {shown.nats(t)}" if value == t else shown.nats(value)
            anchor = "start" if x < 60 else "end" if x > WIDTH - 80 else "middle"
            ticks += [_line(x, floor, x, floor + 5, stroke=INK), _text(x, floor + 19, label, anchor=anchor, fill=SOFT)]
    return [*ticks, _text(WIDTH / 2, floor + 36, "evidence ln E, in nats", anchor="middle", fill=SOFT)]


def _counted(bins: Sequence[Bin], scale: Scale, floor: float, height: float) -> list[Child]:
    """Counts of unnamed exports, on a scale of logarithms: one export is seen beside ten thousand."""
    if not bins:
        return [_text(24, floor - 8, "no other export was weighed", fill=SOFT)]
    most = max(one.exports for one in bins)
    shapes: list[Child] = []
    for one in bins:
        tall = (math.log1p(one.exports) / math.log1p(most)) * height if one.exports else 0.0
        left, right = scale(one.low), scale(one.high)
        shapes.append(_box(left, floor - tall, max(right - left - 1.0, 1.5), tall, GREY))
    peak = max(bins, key=lambda one: one.exports)
    x = (scale(peak.low) + scale(peak.high)) / 2
    anchor = "start" if x < 80 else "end" if x > WIDTH - 80 else "middle"
    shapes.append(_text(x, floor - height - 5, f"{peak.exports:,} exports", anchor=anchor, fill=SOFT))
    return shapes


# -- times -------------------------------------------------------------------------------------------------


def times(dating: Dating) -> Node:
    """When the data was taken, on the period that was possible; a second axis where that is too narrow to be seen."""
    period = dating.period
    shapes = _time_axis(dating, period, 10.0)
    near = _near(dating)
    height = 118.0
    if near is not None:
        shapes += _time_axis(dating, near, 140.0)
        shapes.append(_text(20, 136, "the same, closer", fill=SOFT))
        height = 248.0
    spans = dating.likely if dating.claimed else ()
    said = "; ".join(f"{shown.moment(one.start)} to {shown.moment(one.stop)}" for one in spans)
    text = (
        f"Possible were {shown.moment(period.start)} to {shown.moment(period.stop)}. "
        + (f"It was taken within {said}. " if said else "No time is claimed. ")
        + (f"Of these times {len(dating.snapshots):,} snapshots are known." if dating.snapshots else "")
    )
    caption = (
        "When the data was taken. Lines: of the room's newest snapshots those that it still has. "
        "Shaded: likely times. Dark: where most rows agree."
    )
    return figure("times", "When the data was taken", text, height, shapes, caption)


def _near(dating: Dating) -> Interval | None:
    """What is shown closer: the claimed times with as much again on both sides."""
    if dating.taken is None:
        return None
    start, stop = dating.taken
    whole, part = dating.period.stop - dating.period.start, stop - start
    if part <= 0 or part > whole / 12:
        return None
    return Interval(start=start - part, stop=stop + part)


def _time_axis(dating: Dating, view: Interval, top: float) -> list[Child]:
    left, right, middle = 20.0, WIDTH - 20.0, top + 40.0
    length = max(view.stop - view.start, 1e-9)

    def at(time: float) -> float:
        return left + min(max((time - view.start) / length, 0.0), 1.0) * (right - left)

    def band(one: Interval, fill: str, y: float, tall: float) -> Node:
        return _box(at(one.start), y, max(at(one.stop) - at(one.start), 2.0), tall, fill)

    seen = [one for one in dating.snapshots if view.start <= one.at <= view.stop]
    step = max(1, math.ceil(len(seen) / TICKS_MAX))
    shapes: list[Child] = [_box(left, middle - 16, right - left, 32, SHADE)]
    if dating.claimed:
        shapes += [band(one, "#9cc2e8", middle - 16, 32) for one in dating.likely]
        shapes += [band(one, BLUE, middle - 16, 32) for one in dating.best]
        shapes += [band(one, ORANGE, middle - 16, 32) for one in dating.others]
    shapes += [_line(at(one.at), middle + 16, at(one.at), middle + 26, stroke=SOFT) for one in seen[::step]]
    shapes.append(_line(left, middle + 16, right, middle + 16, stroke=INK))
    shapes.append(_text(left, middle + 42, shown.moment(view.start), fill=SOFT))
    shapes.append(_text(right, middle + 42, shown.moment(view.stop), anchor="end", fill=SOFT))
    return shapes


# -- persons and shares ------------------------------------------------------------------------------------


def bars(name: str, title: str, rows: Sequence[tuple[str, str, int]]) -> Node:
    """Numbers of persons: (label, rank, persons); the rank is in the label too where it matters."""
    some = rows[:BARS_MAX]
    most = max([persons for _, _, persons in some] or [1]) or 1
    shapes: list[Child] = []
    for number, (label, rank, persons) in enumerate(some):
        y = 8.0 + 26.0 * number
        wide = persons / most * 330.0
        shapes.append(_text(250, y + 14, cut(label), anchor="end"))
        shapes.append(_box(260, y, wide, 18, _RANKS.get(rank, BLUE)))
        shapes.append(_text(266 + wide, y + 14, f"{persons:,}"))
    text = "; ".join(f"{label}: {persons:,}" for label, _, persons in some)
    return figure(name, title, text, 16.0 + 26.0 * len(some), shapes)


def shares(rows: Sequence[tuple[str, Share]]) -> Node:
    """What share is ours: from the lower to the upper bound, and the rate at which foreign values would match."""
    some = rows[:BARS_MAX]
    shapes: list[Child] = []
    said: list[str] = []
    for number, (label, one) in enumerate(some):
        y = 8.0 + 30.0 * number
        left, right = (260.0 + 360.0 * bound for bound in (one.low, one.high))
        shapes.append(_text(250, y + 14, cut(label), anchor="end"))
        shapes.append(_box(260, y, 360, 18, SHADE, stroke=LINE))
        if one.shown:
            shapes.append(_box(left, y, max(right - left, 2.0), 18, BLUE))
        value = f"{shown.share(one.low)} to {shown.share(one.high, up=True)}" if one.shown else "not shown"
        shapes.append(_text(712, y + 14, "" if not one.tested else f"{one.tested:,}", anchor="end", fill=SOFT))
        said.append(f"{label}: {value} of {one.tested:,}")
    floor = 8.0 + 30.0 * len(some)
    for part, label in ((0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")):
        shapes.append(_text(260 + 360 * part, floor + 12, label, anchor="middle", fill=SOFT))
    shapes.append(_text(712, floor + 12, "tested", anchor="end", fill=SOFT))
    caption = (
        "The share that is ours, from its lower to its upper bound; nothing where chance may explain what matches."
    )
    return figure("shares", "What share is ours", "; ".join(said), floor + 20.0, shapes, caption)
