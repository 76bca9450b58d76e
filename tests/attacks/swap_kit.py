"""Rooms of values of one length, so that what is swapped fits; and the hands of whoever holds bucket and file keys."""

import shutil
import sqlite3
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from attack_kit import objects

import strongroom
from strongroom.catalog.catalog import Catalog
from strongroom.catalog.leasekeys import lease_block_keys
from strongroom.index.runreader import RunReader
from strongroom.keymaster.filekeys import open_file_key
from strongroom.keymaster.leases import Leases
from strongroom.seal import blocks
from strongroom.seal.passphrase import Argon2Params
from strongroom.seal.run import RunWriter
from strongroom.store.base import object_name
from strongroom.store.open import open_store

PASSPHRASE = "correct horse battery staple"
CHEAP = Argon2Params(memory_kib=19 * 1024, passes=2, lanes=1)
FIELDS = """
person_id = { type = "string", class = "identity", nullable = false }
alias     = { type = "string", class = "identity" }
phone     = { type = "string", class = "contact", find = true }
street    = { type = "string", class = "contact" }
area      = { type = "int", class = "open" }
"""
SCHEMA = f"""
[tables.homes]
subject = "person_id"
records = "one"
[tables.homes.fields]{FIELDS}
[tables.offices]
subject = "person_id"
records = "one"
[tables.offices.fields]{FIELDS}
"""
POLICY = """
[room]
budget = { day = 1000 }
[roles.clerk]
may = ["put", "compact", "check", "log", "schema"]
put = { tables = ["homes", "offices"], budget = { day = 1000000 } }
[roles.reader]
[actors.kit]
roles = ["clerk"]
[actors.ada]
roles = ["reader"]
[purposes.work]
legal_basis = "contract"
roles = ["reader"]
verbs = ["get", "find", "sql"]
tables.homes = { identity = "plain", contact = "plain", open = "plain" }
tables.offices = { identity = "plain", contact = "plain", open = "plain" }
budget = { day = 1000 }
sql = { min_group = 2 }
"""


def record(number: int, edition: int = 0) -> dict:
    """One made-up record; every value has the same length whatever the number and edition."""
    return {
        "person_id": f"P-{number:05d}",
        "alias": f"alias {edition} of {number:05d}",
        "phone": f"x{edition}-{number:05d}",
        "street": f"street {edition} no {number:05d}",
        "area": number % 3,
    }


@dataclass
class SwapRoom:
    """A room of two tables alike."""

    folder: Path

    @property
    def bucket(self) -> Path:
        return self.folder / "bucket"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    def create(self, schema=SCHEMA) -> "SwapRoom":
        self.folder.mkdir(exist_ok=True)
        made = strongroom.create_keymaster(
            str(self.keys), passphrase=PASSPHRASE, schema=schema, policy=POLICY, argon2=CHEAP
        )
        with made as keymaster:
            strongroom.create(str(self.bucket), keys=keymaster)
        return self

    def keymaster(self):
        return strongroom.open_keymaster(str(self.keys), passphrase=PASSPHRASE)

    def put(self, table="homes", people=range(200), edition=0) -> None:
        with self.keymaster() as keys, strongroom.open(str(self.bucket), keys=keys, actor="kit") as opened:
            opened.put(table, pa.Table.from_pylist([record(n, edition) for n in people]))

    def get(self, number, table="homes") -> dict:
        with self.reading() as desk:
            return dict(desk.get(table, f"P-{number:05d}"))

    def find(self, phone, table="homes") -> list[dict]:
        with self.reading() as desk:
            return [dict(r) for r in desk.find(table, {"phone": phone})]

    def sql(self, text):
        with self.reading() as desk:
            return desk.sql(text).to_pylist()

    def faults(self):
        with self.keymaster() as keys, strongroom.open(str(self.bucket), keys=keys, actor="kit") as opened:
            return opened.check().faults

    def reading(self):
        return _Reading(self)

    def files(self, kind, table="homes") -> list[Path]:
        """Files of a kind and table, oldest first."""
        return objects(self)[kind, table]

    def copy_to(self, folder: Path) -> "SwapRoom":
        shutil.copytree(self.folder, folder)
        return SwapRoom(folder)


class _Reading:
    def __init__(self, room) -> None:
        self._room = room

    def __enter__(self):
        self._keys = self._room.keymaster()
        self._opened = strongroom.open(str(self._room.bucket), keys=self._keys, actor="ada")
        self._desk = self._opened.read(purpose="work", reason="case 1")
        return self._desk.__enter__()

    def __exit__(self, *error):
        self._desk.__exit__(*error)
        self._opened.close()
        self._keys.close()


class Insider:
    """Holds the bucket and every file key, as who compacts does, and nobody's batch key."""

    def __init__(self, room: SwapRoom) -> None:
        self.room = room

    @contextmanager
    def run(self, kind=1, table="homes", which=-1, field=None):
        """A run of a table (and indexed field) as the insider has it: keymaster, reader, file key, path."""
        with self.room.keymaster() as keys:
            lease = keys.begin_maintenance(actor="kit", verb="compact")
            block_keys = lease_block_keys(keys, lease)
            store = open_store(str(self.room.bucket))
            model = keys.schema().table(table)
            catalog = Catalog(store, keys.room_id, keys.head(), block_keys)
            entry = catalog.objects(model.id, kind, None if field is None else model.field(field).id)[which]
            reader = RunReader(store, entry, keys.room_id, block_keys)
            file_key = open_file_key(keys._core.ring, keys._core.state.read(), entry.key_id).key
            yield keys, reader, file_key, self.room.bucket / object_name(entry.object_id)
            keys.abandon(lease)

    def places(self, kind=1, table="homes", which=-1, field=None) -> list[tuple[int, int]]:
        """Offset and length of each block of a run, its tail last."""
        with self.run(kind, table, which, field) as (_keys, reader, _file_key, _path):
            tail, entry = reader.tail(), reader.entry
            return [*(tail.place(n)[:2] for n in range(entry.blocks)), (entry.tail_offset, entry.tail_length)]

    def rewrite(self, change, kind=1, table="homes", which=-1, shapes=lambda shapes: shapes, field=None) -> None:
        """Open a run, let `change` edit its list of (token, payload), and seal it again under its own key and name."""
        with self.run(kind, table, which, field) as (keys, reader, file_key, path):
            entry = reader.entry
            entries = [pair for block in reader.open_blocks(0, entry.blocks) for pair in _pairs(block)]
            entries = change(entries)
            out = []
            writer = RunWriter(file_key, keys.room_id, entry.object_id, kind, out.append)
            writer.add_sorted(*_columns(entries))
            summary = writer.finish(shapes(reader.tail().shapes))
            assert (summary.blocks, summary.tail_offset, summary.length) == (
                entry.blocks,
                entry.tail_offset,
                entry.length,
            ), "the forgery must fit, or it is found for another reason"
            path.write_bytes(b"".join(out))

    def shapes(self, kind=1, table="homes", which=-1):
        """The shape table of a run."""
        found = []
        self.rewrite(lambda entries: entries, kind, table, which, lambda shapes: found.extend(shapes) or shapes)
        return found

    def entries(self, kind=1, table="homes", which=-1, field=None):
        """The entries of a run."""
        found = []
        self.rewrite(lambda entries: found.extend(entries) or entries, kind, table, which, field=field)
        return found


def _pairs(block):
    tokens, payload, offsets = block.entries()
    data = payload.tobytes()
    return [(tokens[i].tobytes(), data[offsets[i] : offsets[i + 1]]) for i in range(len(tokens))]


def _columns(entries):
    import numpy as np

    offsets = np.zeros(len(entries) + 1, np.int64)
    np.cumsum([len(p) for _, p in entries], out=offsets[1:])
    tokens = np.frombuffer(b"".join(t for t, _ in entries), np.uint8).reshape(-1, 16)
    return tokens, np.frombuffer(b"".join(p for _, p in entries), np.uint8), offsets


def token_of(room: SwapRoom, number: int) -> bytes:
    """The stored token of a person: the test may ask, the insider knows it when the person is their own."""
    with room.keymaster() as keys:
        return keys._core.subject.one(f"P-{number:05d}".encode())


def cells_of(payload: bytes, count: int = 3) -> tuple[bytes, list[bytes]]:
    """Header and lengths, then the cells (open, identity, contact) of a record entry; all lengths are below 128 here."""
    lengths = payload[7 : 7 + count]
    assert max(lengths) < 128
    cells, at = [], 7 + count
    for length in lengths:
        cells.append(payload[at : at + length])
        at += length
    return payload[: 7 + count], cells


def everywhere(monkeypatch, original, replacement) -> None:
    """Replace a function under every name that strongroom's modules have for it."""
    found = 0
    for module in [m for name, m in sys.modules.items() if name.startswith("strongroom")]:
        for name, value in list(vars(module).items()):
            if value is original:
                monkeypatch.setattr(module, name, replacement)
                found += 1
    assert found, "nothing to switch off"


def alike(monkeypatch) -> None:
    """Switch off what tells objects apart: every file key is the same, and no object id is authenticated."""
    real, one = Leases.mint_file_key, threading.Lock()  # two collectors mint at once

    def mint(self, lease, kind, object_id, table):
        with one:
            entropy, self._core.entropy = self._core.entropy, lambda size: bytes(size) if size == 32 else entropy(size)
            try:
                return real(self, lease, kind, object_id, table)
            finally:
                self._core.entropy = entropy

    monkeypatch.setattr(Leases, "mint_file_key", mint)
    monkeypatch.setattr(blocks, "_ad", lambda room, object_id, kind: room + bytes([kind]))


def database(room: SwapRoom):
    """The keymaster's database."""
    return sqlite3.connect(room.keys / "keymaster.db")
