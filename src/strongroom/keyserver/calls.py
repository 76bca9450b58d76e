"""Every call that a keymaster answers over the wire: whose it is, what it takes, what it gives.

A call is of one of four kinds. What it is about decides whose it is; the server compares that with the signature:

| kind | whose |
| --- | --- |
| ACTOR | the caller acts in their own name: the name goes nowhere over the wire |
| LEASE | of whom the lease was granted to; only its id goes over the wire, the rest is what the keymaster knows of it |
| READING | of the credential that opened the reading |
| SERVER | of a server that hands on what a caller signed |
| ANYBODY | of every caller who signs in |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from strongroom.keymaster.api import (
    Ask,
    AtOnce,
    BucketCopy,
    FileKey,
    Head,
    Hits,
    ReadingGrant,
    Receipt,
    Released,
    SealingKeys,
)
from strongroom.keymaster.approvals import Asked
from strongroom.keymaster.canaries.api import Heard, NewPool, PoolRecord
from strongroom.keymaster.credentials import CredentialState
from strongroom.keymaster.erasures.api import Buried, ErasurePlan, ErasureProof
from strongroom.keymaster.exports.api import ExportGrant, ExportPlan, ExportRecord, OpenedCode
from strongroom.keymaster.freezing import Frozen
from strongroom.keymaster.identities import IdentityState
from strongroom.keymaster.log.api import Touched, TouchedPersons, Which
from strongroom.keymaster.log.personapi import DayTold, EntryTold, PersonAsked
from strongroom.keymaster.log.tailapi import CaughtUp, Gap, Piece
from strongroom.keymaster.reviews import Review
from strongroom.keymaster.serving import Granted
from strongroom.keymaster.tracing.api import FormTried, Looked, Origin, SampleFound, TraceHits, Versions, Weighed
from strongroom.keymaster.wanted import Wanted, WantedIdentity
from strongroom.keyserver.frames import Unpacker

ACTOR, LEASE, READING, SERVER, ANYBODY = "actor", "lease", "reading", "server", "anybody"

SMALL_MOST = 4 << 20
LOG_ENTRIES_AT_ONCE = 10_000
LARGE_MOST = 256 << 20

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
BOOLS = npt.NDArray[np.bool_]


_LARGE = (U8, U32, BOOLS, pa.Array, Ask, list[bytes], dict[str, bytes], list[NewPool], SampleFound)


class LeaseSaid(msgspec.Struct, frozen=True):
    """A lease as it goes to the client; `table` is the stored form of a table."""

    lease_id: bytes
    actor: str
    verb: str
    table: str | None
    base: Head
    expires_at: float


class Original(msgspec.Struct, frozen=True):
    """A request as its caller signed it: the headers that are signed, and the body unless it is the records of a put.

    `address` is where the server says that it came from.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    address: str

    def __repr__(self) -> str:
        return f"<Original {self.method} {self.path}>"


class Known(msgspec.Struct, frozen=True):
    """Whose a key is: the actor, and the public key (32 B)."""

    actor: str
    public_key: bytes


class Hello(msgspec.Struct, frozen=True):
    """What a client learns first: which process answers, the room, the actor of its own credential, and the time.

    A server gets a key that it shares with that process, and until when.
    """

    instance: str
    room_id: bytes
    actor: str
    time: float
    version: int
    hop: bytes = b""
    hop_until: int = 0


class Said(msgspec.Struct, frozen=True):
    """An answer: the number of what stands now, and the value."""

    standing: int
    value: Any


class Trouble(msgspec.Struct, frozen=True):
    """An error of this library, as it goes to the client."""

    kind: str
    message: str
    hint: str | None = None
    rule: str | None = None
    remaining: int = 0
    resets_at: int | None = None


@dataclass(frozen=True)
class Call:
    """One call: `takes` names its arguments, `gives` is the type of its answer, `most` bounds its body in bytes."""

    name: str
    whose: str
    takes: Mapping[str, Any]
    gives: Any
    most: int
    read: Unpacker = field(repr=False)
    read_answer: Unpacker = field(repr=False)


def _call(name: str, whose: str, gives: Any, /, **takes: Any) -> Call:
    wire = dict(takes)
    if whose in {LEASE, READING}:
        wire = {whose: bytes, **wire}
    arguments = msgspec.defstruct(name.replace(".", "_"), list(wire.items()), forbid_unknown_fields=True)
    answer = msgspec.defstruct("Answer", [("standing", int), ("value", gives)], forbid_unknown_fields=True)
    large = any(kind in _LARGE for kind in takes.values())
    return Call(name, whose, takes, gives, LARGE_MOST if large else SMALL_MOST, Unpacker(arguments), Unpacker(answer))


_ALL = (
    # what it keeps
    _call("schema", ANYBODY, str),
    _call("table_version", ANYBODY, str, table_id=bytes, version=int),
    _call("policy", ANYBODY, str),
    _call("set_schema", ACTOR, Receipt, text=str),
    _call("set_policy", ACTOR, Receipt, text=str),
    _call("head", ANYBODY, Head),
    _call("head_at", ANYBODY, Head, number=int),
    _call("bucket_copies", ANYBODY, list[BucketCopy]),
    _call("note_copy", LEASE, Receipt, copy=BucketCopy),
    # writing
    _call("begin_put", ACTOR, LeaseSaid, table=str, request_id=bytes, verb=str),
    _call("begin_maintenance", ACTOR, LeaseSaid, verb=str),
    _call("renew", LEASE, LeaseSaid),
    _call("seen_source", LEASE, bool, digest=bytes),
    _call("mint_batch", LEASE, bytes),
    _call("mint_file_key", LEASE, FileKey, kind=int, object_id=bytes, table=str | None),
    _call("seal_subjects", LEASE, SealingKeys, batch=bytes, identifiers=pa.Array),
    _call(
        "seal_index", LEASE, tuple[U8, U8],
        batch=bytes, field_name=str, values=pa.Array, subject_tokens=U8, ordinals=U32,
    ),
    _call("file_keys", LEASE, dict[bytes, bytes], key_ids=list[bytes]),
    _call("ended_objects", LEASE, list[bytes], object_ids=list[bytes]),
    _call(
        "commit", LEASE, Receipt,
        base=Head, new=Head, counts=dict[str, int], digests=list[bytes], dropped_keys=list[bytes],
    ),
    _call("rotate_index", LEASE, tuple[U8, U8], table=str, field_name=str, value_tokens=U8, entries=U8),
    _call("abandon", LEASE, None),
    # reading
    _call("begin_reading", ACTOR, ReadingGrant, purpose=str, reason=str, approval=str | None, break_glass=bool),
    _call("end_reading", READING, None),
    _call("block_keys", READING, list[bytes], key_id=bytes, kind=int, numbers=list[int], table=str | None),
    _call("subject_tokens", READING, U8, table=str, identifiers=list[str]),
    _call("value_tokens", READING, U8, table=str, field_name=str, values=list[str], snapshot=int | None),
    _call(
        "open_hits", READING, Hits,
        table=str, field_name=str, value_tokens=U8, entries=U8, at_once=AtOnce | None,
    ),
    _call("release", READING, Released, ask=Ask),
    _call("stand_ins", READING, list[str], table=str, field_name=str, values=list[str]),
    _call("note_sql", READING, int, request_id=bytes, table=str, fields=list[str], groups=int, persons=int),
    # exports
    _call("exports.begin", READING, bytes, plan=ExportPlan),
    _call("exports.add", READING, int, export_id=bytes, table=str, tokens=U8, batches=U8),
    _call("exports.start", READING, ExportGrant, export_id=bytes),
    _call("exports.started", READING, int, export_id=bytes),
    _call("exports.resume", READING, ExportGrant, export_id=bytes, plan=ExportPlan),
    _call("exports.release", READING, Released, export_id=bytes, table=str, tokens=U8, batches=U8),
    _call("exports.end", READING, ExportRecord, export_id=bytes, records=dict[str, int], root=bytes),
    _call(
        "exports.tokenize", READING, pa.Array, export_id=bytes, table=str, field_name=str, values=pa.Array
    ),
    _call(
        "exports.detokenize", READING, tuple[pa.Array, BOOLS],
        export_id=bytes, table=str, field_name=str, values=pa.Array,
    ),
    _call("exports.ask_open", ACTOR, Asked, export=str, reason=str),
    _call("exports.open_code", ACTOR, OpenedCode, export=str, traced=int | None),
    _call("exports.all", ACTOR, list[ExportRecord]),
    # canary persons
    _call("canaries.register", READING, list[int], pools=list[NewPool]),
    _call("canaries.hidden", READING, Buried, table=str, low=bytes, high=bytes),
    _call("canaries.pools", ACTOR, list[PoolRecord]),
    _call("canaries.known", READING, BOOLS, table=str, identifiers=list[str]),
    _call("canaries.planted_pools", READING, list[PoolRecord]),
    _call("canaries.planted", READING, int, pools=list[int], dense=list[str]),
    _call("canaries.dense", ACTOR, list[str]),
    _call("canaries.is_canary", READING, BOOLS, table=str, identifiers=list[str]),
    _call("canaries.trial", READING, bytes, table=str),
    _call("canaries.heard", READING, Heard),
    # published samples
    _call("traces.look_up", READING, Looked, table=str, field_name=str, values=pa.Array, snapshot=int),
    _call("traces.open_hits", READING, TraceHits, table=str, field_name=str, value_tokens=U8, entries=U8),
    _call("traces.name_tokens", READING, tuple[Origin, ...], table=str, field_name=str, tokens=pa.Array),
    _call(
        "traces.try_formed", READING, FormTried,
        table=str, field_name=str, tokens=pa.Array, held=int, snapshot=int,
    ),
    _call("traces.name_formed", READING, tuple[Origin, ...], value_tokens=U8, entries=U8),
    _call(
        "traces.behind_tokens", READING, Looked,
        export_id=str, table=str, field_name=str, tokens=pa.Array, snapshot=int,
    ),
    _call("traces.weigh", READING, Weighed, sample=SampleFound),
    _call("traces.versions", READING, Versions, table=str, fields=list[str], tokens=U8, batches=U8),
    # log
    _call("publish", ANYBODY, str),
    _call("is_checkpoint", ANYBODY, bool, text=str),
    _call("log_key", ANYBODY, str),
    _call(
        "log_entries", ACTOR, list[dict[str, Any]],
        start=int, stop=int | None, of=str | None, since=float | None, until=float | None,
    ),
    _call("check_checkpoint", ANYBODY, None, text=str),
    _call("verify_log", ANYBODY, dict[str, Any], known=list[str], maps=bool),
    _call("logs.newest", ACTOR, list[dict[str, Any]], which=Which, most=int),
    _call("logs.touched", ACTOR, list[Touched], which=Which),
    _call("logs.persons", ACTOR, TouchedPersons, which=Which, reason=str),
    # persons who go
    _call("erasures.plan", LEASE, ErasurePlan, identifiers=pa.Array),
    _call("erasures.erase", LEASE, list[Receipt], tokens=U8, reason=str),
    _call("erasures.hold", ACTOR, Receipt, subjects=list[list[str]], reason=str, lift=bool),
    _call("erasures.proofs", ACTOR, list[ErasureProof], leaves=list[int]),
    _call("erasures.buried", LEASE, Buried, table=str, low=bytes, high=bytes, since=int),
    _call("erasures.buried_for_reading", READING, Buried, table=str, low=bytes, high=bytes, since=int),
    _call("erasures.clean_through", LEASE, list[int], object_ids=list[bytes]),
    _call("erasures.clean_through_for_reading", READING, list[int], object_ids=list[bytes]),
    _call("erasures.horizon", LEASE, int, table=str, days=int),
    _call("erasures.erased", READING, bool, token=bytes),
    _call("erasures.dead_entries", LEASE, BOOLS, table=str, field_name=str, value_tokens=U8, entries=U8),
    _call("erasures.unclean", LEASE, list[bytes], object_ids=list[bytes]),
    _call("erasures.cleaned", LEASE, None, object_ids=list[bytes]),
    _call("erasures.destroy_keys", LEASE, None, object_ids=list[bytes]),
    # for callers of a server in front of a room
    _call("served.caller", SERVER, Known | None, key_id=str),
    _call("served.read", SERVER, Granted, request=Original, files=list[bytes]),
    _call("served.release", READING, Released, ask=Ask),
    _call("served.lease", SERVER, LeaseSaid, request=Original),
    _call("served.leases", SERVER, list[LeaseSaid], request=Original),
    _call("served.hold", SERVER, Receipt, request=Original),
    _call("served.receipt", SERVER, list[ErasureProof], request=Original),
    _call("served.tokens", SERVER, list[str | None], request=Original),
    _call("served.exports", SERVER, list[ExportRecord], request=Original),
    _call("served.log", SERVER, list[dict[str, Any]], request=Original),
    _call("served.whoever", SERVER, str, request=Original),
    _call("served.own", SERVER, CredentialState | None, request=Original),
    _call("served.answered", SERVER, str | None, request=Original),
    _call("served.keep_answer", SERVER, None, lease_id=bytes, answer=str),
    _call("served.proofs", LEASE, list[ErasureProof], leaves=list[int]),
    # what a person is told
    _call("persons.begin", READING, PersonAsked, table=str, identifier=str),
    _call("persons.days", READING, list[DayTold], request=int, after=int),
    _call("persons.entries", READING, list[EntryTold], request=int, numbers=list[int]),
    # who may speak for whom
    _call("credentials.all", ACTOR, list[CredentialState]),
    _call("credentials.add", ACTOR, CredentialState | None, wanted=Wanted),
    _call("credentials.revoke", ACTOR, CredentialState, ident=str),
    _call("credentials.sign_out", ANYBODY, None),
    _call("credentials.own", ANYBODY, CredentialState | None),
    _call("identities.all", ACTOR, list[IdentityState]),
    _call("identities.add", ACTOR, IdentityState | None, wanted=WantedIdentity),
    _call("identities.revoke", ACTOR, IdentityState, ident=str),
    # what takes two
    _call("approvals.ask_read", ACTOR, Asked, purpose=str, persons=int, reason=str),
    _call("approvals.decide", ACTOR, Asked, ident=str, agree=bool),
    _call("approvals.waiting", ACTOR, list[Asked]),
    _call("freezing.all", ANYBODY, list[Frozen]),
    _call("freezing.freeze", ACTOR, Receipt, kind=str, name=str, reason=str),
    _call("freezing.ask_lift", ACTOR, Asked, kind=str, name=str, reason=str),
    _call("reviews.all", ACTOR, list[Review]),
    _call("reviews.close", ACTOR, Receipt, ident=str, text=str),
    # the tail of the log
    _call("tails.next", ANYBODY, Piece | None),
    _call("tails.placed", ACTOR, None, end=int),
    _call("tails.needed_from", ANYBODY, int),
    _call("tails.is_behind", ANYBODY, bool, checkpoint=str),
    _call("tails.chosen", ANYBODY, list[str], checkpoint=str, pieces=list[str]),
    _call("tails.catch_up", ANYBODY, CaughtUp, checkpoint=str, pieces=dict[str, bytes]),
    _call("tails.accept_gap", ACTOR, Gap, checkpoint=str | None),
    _call("tails.openable", ANYBODY, int),
)  # fmt: skip

CALLS: Mapping[str, Call] = {call.name: call for call in _ALL}


def most_of(path: str) -> int:
    """The most bytes that the body of a request to a path may have."""
    call = CALLS.get(path.rpartition("/")[2])
    return SMALL_MOST if call is None else call.most


read_hello = Unpacker(Hello)
read_trouble = Unpacker(Trouble)
VERSION = 4
