"""What a classifier sees of the city's persons and records: every column and join, as numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TABLES = ("persons", "deliveries", "police_reports", "criminal_cases")
GRAMS = 64


def codes(column: pa.ChunkedArray) -> np.ndarray:
    """A number per distinct value."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def often(column: pa.ChunkedArray) -> np.ndarray:
    """How often each row's value stands in the column."""
    number = codes(column)
    return np.bincount(number + 1)[number + 1]


def gaps(values: np.ndarray) -> list[np.ndarray]:
    """Rank of each number, and how far its neighbours in sort order are."""
    order = np.argsort(values, kind="stable")
    step = np.diff(values[order].astype(float))
    below, above, rank = (np.empty(len(values)) for _ in range(3))
    below[order], above[order] = np.append(np.nan, step), np.append(step, np.nan)
    rank[order] = np.arange(len(values))
    return [rank, np.log1p(below), np.log1p(above)]


def in_order(number: np.ndarray, moment: pa.ChunkedArray) -> list[np.ndarray]:
    """How far numbers are from where their dates would have them, and the dates of their neighbours in number."""
    ticks = moment.cast(pa.timestamp("us")).cast(pa.int64()).fill_null(-1).to_numpy()
    low, high = (np.searchsorted(np.sort(ticks), ticks, side=side) for side in ("left", "right"))
    order = np.argsort(number, kind="stable")
    rank, below, above = (np.empty(len(number)) for _ in range(3))
    rank[order] = np.arange(len(number))
    step = np.diff(ticks[order].astype(float))
    below[order], above[order] = np.append(np.nan, step), np.append(step, np.nan)
    signed = [np.sign(x) * np.log1p(np.abs(x)) for x in (below, above)]
    return [rank - (low + high - 1) / 2, np.maximum(0, np.maximum(low - rank, rank - high + 1)), *signed]


def number(column: pa.ChunkedArray, start: int, stop: int) -> np.ndarray:
    """The digits at some places as a number; what is no digit is left out."""
    part = pc.replace_substring_regex(pc.utf8_slice_codeunits(column, start, stop), "[^0-9]", "")
    return pc.if_else(pc.equal(part, ""), "0", part).cast(pa.int64()).to_numpy().astype(float)


def grams(column: pa.ChunkedArray) -> list[np.ndarray]:
    """Hashed pairs and triples of characters."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(analyzer="char", ngram_range=(2, 3), n_features=GRAMS, norm=None, alternate_sign=False)
    block = hashing.transform([t or "" for t in column.to_pylist()]).toarray().astype(np.float32)
    return list(block.T)


def same(left: pa.ChunkedArray, right: pa.ChunkedArray) -> np.ndarray:
    """Where two columns are equal."""
    return pc.equal(left, right).fill_null(False).to_numpy().astype(float)


def holds(text: pa.ChunkedArray, part: pa.ChunkedArray) -> np.ndarray:
    """Where a text begins with or has another in it."""
    pairs = zip(text.to_pylist(), part.to_pylist(), strict=True)
    return np.array([a is not None and b is not None and b in a for a, b in pairs], float)


def moments(column: pa.ChunkedArray) -> list[np.ndarray]:
    """Parts of a moment or date."""
    value = column.cast(pa.timestamp("us"))
    parts = [pc.year(value), pc.month(value), pc.day(value), pc.day_of_week(value), pc.hour(value), pc.second(value)]
    out = [p.fill_null(-1).to_numpy().astype(float) for p in parts]
    ticks = value.cast(pa.int64()).fill_null(-1).to_numpy()
    return [*out, *gaps(ticks), often(column).astype(float)]


def persons_own(rows: pa.Table, *, tokens: bool) -> list[np.ndarray]:
    """Columns of persons and their agreements."""
    ids, address, mobile, name = (rows[c] for c in ("resident_id", "address", "mobile", "name"))
    born = pc.strftime(rows["birth_date"], "%Y%m%d")
    serial = number(ids, 14, 17)
    female = pc.equal(rows["sex"], "女").to_numpy().astype(float)
    town = pc.utf8_slice_codeunits(pc.replace_substring_regex(address, "[0-9].*$", ""), 0)
    tail = pc.replace_substring_regex(address, "^[^0-9]*", "")
    estate = pc.replace_substring_regex(tail, "^[0-9]+号", "")
    rooms = pc.replace_substring_regex(estate, "^[^0-9]*", "")
    columns = [codes(rows[c]).astype(float) for c in ("sex", "education", "ethnicity", "district", "birth_decade")]
    columns += moments(rows["birth_date"])
    columns += [number(ids, a, b) for a, b in ((0, 2), (0, 4), (0, 6), (6, 10), (14, 17), (14, 15), (16, 17))]
    columns += [codes(pc.utf8_slice_codeunits(ids, 17)), often(ids), often(pc.utf8_slice_codeunits(ids, 0, 6))]
    columns += [same(pc.utf8_slice_codeunits(ids, 6, 14), born), (serial % 2 == 0) == female]
    columns += [same(pc.multiply(pc.divide(pc.year(rows["birth_date"]), 10), 10), rows["birth_decade"])]
    columns += [number(mobile, 0, 3), number(mobile, 0, 7), number(mobile, 7, 11), often(mobile)]
    columns += gaps(number(mobile, 0, 11)) + gaps(number(ids, 0, 17)) + gaps(number(ids, 6, 17))
    columns += [pc.utf8_length(c).to_numpy() for c in (name, address)]
    cuts = [pc.utf8_slice_codeunits(name, *at) for at in ((0, 1), (1,), (-1,))]
    for cut in (name, *cuts, address, town, tail, estate, rooms, pc.utf8_slice_codeunits(address, 0, 9)):
        columns += [often(cut), codes(cut) % 255]
    columns += [holds(address, rows["district"]), number(tail, 0, 3)]
    area, year = pc.utf8_slice_codeunits(ids, 0, 6), pc.utf8_slice_codeunits(ids, 6, 10)
    given, family = cuts[1], cuts[0]
    pairs = [(area, year), (area, rows["ethnicity"]), (year, rows["ethnicity"]), (given, rows["sex"]), (given, year)]
    pairs += [(family, town), (town, year), (rows["district"], rows["education"]), (year, rows["education"])]
    columns += [often(pc.binary_join_element_wise(*pair, "|")) for pair in pairs]
    if not tokens:
        columns += gaps(number(rows["person_id"], 2, 12))
    return [np.asarray(c, np.float32) for c in columns]


def deliveries_own(rows: pa.Table, person: np.ndarray, persons: pa.Table) -> list[np.ndarray]:
    """Columns of parcels and what joins them to their person."""
    at = pa.array(person)
    mobile, address = (persons[c].take(at) for c in ("mobile", "address"))
    sent, to = rows["tracking_no"], rows["recipient_mobile"]
    known = pc.is_in(to, persons["mobile"].combine_chunks()).to_numpy().astype(float)
    where = rows["recipient_address"]
    columns = [codes(rows["courier"]), codes(pc.utf8_slice_codeunits(sent, 0, 2)), codes(rows["goods"])]
    columns += [often(rows["goods"])]
    columns += [number(sent, a, b) for a, b in ((2, 4), (2, 8), (8, 12), (12, 15))] + gaps(number(sent, 2, 15))
    columns += [number(sent, 2, 15) % 211, often(sent), often(to), known, often(where)]
    starts = [pc.utf8_slice_codeunits(place, 0, 9) for place in (where, address)]
    columns += [same(to, mobile), same(where, address), same(*starts)]
    tail = pc.replace_substring_regex(where, "^[^0-9]*", "")
    columns += [often(pc.replace_substring_regex(where, "[0-9].*$", "")), often(tail), number(tail, 0, 3)]
    columns += moments(rows["sent_at"])
    return [np.asarray(c, np.float32) for c in columns]


def reports_own(rows: pa.Table, person: np.ndarray, persons: pa.Table) -> list[np.ndarray]:
    """Columns of police reports and what joins them to their person."""
    at = pa.array(person)
    text, number_of = rows["text"], rows["report_no"]
    year = pc.year(rows["reported_at"]).to_numpy()
    shape = pc.replace_substring_regex(text, "[0-9]+", "0")
    sums = pc.replace_substring_regex(pc.replace_substring_regex(text, "^.*约", ""), "[^0-9].*$", "")
    columns = [codes(rows["role"]), codes(rows["station"]), number(number_of, 1, 5) == year, often(shape), often(text)]
    columns += [number(number_of, 5, 9), number(number_of, 9, 14), often(number_of), number(sums, 0, 9), often(sums)]
    columns += [*gaps(number(number_of, 1, 14)), codes(shape), pc.utf8_length(text).to_numpy()]
    columns += [holds(rows["station"], persons["district"].take(at)), holds(text, persons["mobile"].take(at))]
    columns += moments(rows["reported_at"])
    columns += [often(pc.utf8_slice_codeunits(number_of, 5)), *in_order(number(number_of, 1, 14), rows["reported_at"])]
    return [np.asarray(c, np.float32) for c in columns]


def cases_own(rows: pa.Table, person: np.ndarray, persons: pa.Table) -> list[np.ndarray]:
    """Columns of criminal cases and what joins them to their person."""
    at = pa.array(person)
    year = pc.year(rows["opened_on"]).to_numpy()
    born = pc.year(persons["birth_date"].take(at)).to_numpy()
    columns = [codes(rows[c]) for c in ("charge", "status", "court")]
    columns += [number(rows["case_no"], 1, 5) == year, often(rows["case_no"]), year - born, born]
    columns += gaps(number(rows["case_no"], 11, 17)) + moments(rows["opened_on"])
    columns += [holds(rows["court"], persons["district"].take(at))]
    whole = number(rows["case_no"], 1, 5) * 10**6 + number(rows["case_no"], 11, 17)
    columns += [often(pc.utf8_slice_codeunits(rows["case_no"], 11)), *in_order(whole, rows["opened_on"])]
    return [np.asarray(c, np.float32) for c in columns]


GRAMMED = {"persons": ("name", "address"), "deliveries": ("recipient_address", "goods"), "police_reports": ("text",)}


def grams_of(rows: pa.Table, name: str, chosen: np.ndarray) -> list[np.ndarray]:
    """Hashed n-grams of the texts of some rows of a table."""
    some = rows.take(pa.array(chosen))
    return [column for field in GRAMMED.get(name, ()) for column in grams(some[field])]


def features_of(tables: Mapping[str, pa.Table], *, tokens: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By table the features of its rows and each row's person; of persons with means over all their records."""
    persons = tables["persons"]
    index = persons["person_id"].combine_chunks()
    own = persons_own(persons, tokens=tokens)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    joined = list(own)
    base = np.column_stack(own[:40])
    makers = {"deliveries": deliveries_own, "police_reports": reports_own, "criminal_cases": cases_own}
    for name, maker in makers.items():
        if name not in tables:
            continue
        person = pc.index_in(tables[name]["person_id"], index).to_numpy()
        columns = maker(tables[name], person, persons)
        count = np.bincount(person, minlength=len(persons)).astype(np.float32)
        joined.append(count)
        for column in columns:
            clean = np.nan_to_num(column)
            total = np.bincount(person, clean, len(persons))
            joined.append(np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32))
            squares = np.bincount(person, clean * clean, len(persons)) / np.maximum(count, 1)
            spread = np.sqrt(np.maximum(0, squares - (total / np.maximum(count, 1)) ** 2))
            joined.append(np.where(count > 1, spread, np.nan).astype(np.float32))
        found[name] = (np.column_stack([*columns, count[person], base[person]]), person)
    return {"persons": (np.column_stack(joined), np.arange(len(persons))), **found}
