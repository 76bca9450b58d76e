"""Exports through a room's server: what they ask for, what their files hold, and a room whose rows are large."""

import csv
import json

import msgspec
import pyarrow.parquet as pq
from small_room import person

import strongroom.trace.exporting.export as exporting
from strongroom.identity import asked
from strongroom.identity.signing import sign_request

EXTRACT = {"recipient": "uni-north", "purpose": "extract", "reason": "study 9", "persons": 300}
SHOWN = {**EXTRACT, "purpose": "shown"}
CODED = {**EXTRACT, "purpose": "coded"}
FIELDS = ("person_id", "name", "id_number", "mobile", "address", "sex", "birth_year")
DAY = "exports/actor/ana/purpose/extract/day"


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{**row, "birth_year": int(row["birth_year"])} if "birth_year" in row else row for row in rows]


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


READERS = {"csv": read_csv, "jsonl": read_lines, "parquet": lambda path: pq.read_table(path).to_pylist()}


def people(count=300):
    """What an extract of everybody holds."""
    return [{name: person(n)[name] for name in FIELDS} for n in range(count)]


def by_id(rows):
    return sorted(rows, key=lambda row: row["person_id"])


def said(tables=("persons",), form="csv", **more):
    """A request for an extract, as it is signed."""
    return asked.Export(**{**EXTRACT, "tables": list(tables), "format": form, **more})


def signed(api, credential, body, verb="export", nonce=b"n" * 16, now=0):
    """The path, body and headers of a request."""
    path, data = asked.path_of(api.keys.room_id, verb), body if isinstance(body, bytes) else msgspec.json.encode(body)
    created = now or int(api.keys.keymaster._core.clock())
    headers = sign_request(
        credential.seed, credential.id, "POST", path, data, created=created, expires=created + 60, nonce=nonce
    )
    return path, data, headers


class Large:
    """Makes every row of an export 1 MiB, and counts what was written of them."""

    ROW = b"x" * (1 << 20)

    def __init__(self, monkeypatch):
        self.written = 0
        monkeypatch.setattr(exporting, "open_writer", lambda _word, file, _schema: self._of(file))

    def _of(self, file):
        return _LargeRows(self, file)


class _LargeRows:
    def __init__(self, large, file):
        self._large, self._file = large, file

    def write(self, batch):
        for _ in range(len(batch)):
            self._file.write(Large.ROW)
            self._large.written += len(Large.ROW)

    def close(self):
        """Nothing."""
