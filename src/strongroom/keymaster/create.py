"""Make and open an embedded keymaster: a folder of its own, never inside the bucket.

    keymaster.db   state (see `tables`)        slots/   root slots
    pages/         key pages                   log/     tiles and checkpoint

The last two may lie in another store, under a URL that the database keeps. Files are 0600, folders 0700.
`create_keymaster` makes, `open_keymaster` never does.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.durable import write_new
from strongroom.errors import ConflictError, IntegrityError, UsageError
from strongroom.keymaster.core import Core
from strongroom.keymaster.database.sqlite import SqliteState
from strongroom.keymaster.database.state import State
from strongroom.keymaster.database.tables import FORMAT
from strongroom.keymaster.embedded import EmbeddedKeymaster
from strongroom.keymaster.ledger import Ledger
from strongroom.keymaster.log.catchup import shut
from strongroom.keymaster.log.journal import Journal
from strongroom.keymaster.log.publishing import Publishing
from strongroom.keymaster.log.witnessing import rule_of
from strongroom.keymaster.slotting import insert_slot
from strongroom.keymaster.standing import Standing
from strongroom.keys.hierarchy import KEY_BYTES, SUBJECT_KEY_BYTES, KeyRing, subject_keys
from strongroom.keys.keystore import KeyStore
from strongroom.keys.rows import Rows, counter
from strongroom.keys.slot_passphrase import PassphraseKeeper
from strongroom.keys.slots import Keeper, Slot, destroy_slot, make_slot, open_any
from strongroom.seal.entropy import random_bytes
from strongroom.seal.passphrase import Argon2Params
from strongroom.seal.sign import public_key
from strongroom.store.base import Store
from strongroom.store.folder import FolderStore
from strongroom.store.open import open_store, whole_url
from strongroom.store.probe import is_empty, probe

if TYPE_CHECKING:
    from strongroom.keymaster.database.postgres import PostgresState

DATABASE = "keymaster.db"
ELSEWHERE = "database.url"
FOLDERS = ("slots", "pages", "log")
FIRST_EPOCH = 1


def create_keymaster(
    folder: str | Path,
    *,
    passphrase: str | None = None,
    token: Keeper | None = None,
    schema: str,
    policy: str,
    random: Callable[[int], bytes] = random_bytes,
    clock: Callable[[], float] = time.time,
    argon2: Argon2Params | None = None,
    store: str | None = None,
    database: str | None = None,
) -> EmbeddedKeymaster:
    """Make a keymaster for a new room.

    Args:
        folder: A folder that does not exist, or is empty.
        passphrase: Opens it from now on; made into a passphrase slot if given.
        token: A token or a KMS key, made into a slot if given; at least one of the two is.
        schema: TOML text.
        policy: TOML text.
        random: Source of random bytes.
        clock: Seconds since 1970.
        argon2: Cost of the passphrase slot.
        store: URL of an empty store for key pages and log; None for the folder, where slots always are.
        database: As `postgresql://keymaster@db.example/keys`; None for a file in the folder.

    Raises:
        ConflictError: The folder, the store or the database holds something.
        UsageError: The store does not keep a promise that a keymaster relies on.
        SchemaError, PolicyError: A text says something it may not; nothing is left behind but an empty folder.
    """
    keepers = keepers_of(passphrase, token, argon2)
    if not keepers:
        raise UsageError("a keymaster needs a passphrase, a token or a KMS key")
    for keeper in keepers:
        keeper.describe(random)
    _try_texts(schema, policy, random)
    if store is not None:
        store = whole_url(store)
        try_store(store, random)
    base = empty_folder(folder)
    make_folders(base, store)
    ring = KeyRing(random(16), FIRST_EPOCH, random(KEY_BYTES))
    # the slots come first: without one nothing that follows could ever be opened
    made = [make_slot(base / "slots", f"{keeper.kind}-1", keeper, ring, clock(), random) for keeper in keepers]
    state = _new_state(base, database, list(zip(made, keepers, strict=True)))
    standing = Standing(state, ring, random)
    journal = Journal(state, ring, standing, clock, random)
    with state.write() as rows:
        rows.execute("INSERT INTO place VALUES (1, ?)", (store or "",))
        _begin(rows, ring, clock(), random)
        for slot, keeper in zip(made, keepers, strict=True):
            insert_slot(rows, slot, keeper, clock())
        kept = standing.set_schema(rows, schema)
        number, _policy = standing.set_policy(rows, policy)
        standing.refresh(rows)
        extras = {"schema": kept.number, "policy": number}
        journal.note(rows, journal.entry(rows, "create", "keymaster", extras=extras))
    return _assemble(base, state, ring, standing, journal, clock, random)


def _new_state(base: Path, database: str | None, made: list[tuple[Slot, Keeper]]) -> State:
    """The database; when it cannot be made the slots and folders go, so that the same can be tried again."""
    try:
        return SqliteState.create(base / DATABASE) if database is None else make_elsewhere(base, database)
    except BaseException:
        for slot, keeper in made:
            destroy_slot(slot, keeper)
        for path in base.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def _begin(rows: Rows, ring: KeyRing, now: float, random: Callable[[int], bytes]) -> None:
    """The room's row, its first epoch, and the keys that every room has."""
    seed = random(KEY_BYTES)
    public = public_key(seed)
    rows.execute("INSERT INTO room VALUES (1, ?, ?, ?, ?)", (ring.room_id, FORMAT, FIRST_EPOCH, public))
    rows.execute("INSERT INTO epoch VALUES (?, ?, NULL)", (FIRST_EPOCH, now))
    _keep(rows, ring, "subject", random(SUBJECT_KEY_BYTES))
    _keep(rows, ring, "signing", seed)
    _keep(rows, ring, "replay", random(KEY_BYTES))
    _keep(rows, ring, "exports", random(KEY_BYTES))
    _keep(rows, ring, "canaries", random(KEY_BYTES))
    rows.execute("INSERT INTO log_key VALUES (1, ?, 0, NULL)", (public,))


def open_keymaster(
    folder: str | Path,
    *,
    passphrase: str | None = None,
    token: Keeper | None = None,
    random: Callable[[int], bytes] = random_bytes,
    clock: Callable[[], float] = time.time,
) -> EmbeddedKeymaster:
    """Open an existing keymaster by a passphrase, or by a token or KMS key.

    Raises:
        UsageError: The folder holds no keymaster.
        KeysError: The passphrase or token does not open it.
        UnavailableError: The token is not there.
        IntegrityError: What is stored is not what was written, or was set back.
    """
    base = Path(folder)
    if not holds_keymaster(base):
        raise UsageError(f"{base} holds no keymaster", hint="create_keymaster() makes one")
    keepers = keepers_of(passphrase, token)
    if len(keepers) != 1:
        raise UsageError("a keymaster is opened by passphrase or by token")
    return _open(base, keepers[0], random, clock)


def _open(
    base: Path, keeper: Keeper, random: Callable[[int], bytes], clock: Callable[[], float]
) -> EmbeddedKeymaster:
    state = _state_of(base)
    try:
        room_id, epoch = state.read().execute("SELECT id, epoch FROM room").fetchone()
        ring = open_any(base / "slots", keeper, epoch)
        if ring.room_id != room_id or counter(state.read(), "epoch") != epoch:
            raise IntegrityError("the slot is of another room or epoch than the database")
        standing = Standing(state, ring, random)
        journal = Journal(state, ring, standing, clock, random)
        return _assemble(base, state, ring, standing, journal, clock, random)
    except BaseException:
        state.close()
        raise


def _assemble(
    base: Path,
    state: State,
    ring: KeyRing,
    standing: Standing,
    journal: Journal,
    clock: Callable[[], float],
    random: Callable[[int], bytes],
) -> EmbeddedKeymaster:
    rows = state.read()
    ring.in_force = lambda: counter(state.read(), "epoch")
    pages, log = _stores(base, rows.execute("SELECT url FROM place").fetchone()[0])
    keys = KeyStore(state, pages, ring, random, clock)
    core = Core(
        room_id=ring.room_id,
        state=state,
        ring=ring,
        keys=keys,
        standing=standing,
        journal=journal,
        ledger=Ledger(state),
        subject=subject_keys(_kept(rows, ring, "subject")),
        clock=clock,
        entropy=random,
    )
    state.guard = lambda inside: _guard(core, inside)
    standing.refresh()
    publishing = Publishing(core, log)
    publishing.check_start()
    publishing.start()
    return EmbeddedKeymaster(core, publishing, base, pages, log)


def _guard(core: Core, rows: Rows) -> None:
    """Compared first in every transaction: the epoch in force, and that nothing of the log is missing."""
    core.ring.require(counter(rows, "epoch"))
    shut(rows, core.catcher)


def holds_keymaster(folder: Path) -> bool:
    """Whether a folder holds a keymaster, or says where its database is."""
    return (folder / DATABASE).is_file() or (folder / ELSEWHERE).is_file()


def _state_of(base: Path) -> State:
    if (base / DATABASE).is_file():
        return SqliteState.open(base / DATABASE)
    from strongroom.keymaster.database.postgres import PostgresState

    return PostgresState.open((base / ELSEWHERE).read_text(encoding="utf-8").strip())


def make_elsewhere(base: Path, url: str) -> PostgresState:
    """A database on a server, and the file that names it."""
    from strongroom.keymaster.database.postgres import PostgresState

    state = PostgresState.create(url)
    write_new(base / ELSEWHERE, url + "\n")
    return state


def _stores(base: Path, url: str) -> tuple[Store, Store]:
    """Where key pages and log lie."""
    if not url:
        return FolderStore(base / FOLDERS[1]), FolderStore(base / FOLDERS[2])
    if "://" not in url or url.startswith("file://"):
        open_store(url, create=False)  # says that the folder is not there, before a part of it is made
    return open_store(f"{url}/{FOLDERS[1]}"), open_store(f"{url}/{FOLDERS[2]}")


def try_store(url: str, random: Callable[[int], bytes]) -> None:
    """Refuse a store that is in use, or that does not keep its promises, before anything is written."""
    store = open_store(url)
    try:
        if not is_empty(store):
            raise ConflictError(f"{url} is not empty", hint="a keymaster's pages and log get a store of their own")
        probe(store, random)
    finally:
        store.close()


def keepers_of(
    passphrase: str | None, token: Keeper | None, argon2: Argon2Params | None = None
) -> list[Keeper]:
    """What opens or makes a slot, from what the caller gave."""
    found: list[Keeper] = []
    if passphrase is not None:
        found.append(PassphraseKeeper(passphrase, argon2 or Argon2Params()))
    if token is not None:
        found.append(token)
    return found


def empty_folder(folder: str | Path) -> Path:
    """A keymaster's folder, made if it is absent; ConflictError if it holds something."""
    base = Path(folder)
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        base.chmod(0o700)
        if any(base.iterdir()):
            raise ConflictError(f"{base} is not empty", hint="a keymaster gets a folder of its own")
    except OSError as error:
        raise UsageError(f"{base} cannot be made a keymaster's folder: {error.strerror}") from None
    return base


def make_folders(base: Path, store: str | None) -> None:
    """The folders of a keymaster that has key pages and log in a store of their own, or here."""
    for name in FOLDERS if store is None else FOLDERS[:1]:
        (base / name).mkdir(mode=0o700, exist_ok=True)


def _try_texts(schema_text: str, policy_text: str, random: Callable[[int], bytes]) -> None:
    """Refuse texts that are wrong before anything is written."""
    from strongroom.purpose.policy import parse_policy
    from strongroom.schema.parse import parse_schema

    rule_of(parse_policy(policy_text, parse_schema(schema_text, None, random)).witnesses)


def _keep(rows: Rows, ring: KeyRing, purpose: str, secret: bytes) -> None:
    rows.execute("INSERT INTO wrapped_key VALUES (?, ?, ?)", (purpose, b"1", ring.wrap(purpose, b"1", secret)))


def _kept(rows: Rows, ring: KeyRing, purpose: str) -> bytes:
    row = rows.execute("SELECT wrapped FROM wrapped_key WHERE purpose = ? AND id = ?", (purpose, b"1")).fetchone()
    if row is None:
        raise IntegrityError(f"the keymaster's database lacks its {purpose} key")
    return ring.unwrap(purpose, b"1", row[0])
