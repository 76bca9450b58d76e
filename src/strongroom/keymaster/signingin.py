"""Sign in: an id_token or a passkey's answer binds a fresh key pair to an actor, for hours.

Rules it keeps:

1. Whoever is not let in is told so and nothing else (`DeniedError`); its rule, for the operator, names the check. What
   was refused is counted, and an entry of the log says the counts: at most one in REFUSED_SECONDS, however many ask.
2. What is judged with an issuer's keys happens outside the transaction; whether the identity still stands, where it may
   be used from, and the passkey's counter, are looked at again within the one that makes the session.
3. A key pair signs in once, for good: with what a proof is bound to (`identity.commitment`), each proof serves once.
4. Sessions are few: SESSIONS_MAX of an identity at once (the oldest ends), SIGN_INS_DAY_MAX in a day, and rows of ended
   ones are kept for ENDED_SECONDS only. That is longer than any proof is taken.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from strongroom.errors import DeniedError, StrongroomError, UnavailableError
from strongroom.identity import oidc, passkey
from strongroom.identity.commitment import CHALLENGE_BYTES, assertion_challenge, refused, token_nonce
from strongroom.identity.credential import credential_id
from strongroom.identity.issuers import Issuers
from strongroom.keymaster.credentials import DAY_SECONDS, CredentialState
from strongroom.keymaster.identities import ISSUER, PASSKEY, IdentityState, load, passkey_name
from strongroom.keys.hierarchy import KEY_BYTES
from strongroom.keys.rows import Rows, take
from strongroom.purpose.budget import NO_OWN

if TYPE_CHECKING:
    from strongroom.keymaster.core import Core

SESSIONS_MAX = 16
SIGN_INS_DAY_MAX = 100
ENDED_SECONDS = 24 * 3600.0
CHALLENGE_SECONDS = 180
REFUSED_SECONDS = 600.0
ACT = "sign-in"


@dataclass(frozen=True)
class Session:
    """What a sign-in gave: the credential's id, for which actor, and until when (seconds since 1970)."""

    id: str
    actor: str
    expires: float


class SigningIn:
    """Sign-ins at one keymaster, in one process.

    Args:
        core: Keys and state.
        issuers: Whose keys verify id_tokens.
    """

    def __init__(self, core: Core, issuers: Issuers | None = None) -> None:
        self._core = core
        self._issuers = issuers or Issuers()
        self._secret = b""
        self._known: tuple[int, list[IdentityState]] = (-1, [])
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._told = -REFUSED_SECONDS

    def challenge(self, public_key: bytes) -> tuple[bytes, int]:
        """A challenge for one key (32 B), and when it ends. Nothing is kept for it: it is made again to be compared.

        Raises:
            DeniedError: Nobody signs in here.
        """
        if not self._in_force():
            raise refused("identity")
        expires = int(self._core.clock()) + CHALLENGE_SECONDS
        return self._challenge(public_key, expires), expires

    def _challenge(self, public_key: bytes, expires: int) -> bytes:
        if not self._secret:
            self._secret = self._core.run(self._shared)
        message = b"strongroom signin challenge 1" + public_key + expires.to_bytes(8, "little")
        return hmac.digest(self._secret, message, "sha256")

    def _shared(self, rows: Rows) -> bytes:
        """The secret of challenges, which every process on one database has; made when it is first needed."""
        core = self._core
        row = rows.execute("SELECT wrapped FROM wrapped_key WHERE purpose = 'challenge'").fetchone()
        if row is not None:
            return core.ring.unwrap("challenge", b"1", row[0])
        secret = core.entropy(KEY_BYTES)
        wrapped = core.ring.wrap("challenge", b"1", secret)
        rows.execute("INSERT INTO wrapped_key VALUES ('challenge', ?, ?)", (b"1", wrapped))
        return secret

    def by_token(self, public_key: bytes, salt: bytes, token: str, address: str) -> Session:
        """Sign in with an id_token.

        Args:
            public_key: Of the session, 32 B; who asks has shown that they hold it.
            salt: SALT_BYTES, part of the token's nonce.
            token: As the issuer gave it.
            address: From where it is asked.

        Raises:
            DeniedError: Anything of it does not hold.
        """
        core = self._core
        issuer, algorithm, key_id = oidc.claimed(token)
        known = [state for state in self._in_force() if state.kind == ISSUER and state.said["issuer"] == issuer]
        if not known:
            raise refused("issuer")
        try:
            key = self._issuers.key(issuer, algorithm, key_id)
        except UnavailableError:
            raise refused("issuer-keys") from None
        if key is None:
            raise refused("key")
        nonce = token_nonce(core.room_id, public_key, salt)
        claims = oidc.verify_token(token, key, issuer=issuer, nonce=nonce, now=core.clock())
        fit = [state for state in known if oidc.is_for(claims, state.said["audience"])]
        if not fit:
            raise refused("audience")
        named = [state for state in fit if oidc.names(claims, state.said["claim"], state.said["value"])]
        if len({state.actor for state in named}) != 1:
            raise refused("identity")
        return self._begin(named[0].id, public_key, address, lambda _rows, _state: None)

    def by_passkey(self, public_key: bytes, challenge: bytes, expires: int, answer: str, address: str) -> Session:
        """Sign in with what a passkey answered to a challenge.

        Args:
            public_key: Of the session, 32 B; who asks has shown that they hold it.
            challenge: As `challenge` gave it.
            expires: As `challenge` gave it.
            answer: As the browser gave it, JSON.
            address: From where it is asked.

        Raises:
            DeniedError: Anything of it does not hold.
        """
        core, now = self._core, self._core.clock()
        if not now < expires <= now + CHALLENGE_SECONDS or len(challenge) != CHALLENGE_BYTES:
            raise refused("challenge")
        if not hmac.compare_digest(challenge, self._challenge(public_key, expires)):
            raise refused("challenge")
        name = passkey_name(passkey.answered_by(answer))
        known = [state for state in load(core.state.read(), "name", name) if not state.revoked and state.expires > now]
        if not known or known[0].kind != PASSKEY:
            raise refused("identity")
        signed = assertion_challenge(core.room_id, public_key, challenge, expires)
        passkey.verify_assertion(known[0].passkey, answer, signed)

        def count(rows: Rows, state: IdentityState) -> None:
            # judged with the counter as it is now: of two answers at once, one is the later
            signs = passkey.verify_assertion(state.passkey, answer, signed)
            rows.execute("UPDATE identity SET signs = ? WHERE id = ?", (signs, state.id))

        return self._begin(known[0].id, public_key, address, count)

    def _in_force(self) -> list[IdentityState]:
        """The identities that may sign in now."""
        core = self._core
        number = core.standing.refresh()
        if self._known[0] != number:
            self._known = (number, load(core.state.read()))
        now = core.clock()
        return [state for state in self._known[1] if not state.revoked and state.expires > now]

    def _begin(
        self, ident: str, public_key: bytes, address: str, more: Callable[[Rows, IdentityState], None]
    ) -> Session:
        """Make the session, in one transaction with its entry."""
        core = self._core

        def job(rows: Rows) -> Session:
            core.standing.refresh(rows)
            now = core.journal.now(rows)
            state = load(rows, "id", ident)[0]
            if state.revoked or state.expires <= now:
                raise refused("identity")
            if state.actor not in core.standing.policy.actors or core.standing.decider.stopped(state.actor):
                raise refused("actor")
            session = _session(state, public_key, now)
            try:
                session.check(now, address)
            except DeniedError:
                raise refused("networks") from None
            own = credential_id(public_key)
            if rows.execute("SELECT 1 FROM credential WHERE id = ?", (own,)).fetchone() is not None:
                raise refused("once")
            more(rows, state)
            self._tidy(rows, state.id, now)
            _insert(rows, session)
            extras = {"credential": own, "identity": state.id, "kind": state.kind, "expires": int(session.expires)}
            core.journal.note(rows, core.journal.entry(rows, ACT, state.actor, extras=extras))
            return Session(own, state.actor, session.expires)

        made: Session = core.run(job)
        core.noted.set()
        return made

    def _tidy(self, rows: Rows, ident: str, now: float) -> None:
        """Drop rows of sessions that ended long ago, and keep those of one identity few."""
        ended = "identity != '' AND (expires < ? OR (revoked > 0.0 AND revoked < ?))"
        rows.execute(f"DELETE FROM credential WHERE {ended}", (now - ENDED_SECONDS, now - ENDED_SECONDS))  # noqa: S608
        sql = "SELECT count(*) FROM credential WHERE identity = ? AND made > ?"
        if rows.execute(sql, (ident, now - DAY_SECONDS)).fetchone()[0] >= SIGN_INS_DAY_MAX:
            raise refused("often")
        sql = "SELECT id FROM credential WHERE identity = ? AND revoked = 0.0 AND expires > ? ORDER BY made DESC, id"
        for (oldest,) in rows.execute(sql, (ident, now)).fetchall()[SESSIONS_MAX - 1 :]:
            rows.execute("UPDATE credential SET revoked = ? WHERE id = ?", (now, oldest))
            take(rows, "standing")

    # -- what was refused -----------------------------------------------------------------------
    def refuse(self, check: str, times: int = 1) -> None:
        """Count sign-ins that were refused, by the name of the check; note the counts when it is time to."""
        with self._lock:
            self._counts[check] += times
            due = self._core.clock() - self._told >= REFUSED_SECONDS
        if due:
            self.tell()

    def tell(self) -> None:
        """Note what was refused since the last such entry; nothing where nothing was."""
        core = self._core
        with self._lock:
            counts, self._counts = self._counts, Counter()
            if not counts:
                return
            self._told = core.clock()

        def job(rows: Rows) -> None:
            core.standing.refresh(rows)
            extras = {"count": counts.total(), **counts}
            entry = core.journal.entry(rows, ACT, "keymaster", decision="refused", rule="signin", extras=extras)
            core.journal.note(rows, entry)

        try:
            core.run(job)
        except StrongroomError:
            return  # who asks must not learn that the log could not be written: nothing was released
        core.noted.set()


def _session(state: IdentityState, public_key: bytes, now: float) -> CredentialState:
    expires = min(now + state.hours * 3600.0, state.expires)
    limits = state.networks, state.purposes, False, NO_OWN
    return CredentialState(credential_id(public_key), state.actor, public_key, *limits, now, expires, 0.0, state.id)


def _insert(rows: Rows, session: CredentialState) -> None:
    limits = json.dumps(session.networks), json.dumps(session.purposes), 0, json.dumps(asdict(session.budgets))
    row = (session.id, session.actor, session.public_key, *limits, session.made, session.expires, 0.0)
    rows.execute("INSERT INTO credential VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, session.identity))
