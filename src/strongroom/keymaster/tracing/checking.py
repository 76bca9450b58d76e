"""Refuses what a trace asks in another form than the keymaster takes; each of these raises UsageError."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from strongroom.errors import UsageError
from strongroom.keymaster.tracing.api import FIELDS_MAX, HITS_AT_ONCE_MAX, PERSONS_MAX, SampleFound
from strongroom.seal.columns import token_text
from strongroom.seal.tokens import ENTRY_BYTES

if TYPE_CHECKING:
    from strongroom.keymaster.api import Bytes2D

ROWS_MAX = 1 << 48


def check_rows(rows: Bytes2D, width: int, most: int) -> None:
    """See that rows are u8[n,width], and at most so many."""
    if rows.ndim != 2 or rows.shape[1] != width or rows.dtype != np.uint8 or len(rows) > most:
        raise UsageError(f"rows are bytes, {width} to a row, and at most {most:,} at once")


def check_entries(value_tokens: Bytes2D, entries: Bytes2D) -> None:
    """See that each index entry stands under a token."""
    check_rows(value_tokens, 16, HITS_AT_ONCE_MAX)
    check_rows(entries, ENTRY_BYTES, len(value_tokens))
    if len(entries) != len(value_tokens):
        raise UsageError("each entry stands under a token")


def check_sample(sample: SampleFound) -> None:
    """See that what was found of a sample fits together."""
    check_rows(sample.persons, 16, PERSONS_MAX)
    size = len(sample.persons)
    alone = (size,) if sample.alone is None else sample.alone.shape
    if not sample.sure.shape == sample.fields.shape == alone == (size,):
        raise UsageError("of each person stands what was found")
    if not 0 <= sample.tested <= ROWS_MAX:
        raise UsageError(f"a sample has at most {ROWS_MAX:,} rows")
    if len(sample.names) > FIELDS_MAX or len(sample.digest) != 32 or not 0.0 <= sample.chance <= 1.0:
        raise UsageError(f"a sample has at most {FIELDS_MAX} fields, a digest of 32 bytes, and a chance from 0 to 1")
    if len(set(sample.names)) != len(sample.names):  # counts of one under many names would tell persons apart
        raise UsageError("each field of a sample is named once")
    if len(np.unique(token_text(sample.persons))) != size:
        raise UsageError("each person of a sample is named once")
