"""Who may sign in as which actor: persons of an issuer (OpenID Connect) and passkeys, with what limits their sessions.

Rules it keeps:

1. An identity is let in, limited and ended as a credential is: an act of the policy (`actors`), an entry of the log,
   and over the wire another person's agreement.
2. One person of an issuer, or one passkey, is one actor at a time.
3. Ending it ends its sessions, in the same transaction.
4. The log names an identity by its id: what an issuer calls a person stands in no entry.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from strongroom.errors import ConflictError, NotFoundError, UsageError
from strongroom.identity.passkey import Passkey, parse_passkey_line
from strongroom.identity.urls import check_issuer
from strongroom.keymaster.approvals import Approvals, Asked
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.credentials import DAY_SECONDS
from strongroom.keymaster.wanted import (
    DAYS_MAX,
    HOURS_MAX,
    Person,
    WantedIdentity,
    check_named,
    check_network,
)
from strongroom.keys.rows import Rows, take

if TYPE_CHECKING:
    from strongroom.keymaster.signingin import SigningIn

IDENTITIES_MAX = 100_000
WORD_LENGTH_MAX = 256
ISSUER, PASSKEY = "issuer", "passkey"
_COLUMNS = "id, kind, name, actor, said, networks, purposes, hours, signs, made, expires, revoked"


@dataclass(frozen=True)
class IdentityState:
    """An identity as the keymaster knows it. Times are seconds since 1970; `revoked` is 0.0 while it may sign in.

    `said` is what it is: of an issuer's person the four words of `Person`, of a passkey its id, page and model. `hours`
    is how long a session lasts, `signs` the last count of a passkey.
    """

    id: str
    kind: str
    actor: str
    said: Mapping[str, str] = field(repr=False)
    networks: tuple[str, ...]
    purposes: tuple[str, ...]
    hours: float
    signs: int
    made: float
    expires: float
    revoked: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "said": dict(self.said)}

    @property
    def person(self) -> Person:
        """Of an issuer's person."""
        return Person(*(self.said[name] for name in ("issuer", "audience", "claim", "value")))

    @property
    def passkey(self) -> Passkey:
        """Of a passkey."""
        ident, key = (_bytes(self.said[name]) for name in ("id", "public_key"))
        return Passkey(ident, key, self.said["rp_id"], self.said["origin"], self.signs, self.said["model"])


@dataclass(frozen=True)
class _Checked:
    """An identity that somebody wants and that stands by itself, as it waits for another person's agreement."""

    of_actor: str
    kind: str
    said: Mapping[str, str]
    signs: int
    days: float
    hours: float
    networks: tuple[str, ...]
    purposes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The same for the same person or passkey: a SHA-256, 64 hex digits."""
        return name_of(self.kind, self.said)


class Identities:
    """The identities of one keymaster.

    Args:
        core: Keys and state.
        approvals: Where new ones are asked and agreed to.
    """

    def __init__(self, core: Core, approvals: Approvals) -> None:
        self._core = core
        self._approvals = approvals
        approvals.does("identity", self._agreed)

    def signing_in(self) -> SigningIn:
        """Where people sign in, for one process that serves them."""
        from strongroom.keymaster.signingin import SigningIn

        return SigningIn(self._core)

    def all(self, actor: str) -> list[IdentityState]:
        """Every identity there ever was, the newest first; for who may `actors`.

        Raises:
            DeniedError: The policy does not let the actor.
        """
        core = self._core
        core.standing.refresh()
        core.standing.require(core.standing.decider.decide_act(actor, "actors"))
        return sorted(load(core.state.read()), key=lambda state: (-state.made, state.id))

    def add(self, actor: str, wanted: WantedIdentity) -> IdentityState:
        """Let a person of an issuer, or a passkey, sign in as an actor.

        Args:
            actor: Who lets them.
            wanted: Who it is.

        Raises:
            ConflictError: It is an actor's already.
            UsageError: The policy has no such actor or purpose, or a part is none.
            DeniedError: The policy does not let the actor.
        """
        core, checked = self._core, self._checked(wanted)
        ident = core.entropy(16).hex()

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, "actors"))
            self._check(rows, checked)
            return {"leaf": self._insert(rows, ident, checked, actor)}

        core.act("actors", actor, work)
        return load(core.state.read(), "id", ident)[0]

    def ask_add(self, actor: str, wanted: WantedIdentity) -> Asked:
        """Ask what `add` does; it is done when another person agrees."""
        checked = self._checked(wanted)
        return self._approvals.ask(actor, "identity", asdict(checked), "", lambda rows: self._check(rows, checked))

    def _checked(self, wanted: WantedIdentity) -> _Checked:
        of, person, passkey, days, hours = wanted.of, wanted.person, wanted.passkey, wanted.days, wanted.hours
        if (person is None) == (passkey is None):
            raise UsageError("either a person of an issuer, or a passkey")
        if not 0 < days <= DAYS_MAX or not 0 < hours <= HOURS_MAX:
            raise UsageError(f"an identity lasts up to {DAYS_MAX} days, its sessions up to {HOURS_MAX:g} hours")
        limits = float(days), float(hours), tuple(map(check_network, wanted.networks)), tuple(wanted.purposes)
        if person is not None:
            words = asdict(person)
            check_issuer(person.issuer)
            if any(not word or len(word) > WORD_LENGTH_MAX or not word.isprintable() for word in words.values()):
                raise UsageError(f"issuer, client, claim and value have 1 to {WORD_LENGTH_MAX} characters each")
            return _Checked(of, ISSUER, words, 0, *limits)
        named, key = parse_passkey_line(passkey or "", self._core.room_id)
        if named != of:
            raise UsageError(f"the line is {named}'s, not {of}'s")
        texts = {"id": _text(key.id), "public_key": _text(key.public_key)}
        more = {"rp_id": key.rp_id, "origin": key.origin, "model": key.model}
        return _Checked(of, PASSKEY, texts | more, key.signs, *limits)

    def _agreed(self, rows: Rows, asked: Asked, actor: str) -> dict[str, Any]:
        said: dict[str, Any] = {**asked.said}
        said |= {name: tuple(said[name]) for name in ("networks", "purposes")}
        wanted = _Checked(**said)
        self._check(rows, wanted)
        self._insert(rows, self._core.entropy(16).hex(), wanted, actor)
        return {"of": wanted.of_actor}

    def _check(self, rows: Rows, wanted: _Checked) -> None:
        check_named(self._core.standing.policy, wanted.of_actor, wanted.purposes)
        if rows.execute("SELECT count(*) FROM identity").fetchone()[0] >= IDENTITIES_MAX:
            raise UsageError(f"a room has at most {IDENTITIES_MAX} identities")
        now = self._core.journal.now(rows)
        if any(not state.revoked and state.expires > now for state in load(rows, "name", wanted.name)):
            raise ConflictError("this person or passkey signs in already", hint="`strongroom actor revoke` ends that")

    def _insert(self, rows: Rows, ident: str, wanted: _Checked, actor: str) -> int:
        core = self._core
        now = core.journal.now(rows)
        limits = (json.dumps(wanted.networks), json.dumps(wanted.purposes), wanted.hours, wanted.signs)
        row = (ident, wanted.kind, wanted.name, wanted.of_actor, json.dumps(dict(wanted.said)), *limits)
        sql = "INSERT INTO identity VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0.0)"
        rows.execute(sql, (*row, now, now + wanted.days * DAY_SECONDS))
        take(rows, "standing")
        extras = {"of": wanted.of_actor, "identity": ident, "change": "add", "kind": wanted.kind}
        return core.journal.note(rows, core.journal.entry(rows, "actors", actor, extras=extras))

    def revoke(self, actor: str, ident: str) -> IdentityState:
        """End an identity and all its sessions at once.

        Raises:
            NotFoundError: There is none of this id.
            ConflictError: It is revoked already.
            DeniedError: The policy does not let the actor.
        """
        core = self._core

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, "actors"))
            found = load(rows, "id", ident)
            if not found:
                raise NotFoundError("there is no identity of this id", hint="`strongroom actor list` lists them")
            if found[0].revoked:
                raise ConflictError("the identity is revoked already")
            now = core.journal.now(rows)
            rows.execute("UPDATE identity SET revoked = ? WHERE id = ?", (now, ident))
            rows.execute("UPDATE credential SET revoked = ? WHERE identity = ? AND revoked = 0.0", (now, ident))
            take(rows, "standing")
            extras = {"of": found[0].actor, "identity": ident, "change": "revoke"}
            return {"leaf": core.journal.note(rows, core.journal.entry(rows, "actors", actor, extras=extras))}

        core.act("actors", actor, work)
        return load(core.state.read(), "id", ident)[0]


def load(rows: Rows, by: str | None = None, value: str = "") -> list[IdentityState]:
    """Identities from the database: all, or those whose column `by` (a name in this code) has a value."""
    sql = f"SELECT {_COLUMNS} FROM identity"  # noqa: S608
    cursor = rows.execute(sql) if by is None else rows.execute(f"{sql} WHERE {by} = ?", (value,))
    found = []
    for ident, kind, _, actor, said, networks, purposes, *rest in cursor.fetchall():
        limits = tuple(json.loads(networks)), tuple(json.loads(purposes))
        found.append(IdentityState(ident, kind, actor, json.loads(said), *limits, *rest))
    return found


def passkey_name(ident: bytes) -> str:
    """The `name` of a passkey's identity, by the passkey's id."""
    return name_of(PASSKEY, {"id": _text(ident)})


def name_of(kind: str, said: Mapping[str, str]) -> str:
    """The same for the same person or passkey: a SHA-256, 64 hex digits."""
    words = [said[name] for name in (("id",) if kind == PASSKEY else ("issuer", "audience", "claim", "value"))]
    return hashlib.sha256(json.dumps([kind, *words]).encode()).hexdigest()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
