"""Bring a keymaster home from a copy, into an empty folder.

Rules it keeps:

1. Nothing is believed that a slot of the copy does not vouch for: the slot gives the epoch key, that opens the key of
   the database, and the database names the pages.
2. The database is put in its place last: a folder without one holds no keymaster, and a restore cut short leaves such a
   folder; what it made is taken away again where that can be done.
3. What happened since the copy is not known here. What came home does nothing until its room is opened with it: the
   room knows how far the log had come, and the keymaster catches up from there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strongroom.errors import IntegrityError, UsageError
from strongroom.keymaster.create import (
    DATABASE,
    FOLDERS,
    empty_folder,
    keepers_of,
    make_elsewhere,
    make_folders,
    try_store,
)
from strongroom.keymaster.database.sqlite import Cut
from strongroom.keymaster.keycopies import Manifest, copy_object, fetch_database, read_manifest
from strongroom.keys.slots import SLOT_FILE_BYTES_MAX, Keeper, open_any
from strongroom.seal.entropy import random_bytes
from strongroom.store.base import Store
from strongroom.store.open import open_store, whole_url

_SLOT = re.compile(r"slots/([a-z0-9-]{1,40}(?:\.e[0-9]{1,9})?\.json)")


@dataclass(frozen=True)
class RestoredKeys:
    """What came home: the first entry of the log that it lacks, its epoch, and how many objects of key pages."""

    leaf: int
    epoch: int
    pages: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def restore_keymaster(
    folder: str | Path,
    *,
    source: str,
    passphrase: str | None = None,
    token: Keeper | None = None,
    store: str | None = None,
    database: str | None = None,
    random: Callable[[int], bytes] = random_bytes,
) -> RestoredKeys:
    """Make a keymaster's folder from a copy; `open_keymaster` opens it afterwards, by the same passphrase or token.

    Args:
        folder: A folder that does not exist, or is empty.
        source: Folder or URL of the copy.
        passphrase: Of one of its slots.
        token: Of one of its slots.
        store: URL of an empty store for key pages and log; None for the folder.
        database: As `postgresql://keymaster@db.example/keys`; None for a file in the folder.
        random: Source of random bytes.

    Raises:
        ConflictError: The folder, or the store, holds something.
        NotFoundError: There is no copy at the source.
        KeysError: The passphrase or token opens none of its slots.
        IntegrityError: Something of the copy is missing or was changed.
    """
    keepers = keepers_of(passphrase, token)
    if len(keepers) != 1:
        raise UsageError("a copy of a keymaster is opened by passphrase or by token")
    if store is not None:
        store = whole_url(store)
        try_store(store, random)
    with contextlib.closing(open_store(source, create=False)) as there:
        manifest = read_manifest(there)
        base = empty_folder(folder)
        try:
            return _bring(there, manifest, base, keepers[0], store, database)
        except BaseException:
            for path in base.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise


def _bring(
    there: Store, manifest: Manifest, base: Path, keeper: Keeper, store: str | None, database_url: str | None
) -> RestoredKeys:
    make_folders(base, store)
    _bring_slots(there, base / FOLDERS[0])
    ring = open_any(base / FOLDERS[0], keeper, manifest.epoch)
    path = base / f"{DATABASE}.new"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(fetch_database(there, manifest, ring, path)) as database:
        names = _settle(database, store or "")
        leaf = database.execute("SELECT max(number) FROM leaf").fetchone()[0] + 1
        if database_url is not None:
            with contextlib.closing(make_elsewhere(base, database_url)) as state:
                state.fill(database)
    root = str(base) if store is None else store
    pages, log = open_store(f"{root}/{FOLDERS[1]}"), open_store(f"{root}/{FOLDERS[2]}")
    with contextlib.closing(pages), contextlib.closing(log):
        for name in names:
            copy_object(there, f"pages/{name}", pages, name)
        for name, _ in list(there.list("log/keys/")):
            copy_object(there, name, log, name.removeprefix("log/"))
    if database_url is None:
        path.rename(base / DATABASE)
    else:
        path.unlink()
    handle = os.open(base, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return RestoredKeys(leaf, manifest.epoch, len(names))


def _bring_slots(there: Store, folder: Path) -> None:
    for name, size in list(there.list("slots/")):
        found = _SLOT.fullmatch(name)
        if found is None or size > SLOT_FILE_BYTES_MAX:
            raise IntegrityError(f"{name} in the copy of the keymaster is no slot")
        handle = os.open(folder / found[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(there.get(name))
            file.flush()
            os.fsync(file.fileno())


def _settle(database: Cut, store: str) -> list[str]:
    """Give the database its new place and its mode; returns the page objects it names."""
    if database.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        raise IntegrityError("the database in the copy of the keymaster is damaged")
    database.execute("UPDATE place SET url = ?", (store,))
    database.execute("UPDATE counter SET value = 1 WHERE name = 'behind' AND value = 0")
    database.execute("DELETE FROM credential WHERE identity != ''")  # sessions: whoever signed out since stays out
    database.execute("PRAGMA journal_mode=WAL")
    names = [row[0] for row in database.execute("SELECT DISTINCT object FROM page ORDER BY object").fetchall()]
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return names
