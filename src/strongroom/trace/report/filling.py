"""Facts from what the other parts of a trace give: their results in, the same without names, rows or values out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.trace.report import facts

if TYPE_CHECKING:
    from strongroom.evidence.verdict import Verdict
    from strongroom.trace import dating as dates
    from strongroom.trace import ours as matches
    from strongroom.trace.leak.base import Account
    from strongroom.trace.leak.sample import Description

BINS = 15
LOG_CHANCE_MIN = -1e9
"""Stands for the logarithm of a chance of nought, which no JSON has."""


def sample_file(account: Account) -> facts.SampleFile:
    """The account of one file."""
    return facts.SampleFile(
        name=account.source,
        sha256=account.sha256.hex(),
        bytes=account.size,
        form=account.form,
        encodings=dict(account.encodings),
        rows=account.rows,
        text_rows=account.text_rows,
        unread={why: tally.rows for why, tally in account.unread.items()},
        unread_bytes={why: tally.bytes for why, tally in account.unread.items() if tally.bytes},
        replaced_bytes=account.replaced_bytes,
    )


def sample(name: str, description: Description, *, repeated: int = 0) -> facts.Sample:
    """A sample as it was read, once it was read to its end."""
    columns: list[facts.ColumnFound] = []
    unknown: list[str] = []
    for group in description.groups:
        for column in group.columns:
            columns += [
                facts.ColumnFound(
                    file=group.source,
                    column=column.shown,
                    table=table,
                    field=field,
                    how=seen.how,
                    lookup=seen.lookup,
                    values=seen.rows,
                )
                for (table, field), seen in column.fields.items()
            ]
        columns += [
            facts.ColumnFound(file=group.source, column="plain text", table=table, field=field, how="text", values=rows)
            for (table, field), rows in group.in_text.items()
        ]
        unknown += group.unknown
    files = tuple(sample_file(account) for account in description.accounts)
    return facts.Sample(name=name, files=files, columns=tuple(columns), unknown=tuple(unknown), repeated=repeated)


def share(found: matches.Share) -> facts.Share:
    """One share with its bounds."""
    return facts.Share(
        tested=found.tested,
        matched=found.matched,
        chance=float(found.chance),
        low=float(found.low),
        high=float(found.high),
        log_chance=max(float(found.log_chance), LOG_CHANCE_MIN),
        shown=bool(found.shown),
    )


def ours(found: matches.Ours, *, error: float) -> facts.Ours:
    """Whether a sample is ours; `error` as it was given to `trace.ours.judge`."""
    columns = {name: share(one) for name, one in found.columns.items()}
    return facts.Ours(
        by_one=share(found.by_one),
        by_two=share(found.by_two),
        columns=columns,
        untested=found.untested,
        error=error,
    )


def weighing(
    verdict: Verdict, others: npt.ArrayLike, *, finds_digest: bytes = b"", finds_entry: int | None = None
) -> facts.Weighing:
    """How exports were weighed.

    Args:
        verdict: What `evidence.verdict.judge` or `weigh` gives.
        others: ln E of the exports that are not accused, in any order: only how many are where is kept.
        finds_digest: `Found.digest`.
        finds_entry: Number of the log entry that has it.
    """
    return facts.Weighing(
        ever_issued=verdict.ever_issued,
        threshold=verdict.threshold,
        epsilon=verdict.epsilon,
        judged=verdict.judged,
        canaries=verdict.found,
        nearest=verdict.nearest,
        unnamed=bins(others, verdict.threshold),
        opened=len(verdict.spent),
        finds_digest=finds_digest.hex(),
        finds_entry=finds_entry,
    )


def bins(log_es: npt.ArrayLike, threshold: float) -> tuple[facts.Bin, ...]:
    """How many exports have evidence where, below the threshold; empty bins are left out.

    Args:
        log_es: ln E of exports that are not accused.
        threshold: ln(N/ε).
    """
    values = np.asarray(log_es, np.float64).ravel()
    if not len(values):
        return ()
    edges = np.linspace(-threshold, threshold, 2 * BINS + 1)
    low = min(float(values.min()), -threshold)
    edges[-1] = max(threshold, math.nextafter(float(values.max()), math.inf))
    if low < -threshold:
        edges = np.concatenate(([low], edges))
    counts = np.histogram(values, edges)[0]
    spans = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    return tuple(facts.Bin(low=a, high=b, exports=n) for a, b, n in spans if n)


def dated(
    found: dates.Dating,
    *,
    period: tuple[float, float],
    second: float = 1.0,
    snapshots: Iterable[tuple[int, float]] = (),
) -> facts.Dating:
    """When a sample was taken.

    Args:
        found: What `trace.dating.date_rows` gives.
        period: The times that were possible, in its unit.
        second: How many of its units are one second.
        snapshots: Numbers and times (seconds since 1970) of the room's snapshots.
    """

    def spans(some: Collection[dates.Interval]) -> tuple[facts.Interval, ...]:
        return tuple(
            facts.Interval(start=i.start / second, stop=i.stop / second, support=i.support, mass=min(i.mass, 1.0))
            for i in some
        )

    return facts.Dating(
        claimed=found.claimed,
        why=found.why,
        period=facts.Interval(start=period[0] / second, stop=period[1] / second),
        rows=found.rows,
        informative=found.informative,
        empty=found.empty,
        foreign=found.foreign,
        log_e=found.log_e,
        best=spans(found.best),
        likely=spans(found.likely),
        others=spans(found.others),
        snapshots=tuple(facts.Snapshot(number=number, at=at) for number, at in snapshots),
    )
