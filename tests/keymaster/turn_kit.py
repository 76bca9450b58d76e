"""What tests of the turn share: a keymaster with two slots, a copy of the key store, and a walk over every wrap."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import keymaster_fixtures as kit

from strongroom.errors import IntegrityError, StrongroomError, UnavailableError
from strongroom.keymaster.create import open_keymaster
from strongroom.keymaster.database.sqlite import SqliteState
from strongroom.keymaster.database.wrapped import WRAPPED, day_context
from strongroom.keys.hierarchy import KeyRing
from strongroom.keys.keystore import KeyStore
from strongroom.keys.slot_passphrase import PassphraseKeeper
from strongroom.seal.entropy import random_bytes
from strongroom.seal.wrap import unwrap
from strongroom.store.folder import FolderStore

SECOND = "another horse"
KEEPERS = {"passphrase-1": PassphraseKeeper(kit.PASSPHRASE, kit.FAST), "spare": PassphraseKeeper(SECOND, kit.FAST)}


def with_two_slots(folder, clock=None):
    """A keymaster with people, file keys, an index, labels and two passphrase slots."""
    master = kit.make(folder, clock)
    master.slots.add("kit", "spare", KEEPERS["spare"])
    batch, sealing = kit.put(master, kit.identifiers(300))
    with_reading(master, batch, sealing)
    return master, batch, sealing


def with_reading(master, batch, sealing, count=3):
    """Read a few persons; returns their keys."""
    grant = master.begin_reading(actor="ada", purpose="bulk", reason="case")
    try:
        return master.release(grant.reading_id, kit.ask(sealing.tokens[:count], batch)).keys
    finally:
        master.end_reading(grant.reading_id)


def opens(folder, passphrase=kit.PASSPHRASE, **more):
    """Open a keymaster; its epoch, or the class of the error."""
    try:
        with open_keymaster(folder, passphrase=None if more else passphrase, **more) as master:
            return master._core.ring.epoch
    except StrongroomError as error:
        return type(error)


def wraps(state, ring):
    """Every wrapped key of the database as (column, opens under this ring alone)."""
    rows = state.read()
    alone = KeyRing(ring.room_id, ring.epoch, ring.epoch_key())
    found = []
    for column in WRAPPED:
        for some in column.rows(rows):
            for row in some:
                purpose, ident, vouched = column.of(row[:-1])
                found.append((f"{column.table}:{purpose}", _opens(alone.unwrap, purpose, ident, row[-1], vouched)))
    sql = "SELECT day, d.wrapped, d.month, m.wrapped FROM day_key d JOIN wrapped_key m ON m.purpose = 'month' AND m.id = month"
    for day, wrapped, month, month_wrapped in rows.execute(sql).fetchall():
        try:
            key = alone.unwrap("month", month, month_wrapped)[:32]
        except IntegrityError:
            found.append(("day_key", False))
        else:
            found.append(("day_key", _opens(unwrap, key, wrapped, day_context(alone, day))))
    return found


def _opens(call, *args):
    try:
        call(*args)
    except IntegrityError:
        return False
    return True


class FolderCopies:
    """Copies of the key store as plain folders: what the turn asks of them, and nothing else."""

    def __init__(self, source, *targets):
        self.source, self.targets = Path(source), [Path(t) for t in targets]
        self.away = False
        self.sampled = []

    def copies(self):
        return [SimpleNamespace(url=str(target)) for target in self.targets]

    def update_copy(self, url):
        if self.away:
            raise UnavailableError("the copy does not answer")
        import sqlite3

        target = Path(url)
        target.mkdir(exist_ok=True)
        shutil.copytree(self.source / "pages", target / "pages", dirs_exist_ok=True)
        with sqlite3.connect(self.source / "keymaster.db") as own, sqlite3.connect(target / "keymaster.db") as other:
            own.backup(other)

    def sample_copy(self, url, ring):
        if self.away:
            raise UnavailableError("the copy does not answer")
        state = SqliteState.open(Path(url) / "keymaster.db")
        keys = KeyStore(state, FolderStore(Path(url) / "pages"), ring, random_bytes, lambda: 0.0)
        try:
            for generation in keys.refresh().generations:
                keys._reader.whole(generation.pages[0])
            self.sampled.append(url)
        finally:
            state.close()
