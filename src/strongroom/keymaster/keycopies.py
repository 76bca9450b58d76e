"""Copies of the keymaster elsewhere: its database sealed, its key pages and its slots as they are.

    manifest            what the copy is: room, epoch, entries, and the wrapped key of the database
    database/<id>       the database, in pieces under a key of its own, which the epoch key wraps
    pages/…             key pages, by the names the database gives them
    slots/…             the slots of the epoch in force: each opens with its passphrase or token alone
    log/keys/…          the proofs that lead from one signing key to the next

Rules it keeps:

1. A consistent cut: the database is taken first, then the pages it names; a page that went meanwhile means a new cut.
   The manifest is replaced last, so that a copy cut short is the older one still.
2. What the newest cut does not name is removed: pages of before an erasure, slots of before a turn, older databases.
3. Cost follows the change: pages are copied once. The database goes whole.
4. The log does not go along: it is made again from the database's entries.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from strongroom.errors import ConflictError, IntegrityError, NotFoundError, UnavailableError
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.database.sqlite import Cut, open_cut
from strongroom.keys.hierarchy import KEY_BYTES, KeyRing
from strongroom.keys.pagetable import Page
from strongroom.keys.reader import PageReader
from strongroom.keys.rows import Rows
from strongroom.keys.slots import slots_of
from strongroom.seal.blocks import TAG_BYTES, block_key, open_block, seal_block
from strongroom.store.base import PIECE_BYTES, in_pieces
from strongroom.store.open import open_store, whole_url

if TYPE_CHECKING:
    from strongroom.keymaster.slotting import Slots
    from strongroom.store.base import Store

KIND_DATABASE = 0x30
MANIFEST = "manifest"
MANIFEST_BYTES_MAX = 1 << 16
SAMPLE_PAGES = 8
CUTS_MAX = 8
DAY_SECONDS = 24 * 3600.0
_FORMAT = 1


@dataclass(frozen=True)
class KeyCopy:
    """One registered copy as it was last made. `leaf` is the first entry of the log that it lacks; `made` seconds."""

    url: str
    leaf: int
    epoch: int
    pages: int
    bytes: int
    made: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Manifest:
    """What a copy says of itself; `wrapped` opens only beside the very leaf, length and hash it was made with."""

    room: bytes
    epoch: int
    leaf: int
    object: bytes
    length: int
    sha256: bytes
    wrapped: bytes

    def to_bytes(self) -> bytes:
        """As it is stored."""
        said = {k: v.hex() if isinstance(v, bytes) else v for k, v in asdict(self).items()}
        return json.dumps({"format": _FORMAT, **said}, indent=1).encode()

    @property
    def name(self) -> str:
        """The object that holds the database."""
        return f"database/{self.object.hex()}"


class KeyCopies:
    """The copies of one keymaster.

    Args:
        core: Keys and state.
        slots: Its slots.
        pages: The store of its key pages.
        log: The store of its log.
        folder: Where the database is cut, beside itself.
    """

    def __init__(self, core: Core, slots: Slots, pages: Store, log: Store, folder: Path) -> None:
        self._core = core
        self._slots = slots
        self._pages = pages
        self._log = log
        self._folder = folder

    def copies(self) -> list[KeyCopy]:
        """All that were made, newest first."""
        sql = "SELECT url, leaf, epoch, pages, bytes, made FROM key_copy ORDER BY made DESC, url"
        return [KeyCopy(*row) for row in self._core.state.read().execute(sql).fetchall()]

    def needed_from(self) -> int:
        """The first entry that the oldest copy lacks; 0 without copies."""
        return min((copy.leaf for copy in self.copies()), default=0)

    def copy(self, actor: str, url: str) -> KeyCopy:
        """Make a copy, or bring one up to date, remember it and note it.

        Args:
            actor: Who copies; needs the act `copy`.
            url: Folder or URL; empty, or an earlier copy of this keymaster.

        Raises:
            ConflictError: The place holds something else.
        """
        self._slots.allowed(actor, "copy")
        # two that write one place would take each other's newest objects for leftovers
        with self._core.state.exclusive("copy"):
            made = self._make(whole_url(url))
            self._remember(actor, made)
        return made

    def update_copy(self, url: str) -> None:
        """Bring a registered copy up to date, for a turn of the epoch."""
        with self._core.state.exclusive("copy"):
            self._remember("keymaster", self._make(url))

    def forget_copy(self, actor: str, url: str) -> None:
        """Take a copy off the list: it is not renewed any more, and a turn does not wait for it."""
        core, url = self._core, whole_url(url)

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, "copy"))
            if rows.execute("DELETE FROM key_copy WHERE url = ? RETURNING 1", (url,)).fetchone() is None:
                raise NotFoundError("no such copy of the keymaster is known")
            return {"leaf": core.journal.note(rows, core.journal.entry(rows, "forget-copy", actor))}

        core.act("forget-copy", actor, work)

    def sample_copy(self, url: str, ring: KeyRing) -> None:
        """Open a copy's database and a random sample of its pages; IntegrityError when one does not open."""
        with contextlib.closing(open_store(url, create=False)) as store:
            manifest = read_manifest(store)
            with (
                self._scratch() as file,
                contextlib.closing(fetch_database(store, manifest, ring, Path(file.name))) as database,
            ):
                sql = "SELECT id, object, start, count, version, first, last, fences, wrapped FROM page"
                found = database.execute(sql).fetchall()
        salt = self._core.entropy(16)
        found.sort(key=lambda row: hashlib.sha256(salt + row[0]).digest())
        with contextlib.closing(open_store(f"{url}/pages", create=False)) as pages:
            reader = PageReader(pages, ring)
            for ident, name, start, count, version, first, last, fences, wrapped in found[:SAMPLE_PAGES]:
                chunks = memoryview(fences).cast("Q")
                reader.whole(Page(ident, name, start, count, version, first, last, chunks, wrapped))

    # -- making ---------------------------------------------------------------------------------
    def _make(self, url: str) -> KeyCopy:
        with contextlib.closing(open_store(url)) as target:
            _refuse_other(target, self._core.room_id)
            for _ in range(CUTS_MAX):
                with self._scratch() as file, contextlib.suppress(NotFoundError):
                    return self._cut(url, target, file)
        raise UnavailableError("key pages keep moving while they are copied", hint="try again")

    def _cut(self, url: str, target: Store, file: IO[bytes]) -> KeyCopy:
        """One cut; NotFoundError when a page it names went meanwhile."""
        core = self._core
        names, leaf, epoch = _backup(core, file)
        there = dict(target.list())
        size = 0
        for name in names:
            if f"pages/{name}" not in there:
                size += copy_object(self._pages, name, target, f"pages/{name}")
        kept = {f"pages/{name}" for name in names}
        for name, _ in list(self._log.list("keys/")):
            kept.add(f"log/{name}")
            target.replace(f"log/{name}", self._log.get(name))
        for slot in slots_of(self._slots.folder, epoch):
            kept.add(name := f"slots/{slot.path.name}")
            target.replace(name, slot.path.read_bytes())
        manifest = self._put_database(target, file, leaf, epoch)
        target.replace(MANIFEST, manifest.to_bytes())
        for name in there.keys() - kept - {MANIFEST, manifest.name}:
            target.delete(name)
        return KeyCopy(url, leaf, epoch, len(names), size + manifest.length, core.clock())

    def _put_database(self, target: Store, file: IO[bytes], leaf: int, epoch: int) -> Manifest:
        core = self._core
        object_id, key = core.entropy(16), core.entropy(KEY_BYTES)
        digest, length = hashlib.sha256(), 0

        def pieces() -> Iterator[bytes]:
            nonlocal length
            file.seek(0)
            number = 0
            while plain := file.read(PIECE_BYTES):
                own = block_key(key, KIND_DATABASE, number)
                sealed = seal_block(own, core.room_id, object_id, KIND_DATABASE, number, plain)
                digest.update(sealed)
                length += len(sealed)
                number += 1
                yield sealed

        target.put(f"database/{object_id.hex()}", pieces())
        wrapped = core.ring.wrap("key-copy", object_id, key, _bound(leaf, length, digest.digest()))
        return Manifest(core.room_id, epoch, leaf, object_id, length, digest.digest(), wrapped)

    def _remember(self, actor: str, made: KeyCopy) -> None:
        core = self._core
        extras = {"of": "keys", "entries": made.leaf, "pages": made.pages}

        def work(rows: Rows) -> Answer:
            sql = (
                "INSERT INTO key_copy VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (url) DO UPDATE SET leaf = excluded.leaf,"
                " epoch = excluded.epoch, pages = excluded.pages, bytes = excluded.bytes, made = excluded.made"
            )
            rows.execute(sql, (made.url, made.leaf, made.epoch, made.pages, made.bytes, made.made))
            return {"leaf": core.journal.note(rows, core.journal.entry(rows, "copy", actor, extras=extras))}

        core.act("copy", actor, work)

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[IO[bytes]]:
        """A file beside the database, as private as it is, gone when closed; what a crash left long ago goes too."""
        for left in self._folder.glob("cut-*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if left.stat().st_mtime < self._core.clock() - DAY_SECONDS:
                    left.unlink()
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="cut-", suffix=".tmp") as file:
            yield file


def _backup(core: Core, file: IO[bytes]) -> tuple[list[str], int, int]:
    """Cut the database into a file; returns the page objects it names, its number of entries and its epoch."""
    with contextlib.closing(core.state.cut(Path(file.name))) as cut:
        names = [row[0] for row in cut.execute("SELECT DISTINCT object FROM page").fetchall()]
        leaf = cut.execute("SELECT max(number) FROM leaf").fetchone()[0] + 1
        epoch = cut.execute("SELECT epoch FROM room").fetchone()[0]
    if epoch != core.ring.epoch:
        raise NotFoundError("the epoch is being turned")
    return names, leaf, epoch


def _refuse_other(target: Store, room_id: bytes) -> None:
    names = [name for name, _ in target.list()]
    if not names:
        return
    if MANIFEST not in names:
        if all(name.startswith(("pages/", "slots/", "database/", "log/keys/")) for name in names):
            return  # a first copy that was cut short
        raise ConflictError(f"{target.url} is not empty, and is no copy of a keymaster", hint="copy to an empty place")
    if not hmac.compare_digest(read_manifest(target).room, room_id):
        raise ConflictError(f"{target.url} holds a copy of another keymaster", hint="copy to an empty place")


def read_manifest(store: Store) -> Manifest:
    """What a copy says of itself.

    Raises:
        NotFoundError: There is no copy.
        IntegrityError: It cannot be read.
    """
    try:
        if store.size(MANIFEST) > MANIFEST_BYTES_MAX:
            raise IntegrityError("the manifest of the keymaster's copy is too long")
        value = json.loads(store.get(MANIFEST))
        if value.pop("format") != _FORMAT:
            raise IntegrityError("the copy of the keymaster is of another format")
        raw = {name: bytes.fromhex(value[name]) for name in ("room", "object", "sha256", "wrapped")}
        return Manifest(epoch=int(value["epoch"]), leaf=int(value["leaf"]), length=int(value["length"]), **raw)
    except NotFoundError:
        raise NotFoundError(f"{store.url} holds no copy of a keymaster") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise IntegrityError("the manifest of the keymaster's copy cannot be read") from None


def fetch_database(store: Store, manifest: Manifest, ring: KeyRing, path: Path) -> Cut:
    """Open a copy's database into a file, which is there already and not readable by others.

    Raises:
        IntegrityError: It is not the one that was sealed for this room and epoch, or not all of it.
    """
    if not hmac.compare_digest(manifest.room, ring.room_id) or manifest.epoch != ring.epoch:
        raise IntegrityError("the copy of the keymaster is of another room or epoch")
    bound = _bound(manifest.leaf, manifest.length, manifest.sha256)
    key = ring.unwrap("key-copy", manifest.object, manifest.wrapped, bound)
    digest, number = hashlib.sha256(), 0
    with path.open("r+b") as file:
        for sealed in in_pieces(store, manifest.name, manifest.length, PIECE_BYTES + TAG_BYTES):
            digest.update(sealed)
            own = block_key(key, KIND_DATABASE, number)
            file.write(open_block(own, ring.room_id, manifest.object, KIND_DATABASE, number, sealed))
            number += 1
        file.flush()
        os.fsync(file.fileno())
    if not hmac.compare_digest(digest.digest(), manifest.sha256) or not number:
        raise IntegrityError("the copy of the keymaster's database was changed")
    return open_cut(path)


def copy_object(source: Store, name: str, target: Store, new_name: str) -> int:
    """Copy one object, a piece at a time; returns its length. One that is there already is let be."""
    size = source.size(name)
    with contextlib.suppress(ConflictError):
        target.put(new_name, in_pieces(source, name, size))
    return size


def _bound(leaf: int, length: int, sha256: bytes) -> bytes:
    """What the database's key vouches for besides its id: how far the log had come, and every byte."""
    return leaf.to_bytes(8, "little") + length.to_bytes(8, "little") + sha256
