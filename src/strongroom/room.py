"""Room: one vault, a bucket and the keymaster that goes with it; hands each request to one folder.

`create` makes, `open` never does. A room is told its keymaster and its actor: neither has a default. Records leave only
through a `Reading`, which needs a purpose and a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from strongroom.catalog.freshness import catch_up, leave_act, verify_head, verify_openable
from strongroom.closing import Closing
from strongroom.errors import ConflictError, StrongroomError, UnavailableError, UsageError
from strongroom.read.reading import Reading
from strongroom.read.session import Session
from strongroom.seal.entropy import random_bytes
from strongroom.store.open import open_store
from strongroom.store.probe import is_empty, probe
from strongroom.trace.verbs import TraceVerbs

if TYPE_CHECKING:
    from strongroom.erase.erasing import Approve, EraseReport
    from strongroom.erase.retention import Expiring
    from strongroom.keymaster.api import Keymaster, Receipt
    from strongroom.purpose.explain import Explanation
    from strongroom.purpose.policy import Policy
    from strongroom.purpose.rehearse import WouldRefuse
    from strongroom.read.check import CheckReport
    from strongroom.read.logs import RoomLogs
    from strongroom.replicate.copy import CopyReport
    from strongroom.replicate.status import CopyStatus
    from strongroom.schema.model import Schema
    from strongroom.store.archive import Mode
    from strongroom.store.base import Store
    from strongroom.write.compact import CompactReport
    from strongroom.write.put import PutReceipt
    from strongroom.write.reputting import RejectGroup
    from strongroom.write.rotate import RotateReport

Progress = Callable[[int, int, int | None], None]


class Room(TraceVerbs, Closing):
    """An open room. Made by `strongroom.open`, closed by `with`.

    Args:
        store: The bucket.
        keymaster: Decides, spends, notes and releases.
        actor: Who asks; every request goes to the log under this name.
    """

    def __init__(self, store: Store, keymaster: Keymaster, actor: str) -> None:
        self._store = store
        self._keymaster = keymaster
        self._actor = actor
        self._session = Session(store, keymaster, actor)

    def close(self) -> None:
        """Let go of the bucket. The keymaster is its opener's to close."""
        self._store.close()

    def __repr__(self) -> str:
        return f"<Room {self._keymaster.room_id.hex()[:8]} for {self._actor}>"

    # -- reading --------------------------------------------------------------------------------
    def read(
        self,
        *,
        purpose: str,
        reason: str,
        snapshot: int | None = None,
        approval: str | None = None,
        break_glass: bool = False,
    ) -> Reading:
        """Open a reading.

        Args:
            purpose: A purpose of the policy; there is no default.
            reason: Case or ticket that the reads belong to; kept sealed, apart from the log.
            snapshot: Number of an older snapshot to read from; None for the newest.
            approval: Id of what another person agreed to, where the purpose needs that.
            break_glass: Read without that, where the purpose lets the actor; it is told, and open for review.

        Raises:
            DeniedError: The actor may not use the purpose, or there is no such approval.
            IntegrityError: The bucket's newest snapshot is not the one the keymaster knows.
        """
        return Reading.begin(self._session, purpose, reason, snapshot, approval=approval, break_glass=break_glass)

    def explain(self, table: str, *, actor: str, purpose: str | None = None, field: str | None = None) -> Explanation:
        """Why an actor, or the own credential, may or may not see a field, by which rule, and the most in a day."""
        from strongroom.purpose.explain import explain

        own, dense = self._keymaster.credentials.own(), self._keymaster.canaries.dense(self._actor)
        mine = own if own is not None and own.actor == actor else None
        return explain(self.policy, self.schema, actor, purpose, table, field, own=mine, dense=dense)

    # -- writing --------------------------------------------------------------------------------
    def put(
        self,
        table: str,
        what: Any,
        *,
        columns: Sequence[str] | None = None,
        encoding: str | None = None,
        format: str | None = None,  # noqa: A002  the word of the field
        strict: bool = False,
        again: bool = False,
        progress: Progress | None = None,
    ) -> PutReceipt:
        """Put records: a file, a glob, a list of them, `-` for stdin, an Arrow table or reader, or an iterator.

        Args:
            table: Name of the table.
            what: Where the records come from.
            columns: Column names of CSV files without a header.
            encoding: utf-8 or gb18030; found out when not given.
            format: csv, jsonl or parquet; needed for stdin.
            strict: Refuse the whole put when one record does not fit, or a column that the table does not have.
            again: Put a file that was put before.
            progress: Called with records, bytes done and bytes in all.

        Raises:
            InputError: A file cannot be read as what it claims to be, or `strict` and a record does not fit.
            ConflictError: The same file was put before and `again` is not given.
            DeniedError: The actor may not put into the table, or the put budget is spent.
        """
        from strongroom.write.put import PutOptions, put

        options = PutOptions(columns, encoding, format, strict=strict, again=again)
        return put(self._store, self._keymaster, self._actor, table, what, options, progress)

    def compact(self) -> CompactReport:
        """Merge small runs without any person's key, and remove objects that no kept snapshot names."""
        from strongroom.write.compact import compact

        return compact(self._store, self._keymaster, self._actor)

    def rotate_index(self, table: str, field: str) -> RotateReport:
        """Give the index of a field a new outer key: every entry is sealed anew, no cell is opened.

        Raises:
            ConflictError: A put under way has indexed the field; nothing changed.
        """
        from strongroom.write.rotate import rotate_index

        return rotate_index(self._store, self._keymaster, self._actor, table, field)

    def rotate_files(self, *, older_days: float, most: int = 64) -> RotateReport:
        """Write up to `most` runs that are older than some days anew, each under a new file key."""
        from strongroom.write.rotate import rotate_files

        return rotate_files(self._store, self._keymaster, self._actor, older_seconds=older_days * 86400, most=most)

    def rejects(self, *, put_id: str | None = None) -> list[RejectGroup]:
        """Records that did not fit, counted by put, reason and field; nothing is opened for the caller."""
        from strongroom.write.reputting import list_rejects

        return list_rejects(self._store, self._keymaster, self._actor, put_id)

    def reput_rejects(self, *, put_id: str | None = None) -> PutReceipt:
        """Put again those rejected records that fit the schema now; those that do not stay."""
        from strongroom.write.reputting import reput

        return reput(self._store, self._keymaster, self._actor, put_id)

    # -- letting go -----------------------------------------------------------------------------
    def erase(
        self, subjects: str | int | Sequence[str | int], *, reason: str, approve: Approve | None = None
    ) -> EraseReport:
        """Erase subjects for good: nothing opens their records any more, in any snapshot, copy or backup of the bucket.

        Args:
            subjects: One identifier, or many; those erased already are passed over.
            reason: Why; kept sealed, apart from the log.
            approve: Called with the plan before anything is done; raises to stop.

        Raises:
            NotFoundError: A subject was never seen; nobody is erased.
            DeniedError: A subject is under a legal hold, or the actor may not erase; nobody is erased.
            ConflictError: All are erased already.
            UnavailableError: They are erased, and the bucket does not take the note of it: ask for the receipt again.
        """
        from strongroom.erase.erasing import erase

        return erase(self._session, _listed(subjects), reason, approve)

    def erasure_receipt(self, *leaves: int) -> dict[str, Any]:
        """The receipt of erasures, by the numbers of their log entries, as they stand now: in force, or final."""
        from strongroom.erase.erasing import receipt_of

        return receipt_of(self._store, self._keymaster, self._actor, leaves)

    def hold(self, subjects: str | int | Sequence[str | int], *, reason: str) -> Receipt:
        """Put subjects under a legal hold: they cannot be erased until somebody else lifts it."""
        from strongroom.erase.erasing import hold

        return hold(self._store, self._keymaster, self._actor, _listed(subjects), reason)

    def unhold(self, subjects: str | int | Sequence[str | int], *, reason: str) -> Receipt:
        """Lift a legal hold; DeniedError for the actor who set it."""
        from strongroom.erase.erasing import hold

        return hold(self._store, self._keymaster, self._actor, _listed(subjects), reason, lift=True)

    def retention(self, *, schema: str | None = None) -> list[Expiring]:
        """How many records of each table with a retention have expired; nothing is removed.

        Args:
            schema: TOML text of a schema that is not in force: what it would let expire.
        """
        from strongroom.erase.retention import expiring

        return expiring(self._store, self._keymaster, self._actor, schema)

    # -- keeping --------------------------------------------------------------------------------
    @property
    def schema(self) -> Schema:
        """The schema in force."""
        return self._keymaster.schema()

    def set_schema(self, text: str) -> Receipt:
        """Keep a new schema version from TOML text; older records still open under theirs.

        Behind a server another person must agree: `asked` of the receipt is the id under which it waits.
        """
        return self._noted(self._keymaster.set_schema(self._actor, text))

    def set_policy(self, text: str) -> Receipt:
        """Keep a new policy version from TOML text; behind a server another person must agree, as to a schema."""
        return self._noted(self._keymaster.set_policy(self._actor, text))

    def _noted(self, receipt: Receipt) -> Receipt:
        """The receipt of a change, once a second place knows of it."""
        if receipt.asked:
            return receipt
        try:
            leave_act(self._store, self._keymaster, receipt.leaf)
        except StrongroomError as error:
            raise UnavailableError(
                f"the change is in force, by entry {receipt.leaf} of the log, and is not noted beside the objects yet",
                hint="the next put, erasure or change notes it",
            ) from error
        return receipt

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._keymaster.policy()

    def cedar(self) -> str:
        """The Cedar rules generated from the policy in force."""
        from strongroom.purpose.cedar import cedar_text

        return cedar_text(self._keymaster.policy(), self._keymaster.schema())

    def check(self, *, deep: bool = False) -> CheckReport:
        """Read every object and the log, and say what is missing, changed, misplaced or left over.

        Args:
            deep: Compute the sums of compactions again too.
        """
        from strongroom.read.check import check

        return check(self._session, deep=deep)

    def copy(
        self,
        *,
        to: str,
        again: bool = False,
        lock_days: int | None = None,
        lock_mode: Mode = "governance",
        progress: Progress | None = None,
    ) -> CopyReport:
        """Copy the sealed objects to another place, and only those that are not there yet.

        Args:
            to: Folder or URL; empty, or an earlier copy of this room.
            again: Also read what is there, and copy again what is not as it was committed.
            lock_days: In a bucket with Object Lock: for how many days nothing of this copy can be removed.
            lock_mode: `governance` spares who may bypass it, `compliance` nobody.
            progress: Called with objects done, bytes done and bytes in all.

        Raises:
            ConflictError: The place holds something else.
            UsageError: Locks are asked for, and the place has none.
            IntegrityError: An object of the room is not the one that was committed; it is not copied.
        """
        from strongroom.replicate.copy import copy
        from strongroom.replicate.locked import Lock, open_target

        lock = None if lock_days is None else Lock(lock_days, lock_mode)
        target = open_target(to, lock)
        try:
            return copy(self._store, self._keymaster, self._actor, target, again=again, progress=progress)
        finally:
            target.close()

    def copies(self) -> list[CopyStatus]:
        """How old each copy is, and what it lacks; newest first."""
        from strongroom.replicate.locked import open_copy
        from strongroom.replicate.status import copy_status

        return copy_status(self._store, self._keymaster, self._actor, open_copy)

    def log(
        self, *, actor: str | None = None, since: float | None = None, until: float | None = None
    ) -> list[dict[str, Any]]:
        """Entries of the log, oldest first; of an actor (one's own take no right to the log), from a time, to a time.

        Times are seconds since 1970. `logs` has what does not hold all of a long log in memory.
        """
        return self._keymaster.log_entries(self._actor, of=actor, since=since, until=until)

    @property
    def logs(self) -> RoomLogs:
        """What the log says about an incident: the newest entries, what was touched, and whom."""
        from strongroom.read.logs import RoomLogs

        return RoomLogs(self._session)

    def rehearse_policy(
        self, text: str, *, since: float | None = None, until: float | None = None
    ) -> list[WouldRefuse]:
        """What a proposed policy (TOML text) would refuse of what the log says was allowed; nothing changes.

        `since` and `until` bound the entries that are looked at, as in `log`.
        """
        from strongroom.purpose.policy import parse_policy
        from strongroom.purpose.rehearse import rehearse

        schema = self._keymaster.schema()
        return rehearse(parse_policy(text, schema), schema, self.log(since=since, until=until))

    def log_key(self) -> str:
        """The log's public key in force, as one line: who has it verifies receipts without the room."""
        return self._keymaster.log_key()

    def verify_log(self) -> dict[str, Any]:
        """Recompute the log from its entries and hold it against every checkpoint the room has kept."""
        from strongroom.read.check import known_checkpoints

        known = known_checkpoints(self._session)
        return self._keymaster.verify_log(known=known)


def _listed(subjects: str | int | Sequence[str | int]) -> list[str]:
    return [str(s) for s in ([subjects] if isinstance(subjects, str | int) else subjects)]


def create_room(url: str, *, keys: Keymaster, random: Callable[[int], bytes] = random_bytes) -> None:
    """Make an empty room at a URL for a keymaster that has none yet, and try the store before it is trusted.

    Args:
        url: Folder or URL of the bucket.
        keys: The keymaster.
        random: Source of random bytes.

    Raises:
        ConflictError: There is something at the URL already.
        UsageError: The store does not keep a promise that a room relies on.
        NotFoundError, DeniedError, UnavailableError: The store cannot be used.
    """
    try_place(url, random)
    if keys.head().number != 0:
        raise ConflictError("this keymaster has a room already", hint="one keymaster, one room")


def try_place(url: str, random: Callable[[int], bytes] = random_bytes) -> None:
    """Raise what `create_room` would raise about the store at a URL; a folder is made."""
    store = open_store(url)
    try:
        if not is_empty(store):
            raise ConflictError(f"{url} is not empty", hint="a room is made in an empty folder or bucket")
        probe(store, random)
    finally:
        store.close()


def open_room(url: str, *, keys: Keymaster, actor: str) -> Room:
    """Open a room.

    Args:
        url: Folder or URL of the bucket.
        keys: The keymaster that goes with it.
        actor: Who asks.

    Raises:
        IntegrityError: The newest snapshot is missing or not the one the keymaster knows.
        UnavailableError: There is no store at the URL.
    """
    if not actor:
        raise UsageError("actor is empty", hint="say who asks: it goes to the log")
    store = open_store(url, create=False)
    catch_up(store, keys)
    verify_head(store, keys.head())
    verify_openable(keys, url)
    return Room(store, keys, actor)
