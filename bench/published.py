"""What thieves publish of exported files: at random and not, one thief and two, with rows lost and foreign ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from bench.detection import FOREIGN, LOST, STRATEGIES
from bench.endtoend import KEPT, copy_of, kind_of

OUTSIDE_SEED = 2022
STRETCH = 1_000

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Case:
    """One way to publish.

    Args:
        name: As the table says it.
        colluders: How many put their copies together; 0 where nobody's copy is published.
        kind: Of exports; see `endtoend.kind_of`.
        how: Which rows are taken.
        lost: Share of the canaries' rows that are lost.
        foreign: Share of the rows that are somebody else's, of persons whom the room does not have.
        columns: Those that are published; all where none is named.
        part: Of the smallest sample.
        beyond: Whether the code does not promise it.
    """

    name: str
    colluders: int = 1
    kind: str = "narrow"
    how: str = "random"
    lost: float = 0.0
    foreign: float = 0.0
    columns: tuple[str, ...] = ()
    part: float = 1.0
    beyond: bool = False

    def sources(self, turn: int) -> list[int]:
        """The numbers of the exports whose copies are published."""
        own = [number for number in range(KEPT) if kind_of(number) == self.kind]
        return [own[(turn * max(1, self.colluders) + at) % len(own)] for at in range(self.colluders)]

    def wanted(self, colluders: int) -> bool | None:
        """Whether a source must be named by a code for so many colluders; None where nothing is promised."""
        if self.colluders == 0:
            return False
        return None if self.beyond or self.colluders > colluders else True


def cases() -> list[Case]:
    """All of them."""
    two = [Case(f"two, {name}", 2, how=name) for name in STRATEGIES]
    lost = [Case("one thief, 30 % of canaries lost", lost=LOST)]
    lost += [Case(f"two, {how}, 30 % of canaries lost", 2, how=how, lost=LOST) for how in ("intersection", "union")]
    mixed = [Case("one thief, 10 % foreign rows", foreign=FOREIGN)]
    mixed += [Case(f"two, {how}, 10 % foreign rows", 2, how=how, foreign=FOREIGN) for how in ("intersection", "coin")]
    return [
        Case("one thief"),
        *two,
        *lost,
        *mixed,
        Case("first rows", how="first"),
        Case("one region", how="region"),
        Case("a stretch of the file", how="stretch"),
        Case("only mobile numbers", columns=("mobile",)),
        Case("names, ids and addresses, no number", kind="wide", columns=("name", "resident_id", "address")),
        Case("parcels, three a person, in any order", kind="parcels", how="parcels"),
        Case("parcels, person by person: a third of the persons", kind="parcels", how="parcels together", beyond=True),
        Case("of a filtered export", kind="filtered"),
        Case("of an export with tokens, tokens alone", kind="tokens", columns=("person_id", "resident_id", "name")),
        Case("a third of the sample", part=1 / 3, beyond=True),
        Case("a tenth of the sample", part=0.1, beyond=True),
        Case("innocent: somebody else's list", 0, how="outside"),
        Case("innocent: the list that the room came from", 0, how="city"),
    ]


class Publisher:
    """Writes samples.

    Args:
        folder: Of the measure.
        rows: Persons of the room.
        sample: Rows of a sample.
    """

    def __init__(self, folder: Path, rows: int, sample: int) -> None:
        self._folder = folder
        self._rows = rows
        self._sample = sample
        (folder / "samples").mkdir(exist_ok=True)

    def write(self, case: Case, sources: Sequence[int], turn: int) -> Path:
        """Write one sample in CSV, its rows in an order of their own unless the order is the point."""
        rng = np.random.default_rng([turn, *case.name.encode()])
        table = self._taken(case, sources, rng)
        if case.lost:
            canary = self._canaries(table)
            table = table.filter(pa.array(~(canary & (rng.random(len(table)) < case.lost))))
        if case.how != "parcels together":  # there the rows of a person stay together
            table = table.slice(0, int(self._sample * case.part))
        if case.foreign:
            table = self._mixed(table, case.foreign, rng)
        if case.columns:
            table = table.select(list(case.columns))
        path = self._folder / "samples" / f"{case.name}-{turn}.csv".replace("/", " ")
        pv.write_csv(table, path)
        return path

    # -- which rows -----------------------------------------------------------------------------
    def _taken(self, case: Case, sources: Sequence[int], rng: np.random.Generator) -> pa.Table:
        """Rows in the order in which they are published, at least as many as the sample has where there are as many."""
        if case.how == "outside":
            return self._outside(self._sample)
        if case.how == "city":
            return self._shuffled(self._city, rng)
        if case.colluders == 2:
            return self._shuffled(self._together(case.how, sources, rng), rng)
        if case.how.startswith("parcels"):
            table = pq.read_table(copy_of(self._folder, sources[0], "deliveries"))
            return self._shuffled(table, rng) if case.how == "parcels" else table.slice(0, self._sample)
        table = pq.read_table(copy_of(self._folder, sources[0]))
        if case.how == "first":
            return table
        if case.how == "stretch":
            return table.slice(int(rng.integers(max(1, len(table) - 2 * self._sample))))
        return self._shuffled(self._region(table) if case.how == "region" else table, rng)

    def _region(self, table: pa.Table) -> pa.Table:
        """The rows of the largest district; of a small room, of so many more as the sample needs."""
        counts = table["district"].value_counts()
        order = np.argsort(-counts.field("counts").to_numpy())
        enough = int(np.searchsorted(np.cumsum(counts.field("counts").to_numpy()[order]), self._sample)) + 1
        chosen = counts.field("values").take(pa.array(order[:enough]))
        return table.filter(pc.is_in(table["district"], chosen))

    def _together(self, how: str, sources: Sequence[int], rng: np.random.Generator) -> pa.Table:
        """What two put together by one strategy: a row that both have is shown, others as the strategy has it."""
        first, second = (pq.read_table(copy_of(self._folder, number)) for number in sources)
        only = second.filter(pc.invert(pc.is_in(second["mobile"], first["mobile"].combine_chunks())))
        both = pc.is_in(first["mobile"], second["mobile"].combine_chunks()).to_numpy(zero_copy_only=False)
        every = pa.concat_tables([first, only])
        both = np.concatenate([both, np.zeros(len(only), np.bool_)])
        if how == "interleave":  # a stretch of the one copy, then a stretch of the other
            turn = np.arange(len(first)) // STRETCH % 2 == 0
            shown = np.concatenate([turn, rng.random(len(only)) < 0.5])
        else:  # of two, whoever has a row that the other lacks is neither majority nor minority: a toss decides
            shown = rng.random(len(every)) < {"intersection": 0.0, "union": 1.0}.get(how, 0.5)
        return every.filter(pa.array(both | shown))

    # -- others ---------------------------------------------------------------------------------
    @cached_property
    def _city(self) -> pa.Table:
        options = pv.ConvertOptions(
            include_columns=["name", "resident_id", "mobile"],
            column_types={"mobile": "string", "resident_id": "string", "name": "string"},
        )
        return pv.read_csv(self._folder / "city" / "persons.csv", convert_options=options)

    def _canaries(self, table: pa.Table) -> Bool:
        """Which rows are canaries': numbers that nobody of the city has."""
        known = pc.is_in(table["mobile"], self._city["mobile"].combine_chunks())
        found: Bool = ~known.to_numpy(zero_copy_only=False)
        return found

    def _outside(self, rows: int) -> pa.Table:
        """Persons whom the room does not have: numbers of the same kind, drawn otherwise."""
        from strongroom.demo.people import made_up_persons

        people = made_up_persons(rows, OUTSIDE_SEED)
        return people.select(["name", "id_number", "mobile"]).rename_columns(["name", "resident_id", "mobile"])

    def _mixed(self, table: pa.Table, share: float, rng: np.random.Generator) -> pa.Table:
        """A share of the rows in the place of which somebody else's stand."""
        count = int(len(table) * share)
        others = self._outside(count)
        columns = {
            name: others[name].combine_chunks()
            if name in others.column_names
            else table[name].combine_chunks().take(pa.array(rng.integers(0, len(table), count)))
            for name in table.column_names
        }
        mixed = pa.concat_tables([table.slice(0, len(table) - count), pa.table(columns).cast(table.schema)])
        return self._shuffled(mixed, rng)

    def _shuffled(self, table: pa.Table, rng: np.random.Generator) -> pa.Table:
        return table.take(pa.array(rng.permutation(len(table))))
