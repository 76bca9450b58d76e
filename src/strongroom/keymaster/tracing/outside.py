"""Which exports cannot be the only source of a sample: those that lack somebody who is in it.

Rules it keeps:

1. A person counts who was found by two identifiers of one row, or by a token. Where no row has two, as many must be
   missing from an export as chance makes with a probability of ε over all exports. Who shares a value with others, and
   has nothing else in a row, counts for nothing: the row may be another's.
2. Left out are canaries, which no set of persons has, and whoever was erased and came back: their number is another
   one than in exports before.
3. Of a small sample nothing is said: it could be made to ask in which exports somebody is.
4. What is excluded is that the export was the *only* source: a sample put together from several, or with rows of
   somebody else who knows the same people, excludes every one of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from strongroom.evidence.verdict import EPSILON
from strongroom.keymaster.core import Core
from strongroom.keymaster.erasures.tombstones import any_buried, buried_at
from strongroom.keymaster.exports.ledger import ExportLedger
from strongroom.keymaster.seenmaps import bitmap
from strongroom.keymaster.tracing.api import EXCLUDING_PERSONS_MIN, Excluded, SampleFound

FIRST_LOOK = 4_096
"""Persons that are compared first: most exports lack one of them."""


class Outside:
    """Compares samples with the sets of persons of exports."""

    def __init__(self, core: Core, ledger: ExportLedger) -> None:
        self._core = core
        self._ledger = ledger

    def of(
        self, sample: SampleFound, real: npt.NDArray[np.bool_], exports: Sequence[bytes]
    ) -> tuple[tuple[Excluded, ...], str]:
        """Exports that cannot be the only source, and why none was looked at, or "".

        Args:
            sample: What was found.
            real: Which of its persons are no canaries, bool[n].
            exports: Ids of the exports to look at.
        """
        if sample.alone is not None:
            real = real & sample.alone
        two = bool((sample.sure & real).any())
        places = np.flatnonzero(real & sample.sure) if two else np.flatnonzero(real)
        places, ordinals = self._standing(sample, places)
        if len(places) < EXCLUDING_PERSONS_MIN:
            return (), f"fewer than {EXCLUDING_PERSONS_MIN} persons were found with certainty"
        if two:
            least = 1
        else:
            least = _beyond_chance(sample.tested, sample.chance, len(exports))
            if least > len(places):
                return (), "persons were found by one identifier only, and chance may have found as many"
        found = []
        for export in exports:
            away = _missing(ordinals, self._ledger.persons_of(export), least)
            if len(away) >= least:
                record = replace(self._ledger.record(export), where="")
                found.append(Excluded(record, int(places[away[0]]), 0 if two else len(away)))
        return tuple(found), ""

    def _standing(
        self, sample: SampleFound, places: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
        """Those places whose persons never were erased, and their numbers."""
        core = self._core
        tokens = np.ascontiguousarray(sample.persons[places])
        rows = core.state.read()
        kept = np.ones(len(places), np.bool_)
        if len(places) and any_buried(rows):
            kept &= buried_at(rows, tokens) == 0
        looked = core.keys.lookup(tokens)
        kept &= looked.found
        return places[kept], looked.ordinals[kept]


def _missing(ordinals: npt.NDArray[np.uint64], persons: BitMap64, least: int) -> npt.NDArray[np.int64]:
    """Places of numbers that a set lacks, ascending; the first alone where one is enough."""
    size = min(len(ordinals), FIRST_LOOK) if least == 1 else len(ordinals)
    for start, stop in ((0, size), (size, len(ordinals))):
        some = ordinals[start:stop]
        away = bitmap(some) - persons if len(some) else BitMap64()
        if away:
            return start + np.flatnonzero(np.isin(some, np.asarray(away.to_array(), np.uint64)))
    return np.empty(0, np.int64)


def _beyond_chance(tested: int, chance: float, exports: int) -> int:
    """How many persons chance alone finds with a probability of at most ε over all exports (Chernoff), plus one."""
    if chance >= 1.0:
        return tested + 1
    mean, allowed = tested * chance, -math.log(EPSILON / max(exports, 1))

    def beyond(count: int) -> bool:
        return mean <= 0 or count * math.log(count / mean) - count + mean >= allowed

    low, high = max(1, math.ceil(mean)), tested + 1  # it grows with the count, from the mean on
    while low < high:
        half = (low + high) // 2
        low, high = (low, half) if beyond(half) else (half + 1, high)
    return high
