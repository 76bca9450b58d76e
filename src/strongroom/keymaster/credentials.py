"""The credentials that may speak for an actor: made, limited, revoked, and asked for at every request.

Rules it keeps:

1. The keymaster keeps public keys only.
2. Revoking holds from its commit on, in every process: who a key is, is asked of the database whenever anything that
   stands has changed.
3. A session is a credential too, of the identity that signed in (`signingin`). It is limited as that is, ends within a
   day, and counts for no limit of those that people make.
4. Making and revoking are acts of the policy (`actors`), each an entry of the log; nobody limits their own credential
   away from a second look: it is revoked and another is made.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from strongroom.errors import ConflictError, DeniedError, NotFoundError, UsageError
from strongroom.keymaster.approvals import Approvals, Asked
from strongroom.keymaster.core import Answer, Core
from strongroom.keymaster.holder import through
from strongroom.keymaster.wanted import Wanted, budgets_of, check_named
from strongroom.keys.rows import Rows, take
from strongroom.purpose.budget import OwnBudgets

CREDENTIALS_MAX = 100_000
DAY_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class CredentialState:
    """A credential as the keymaster knows it. Times are seconds since 1970; `revoked` is 0.0 while it may be used.

    `networks` are those its requests may come from, and `purposes` those it may read under; empty for all. A `server`
    is trusted to mask and to add up: it is released what a caller by themselves is not. `budgets` are the most that it
    may spend by itself. Of a session `identity` says who signed in, by the id of an identity; empty for a key pair.
    """

    id: str
    actor: str
    public_key: bytes = field(repr=False)
    networks: tuple[str, ...]
    purposes: tuple[str, ...]
    server: bool
    budgets: OwnBudgets
    made: float
    expires: float
    revoked: float
    identity: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "public_key": self.public_key.hex()}

    def check(self, now: float, address: str) -> None:
        """Raise DeniedError unless it may be used now, from this address."""
        self.check_time(now)
        if self.networks:
            own = ipaddress.ip_address(address)
            own = getattr(own, "ipv4_mapped", None) or own
            if not any(own in ipaddress.ip_network(network) for network in self.networks):
                raise DeniedError("the credential is not used from its networks", rule="credential.networks")

    def check_time(self, now: float) -> None:
        """Raise DeniedError when it was revoked or has expired."""
        if self.revoked:
            raise DeniedError("the credential was revoked", rule="credential.revoked")
        if self.expires <= now:
            again = "sign in again: `strongroom signin`" if self.identity else None
            raise DeniedError("the credential has expired", rule="credential.expired", hint=again)

    def allows(self, purpose: str) -> bool:
        """Whether it may be used under a purpose."""
        return not self.purposes or purpose in self.purposes


class OwnCredential(Protocol):
    """What everybody may ask of the credential they sign with."""

    def own(self) -> CredentialState | None:
        """The credential that signs what is asked; None in the keymaster's own process, where nobody signs."""


class Credentials:
    """The credentials of one keymaster.

    Args:
        core: Keys and state.
        approvals: Where new ones are asked and agreed to.
    """

    def __init__(self, core: Core, approvals: Approvals) -> None:
        self._core = core
        self._approvals = approvals
        approvals.does("actors", self._agreed)
        self._known: tuple[int, dict[str, CredentialState]] = (-1, {})

    def all(self, actor: str) -> list[CredentialState]:
        """Every credential there ever was, the newest first; for who may `actors`.

        Raises:
            DeniedError: The policy does not let the actor.
        """
        core = self._core
        core.standing.refresh()
        core.standing.require(core.standing.decider.decide_act(actor, "actors"))
        return sorted(_load(core.state.read()), key=lambda state: (-state.made, state.id))

    def own(self) -> CredentialState | None:
        """See `OwnCredential.own`."""
        ident = through().credential
        return self.find(ident) if ident else None

    def find(self, key_id: str) -> CredentialState | None:
        """The credential of a key id, whatever has become of it; None where there never was one."""
        core = self._core
        number = core.standing.refresh()
        if self._known[0] != number:
            self._known = (number, {state.id: state for state in _load(core.state.read())})
        known = self._known[1]
        if key_id not in known and (some := _load(core.state.read(), key_id)):
            known[key_id] = some[0]  # a session: signing in changes nothing that stands
        return known.get(key_id)

    def in_force(self, key_id: str) -> None:
        """Raise DeniedError unless this credential may be used now."""
        known = self.find(key_id)
        if known is None:
            raise DeniedError("the credential was revoked", rule="credential.revoked")
        known.check_time(self._core.clock())

    def add(self, actor: str, wanted: Wanted) -> CredentialState:
        """Let the owner of a key pair speak for an actor.

        Args:
            actor: Who lets them.
            wanted: What is wanted.

        Raises:
            ConflictError: The key is known already.
            UsageError: The policy has no such actor or purpose, or a limit is none.
            DeniedError: The policy does not let the actor.
        """
        core, wanted = self._core, wanted.checked()

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, "actors"))
            self._check(rows, wanted)
            return {"leaf": self._insert(rows, wanted, actor)}

        core.act("actors", actor, work)
        return self._of(wanted.id)

    def ask_add(self, actor: str, wanted: Wanted) -> Asked:
        """Ask what `add` does; it is done when another person agrees."""
        wanted = wanted.checked()
        return self._approvals.ask(actor, "actors", wanted.to_dict(), "", lambda rows: self._check(rows, wanted))

    def _agreed(self, rows: Rows, asked: Asked, actor: str) -> dict[str, Any]:
        wanted = Wanted.from_dict(asked.said)
        self._check(rows, wanted)
        self._insert(rows, wanted, actor)
        return {"of": wanted.of}

    def _check(self, rows: Rows, wanted: Wanted) -> None:
        check_named(self._core.standing.policy, wanted.of, wanted.purposes)
        sql = "SELECT count(*) FROM credential WHERE identity = ''"
        if rows.execute(sql).fetchone()[0] >= CREDENTIALS_MAX:
            raise UsageError(f"a room has at most {CREDENTIALS_MAX} credentials")
        if rows.execute("SELECT 1 FROM credential WHERE id = ?", (wanted.id,)).fetchone() is not None:
            raise ConflictError("this key is or was a credential", hint="each has a key pair of its own")

    def _insert(self, rows: Rows, wanted: Wanted, actor: str) -> int:
        core = self._core
        now = core.journal.now(rows)
        lists = (json.dumps(wanted.networks), json.dumps(wanted.purposes))
        limits = (*lists, int(wanted.server), json.dumps(asdict(wanted.budgets)))
        row = (wanted.id, wanted.of, wanted.public_key, *limits, now, now + wanted.days * DAY_SECONDS)
        rows.execute("INSERT INTO credential VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0.0, '')", row)
        take(rows, "standing")
        extras = {"of": wanted.of, "credential": wanted.id, "change": "add", "server": int(wanted.server)}
        return core.journal.note(rows, core.journal.entry(rows, "actors", actor, extras=extras))

    def revoke(self, actor: str, ident: str) -> CredentialState:
        """End a credential at once.

        Raises:
            NotFoundError: There is none of this id.
            ConflictError: It is revoked already.
            DeniedError: The policy does not let the actor.
        """
        core = self._core

        def work(rows: Rows) -> Answer:
            core.standing.require(core.standing.decider.decide_act(actor, "actors"))
            row = rows.execute("SELECT actor, revoked FROM credential WHERE id = ?", (ident,)).fetchone()
            if row is None:
                raise NotFoundError("there is no credential of this id", hint="`strongroom actor list` lists them")
            if row[1]:
                raise ConflictError("the credential is revoked already")
            rows.execute("UPDATE credential SET revoked = ? WHERE id = ?", (core.journal.now(rows), ident))
            take(rows, "standing")
            extras = {"of": row[0], "credential": ident, "change": "revoke"}
            return {"leaf": core.journal.note(rows, core.journal.entry(rows, "actors", actor, extras=extras))}

        core.act("actors", actor, work)
        return self._of(ident)

    def sign_out(self, actor: str, ident: str) -> None:
        """End a session at once, as its owner asks.

        Raises:
            UsageError: It is no session.
        """
        core = self._core

        def work(rows: Rows) -> Answer:
            row = rows.execute("SELECT actor, identity FROM credential WHERE id = ?", (ident,)).fetchone()
            if row is None or row[0] != actor or not row[1]:
                raise UsageError("only who signed in signs out", hint="`strongroom actor revoke` ends a key pair")
            rows.execute("UPDATE credential SET revoked = ? WHERE id = ?", (core.journal.now(rows), ident))
            take(rows, "standing")
            entry = core.journal.entry(rows, "sign-out", actor, extras={"credential": ident})
            return {"leaf": core.journal.note(rows, entry)}

        core.act("sign-out", actor, work)

    def _of(self, ident: str) -> CredentialState:
        return _load(self._core.state.read(), ident)[0]


def _load(rows: Rows, ident: str | None = None) -> list[CredentialState]:
    sql = (
        "SELECT id, actor, public_key, networks, purposes, server, budgets, made, expires, revoked, identity"
        " FROM credential"
    )
    cursor = rows.execute(sql) if ident is None else rows.execute(f"{sql} WHERE id = ?", (ident,))
    found = []
    for own, actor, public, networks, purposes, server, budgets, *rest in cursor.fetchall():
        limits = tuple(json.loads(networks)), tuple(json.loads(purposes)), bool(server), budgets_of(json.loads(budgets))
        found.append(CredentialState(own, actor, public, *limits, *rest))
    return found
