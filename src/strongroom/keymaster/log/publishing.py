"""Publish the log: tiles and signed checkpoints, derived from committed leaves, at most a second behind.

Rules it keeps:

1. One process at a time publishes (a lock, which a crash lets go of).
2. Where the policy names witnesses, a checkpoint is published when enough have cosigned it. Without them reads go on:
   their leaves are durable, and published later. No witness is asked while the keymaster lacks a part of its log.
3. What was published is never longer than what is committed; if it is, the database was rolled back, and the keymaster
   does not open.
4. A checkpoint kept elsewhere that the log does not contain stops everything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from strongroom.audit.entry import logged
from strongroom.audit.log import TileLog
from strongroom.audit.note import Checkpoint, LogKey, open_checkpoint, origin_of, sign_checkpoint
from strongroom.audit.proof import make_proof
from strongroom.audit.tlog import consistency_proof, inclusion_proof, verify_consistency
from strongroom.audit.verify import verify
from strongroom.errors import IntegrityError, StrongroomError, UnavailableError
from strongroom.keymaster.core import Core
from strongroom.keymaster.log.index import index_more
from strongroom.keymaster.log.witnessing import Witnessing, rule_of
from strongroom.keys.rows import counter
from strongroom.seal.sign import public_key as public_key_of

if TYPE_CHECKING:
    from strongroom.audit.tlog import TileReader
    from strongroom.store.base import Store

PUBLISH_SECONDS = 0.5
RETRY_SECONDS = 15.0
"""After which a checkpoint that lacked cosignatures is tried again, when nothing new is noted."""


class Publishing:
    """The published side of one keymaster's log.

    Args:
        core: Whose leaves.
        store: Where tiles and the checkpoint lie.
    """

    def __init__(self, core: Core, store: Store) -> None:
        self._core = core
        self._store = store
        self.origin = origin_of(core.room_id)
        self.keys: tuple[LogKey, ...] = ()
        self._log = TileLog(store, self.origin, None, ())
        self._keys_number = -1
        self._seeds: tuple[bytes, ...] = ()
        self._load_keys()
        self._mutex = threading.Lock()
        self.witnessing = Witnessing(self.size)
        self._rounds = 0
        self._short: tuple[int, int, UnavailableError] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.before: Callable[[], None] = lambda: None
        """Called before the log is published: notes what is due."""

    def _load_keys(self) -> None:
        """Read the signing keys again when they were changed, here or by another process.

        Raises:
            IntegrityError: A signing key is not the one that the database names.
        """
        rows = self._core.state.read()
        while (number := counter(rows, "signing")) != self._keys_number:
            stored = rows.execute("SELECT number, public_key, first, last FROM log_key ORDER BY number").fetchall()
            kept = dict(rows.execute("SELECT id, wrapped FROM wrapped_key WHERE purpose = 'signing'").fetchall())
            if counter(rows, "signing") != number:
                continue  # it is being changed right now
            seeds = []
            for ident, public, _first, last in stored:
                name = str(ident).encode()
                if last is None:
                    seed = self._core.ring.unwrap("signing", name, kept.get(name, b""))
                    if public_key_of(seed) != public:
                        raise IntegrityError("the signing key is not that of the database")
                    seeds.append(seed)
            self.keys = tuple(LogKey(*row[1:]) for row in stored)
            self._seeds = tuple(seeds)
            self._log.use_keys(self._seeds, self.keys)
            self._keys_number = number

    def size(self) -> int:
        """Number of committed leaves."""
        row = self._core.state.read().execute("SELECT max(number) FROM leaf").fetchone()
        return 0 if row[0] is None else int(row[0]) + 1

    def read_entries(self, start: int, stop: int) -> list[bytes]:
        """Committed leaves start to stop, as the log has them."""
        sql = "SELECT entry FROM leaf WHERE number >= ? AND number < ? ORDER BY number"
        return [logged(row[0]) for row in self._core.state.read().execute(sql, (start, stop)).fetchall()]

    def check_start(self) -> None:
        """Compare the published log with the committed one.

        Raises:
            IntegrityError: The published one is longer, or is not signed by this keymaster.
        """
        stored = self._log.stored_checkpoint()
        size = self.size()
        if stored is not None and stored[1].size > size:
            raise IntegrityError(
                f"the log was published with {stored[1].size} entries, and the keymaster has {size}",
                hint="the keymaster was set back: bring the newest copy of its folder",
            )

    def start(self) -> None:
        """Begin to publish in the background."""
        self._thread = threading.Thread(target=self._follow, name="strongroom-publish", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._stop.is_set():
            self._core.noted.wait(None if self._short is None else RETRY_SECONDS)
            self._core.noted.clear()
            if self._stop.is_set():
                return
            # what fails here is tried again with the next leaf, and raised by publish() and close()
            with suppress(StrongroomError):
                self.publish()
            with suppress(StrongroomError):
                index_more(self._core)
            self._stop.wait(PUBLISH_SECONDS)

    def stop(self) -> None:
        """End the background thread, and publish what is left; what lacks cosignatures waits for the next start."""
        self._stop.set()
        self._core.noted.set()
        if self._thread is not None:
            self._thread.join()
        try:
            if self._short is None or self._short[1] != self.size():
                self.publish()
        except UnavailableError:
            if self._short is None:
                raise
        finally:
            self.witnessing.close()

    def publish(self) -> str:
        """See `Keymaster.publish`."""
        # what fails here is told by `verify_log`, and does not keep the log from being published
        with suppress(StrongroomError):
            self.before()
        before = self._rounds
        with self._mutex:
            if self._short is not None and self._short[0] > before:  # asked after this was called: no other answer now
                raise UnavailableError(str(self._short[2]), hint=self._short[2].hint)
            self._rounds += 1
            with self._core.state.exclusive("publish"):
                self._load_keys()
                return self._publish()

    def _publish(self) -> str:
        size, witnessing = self.size(), self._witnesses()
        if witnessing is not None and counter(self._core.state.read(), "behind"):
            checkpoint, _ = self._log.advance(self.read_entries, size)
            return sign_checkpoint(checkpoint, *self._seeds)  # not published: it says how far this keymaster is
        short = None
        try:
            return self._log.publish(self.read_entries, size, witnessing)
        except UnavailableError as error:
            if error is self.witnessing.short:
                short = (self._rounds, size, error)
            raise
        finally:
            self._short = short  # until now the round before is what is known: `verify` asks without the mutex

    def _witnesses(self) -> Witnessing | None:
        """The witnesses of the policy in force, if it names any."""
        self._core.standing.refresh()
        return self.witnessing.use(rule_of(self._core.standing.policy.witnesses))

    def _advanced(self) -> tuple[Checkpoint, TileReader]:
        """The tree of all that is committed, whether it is published or not."""
        with self._mutex, self._core.state.exclusive("publish"):
            self._load_keys()
            return self._log.advance(self.read_entries, self.size())

    def continued(self, more: Iterable[list[bytes]]) -> Checkpoint:
        """The log as it would be with further entries, some at a time; nothing is written but what is committed."""
        with self._mutex, self._core.state.exclusive("publish"):
            self._load_keys()
            return self._log.continued(self.read_entries, self.size(), more)

    def prove(self, leaves: Sequence[int]) -> list[str]:
        """C2SP tlog-proofs of entries under a checkpoint that covers all of the log."""
        text = self.publish()
        read, size = self._log.reader(), open_checkpoint(text, self.origin, self.keys).size
        return [make_proof(read, leaf, size, text) for leaf in leaves]

    def paths(self, leaves: Sequence[int], size: int) -> list[list[bytes]]:
        """Inclusion proofs of entries in the tree of the first `size`, from the leaf up."""
        read = self._log.reader()
        return [inclusion_proof(read, leaf, size) for leaf in leaves]

    def verify(self, known: Sequence[str]) -> dict[str, object]:
        """See `Keymaster.verify_log`."""
        try:
            self.publish()
        except UnavailableError:  # what is published already is verified, and how much is not is said
            stored = self._log.stored_checkpoint()
            if self._short is None or stored is None or not self.witnessing.counts(stored[0]):
                raise
        self._load_keys()
        quorum = self.witnessing.quorum
        return asdict(verify(self._store, self.keys, self.origin, self.read_entries, list(known), quorum))

    def bridge(self, leaf: int, number: int) -> int:
        """Store the proof that leads to signing key `number`, whose change is at `leaf`; returns the checkpoint's size.

        Both keys have signed that checkpoint: see `audit.keychange`.
        """
        text = self.publish()
        size = self.checkpoint_of(text).size
        (entry,) = self.read_entries(leaf, leaf + 1)
        proof = make_proof(self._log.reader(), leaf, size, text, entry)
        self._store.replace(bridge_name(number), proof.encode())
        return size

    def bridges(self) -> list[str]:
        """The proofs that lead from the first signing key to the newest, in order."""
        return [self._store.get(bridge_name(number)).decode() for number in range(2, len(self.keys) + 1)]

    def is_known(self, text: str) -> bool:
        """Whether a text is a checkpoint that a key of this log has signed."""
        self._load_keys()
        try:
            self.checkpoint_of(text)
        except IntegrityError:
            return False
        return True

    def checkpoint_of(self, text: str) -> Checkpoint:
        """Open a checkpoint of this log; IntegrityError when no key of it has signed the text."""
        self._load_keys()
        return open_checkpoint(text, self.origin, self.keys)

    def check_known(self, text: str) -> None:
        """Check a checkpoint kept elsewhere against this log.

        Raises:
            IntegrityError: It is not of this log, the log is shorter, or has another history.
        """
        self.check_holds(self.checkpoint_of(text))

    def check_holds(self, known: Checkpoint) -> None:
        """Check that this log continues a checkpoint of its own.

        Raises:
            IntegrityError: It is shorter, or has another history.
        """
        size = self.size()
        if known.size > size:
            raise IntegrityError(
                f"a checkpoint of {known.size} entries is known, and the keymaster has {size}",
                hint="the keymaster was set back: bring the newest copy of its folder",
            )
        published = self._log.stored_checkpoint()
        if published is None or published[1].size < known.size:
            own, read = self._advanced()
        else:
            own, read = published[1], self._log.reader()
        if not _continues(read, known, own):
            raise IntegrityError(
                f"the log has another history than a checkpoint of {known.size} entries that is known",
                hint="what the keymaster did since it was set back is not in that history: bring the newest copy of it",
            )

    def is_forked(self, known: Checkpoint) -> bool:
        """Whether this log is as long as a checkpoint of its own, and has another history."""
        own, read = self._advanced()
        return known.size <= own.size and not _continues(read, known, own)


def _continues(read: TileReader, known: Checkpoint, own: Checkpoint) -> bool:
    proof = consistency_proof(read, known.size, own.size)
    try:
        verify_consistency(known.size, own.size, known.root, own.root, proof)
    except IntegrityError:
        return False
    return True


def bridge_name(number: int) -> str:
    """The object in the log's folder that leads to a signing key."""
    return f"keys/{number:04d}"
