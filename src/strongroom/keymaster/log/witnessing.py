"""Ask witnesses to cosign a checkpoint before it counts: all at once, within a bounded time.

Source: C2SP tlog-witness. Each witness is sent the checkpoint and the proof that it continues what that witness knows.

Rules it keeps:

1. A checkpoint counts with the cosignatures of as many witnesses as the policy in force says. Fewer is an
   UnavailableError that says who answered what.
2. A witness that says the log is shorter than it was, or forked, stops publishing, however many others cosign: until
   the policy names it no more, or the keymaster is started again and the witness says so no longer.
3. At most one thread a witness, whatever it does: one that has not ended is not asked again, and counts as silent.
4. No answer is believed but a cosignature that verifies, and what stops: neither needs the connection to be trusted
   for the log to be right.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.audit.cosign import (
    WITNESSES_MAX,
    Cosigner,
    Quorum,
    check_quorum,
    cosigned_at,
    cosigners_of,
    make_quorum,
    parse_cosigner,
)
from strongroom.audit.note import Checkpoint, Note, Signature, parse_checkpoint, parse_note
from strongroom.audit.submission import ADD_CHECKPOINT, SIZE_TYPE, Submission, parse_cosignatures, parse_size
from strongroom.errors import IntegrityError, PolicyError, StrongroomError, UnavailableError, UsageError
from strongroom.purpose.model import WitnessRule

if TYPE_CHECKING:
    from urllib3 import PoolManager

ASK_SECONDS = 5.0
"""How long a checkpoint waits for its witnesses."""
GRACE_SECONDS = 0.25
"""How long it waits for the others when enough have cosigned."""
TRIES = 3
ANSWER_BYTES_MAX = 1 << 16
TEXT_TYPE = "text/plain; charset=utf-8"

Prove = Callable[[int], list[bytes]]


@dataclass(frozen=True)
class Rule:
    """A policy's rule with its keys read: the quorum, and where each of its witnesses is asked."""

    quorum: Quorum
    urls: tuple[str, ...]


def rule_of(stated: WitnessRule | None) -> Rule | None:
    """Read the keys of a policy's rule.

    Raises:
        PolicyError: One is no key of a witness, or two witnesses share one.
    """
    if stated is None:
        return None
    try:
        witnesses = [parse_cosigner(witness.key) for witness in stated.witnesses]
        return Rule(make_quorum(stated.quorum, witnesses), tuple(witness.url for witness in stated.witnesses))
    except UsageError as error:
        raise PolicyError(f"witnesses: {error}", hint=error.hint) from None


class _Silent(Exception):  # noqa: N818 - not an error that leaves this module: why a witness did not cosign
    """Why a witness did not cosign."""


class _Asked:
    """One witness in one round: what came of it."""

    def __init__(self) -> None:
        self.signature: Signature | None = None
        self.silent = "no answer in time"
        self.done = False


class _Link:
    """One witness: where it is, how far it knows the log, whether a thread is asking it, and what stops at its word."""

    def __init__(self, cosigner: Cosigner, url: str) -> None:
        self.cosigner = cosigner
        self.url = url
        self.known = 0
        self.busy = False
        self.refusal: IntegrityError | None = None


class Witnessing:
    """The witnesses of one log; see `audit.log.Cosigning`.

    Args:
        committed: Gives the number of entries that are durable.
        seconds: How long a checkpoint waits for its witnesses.
    """

    def __init__(self, committed: Callable[[], int], seconds: float = ASK_SECONDS) -> None:
        self._committed = committed
        self.seconds = seconds
        self._rule: Rule | None = None
        self._links: list[_Link] = []
        self._changed = threading.Condition()
        self._pool: PoolManager | None = None
        self.short: UnavailableError | None = None
        """What the last checkpoint that too few cosigned was refused with."""

    def use(self, rule: Rule | None) -> Witnessing | None:
        """Ask the witnesses of this rule from now on; None where there is none."""
        if rule != self._rule:
            known = {(link.cosigner, link.url): link for link in self._links}
            pairs = () if rule is None else zip(rule.quorum.witnesses, rule.urls, strict=True)
            self._links = [known.get(pair) or _Link(*pair) for pair in pairs]
            self._rule = rule
        return None if rule is None else self

    def close(self) -> None:
        """Let go of the connections."""
        with self._changed:
            if self._pool is not None:
                self._pool.clear()

    @property
    def quorum(self) -> Quorum | None:
        """The rule in force."""
        return None if self._rule is None else self._rule.quorum

    def counts(self, text: str) -> bool:
        """Whether a stored checkpoint has enough cosignatures; what it has says how far its witnesses know the log."""
        if self._rule is None:
            return True
        found, size = cosigners_of(text, self._rule.quorum.witnesses), parse_checkpoint(parse_note(text).text).size
        for link in self._links:
            if link.cosigner.name in found:
                link.known = max(link.known, size)
        return len(found) >= self._rule.quorum.least

    def cosign(self, text: str, prove: Prove) -> str:
        """See `Cosigning.cosign`.

        Raises:
            UnavailableError: Fewer than enough cosigned.
            IntegrityError: A witness says that the log is shorter than it was, or forked.
        """
        if self._rule is None:
            return text
        self._stop_refused()
        point, asked = parse_checkpoint(parse_note(text).text), {}
        committed = self._committed()
        for link in self._links:
            one = asked[link.cosigner.name] = _Asked()
            if link.busy:
                one.silent, one.done = "still busy with what it was asked before", True
                continue
            link.busy = True
            args = (link, one, text, point, committed, prove)
            threading.Thread(target=self._run, args=args, name="strongroom-witness", daemon=True).start()
        self._wait(asked, self._rule.quorum.least)
        self._stop_refused()
        return self._with(text, asked, self._rule.quorum)

    def _wait(self, asked: Mapping[str, _Asked], least: int) -> None:
        """Until all have answered, or enough and the grace is over, or the time is."""
        end, met = time.monotonic() + self.seconds, None
        with self._changed:
            while not all(one.done for one in asked.values()):
                now = time.monotonic()
                if met is None and sum(one.signature is not None for one in asked.values()) >= least:
                    met = now + GRACE_SECONDS
                left = (end if met is None else min(met, end)) - now
                if left <= 0:
                    return
                self._changed.wait(left)

    def _stop_refused(self) -> None:
        for link in self._links:
            if link.refusal is not None:
                raise IntegrityError(str(link.refusal), hint=link.refusal.hint)

    def _with(self, text: str, asked: Mapping[str, _Asked], quorum: Quorum) -> str:
        """The checkpoint with what was cosigned, in the rule's order."""
        with self._changed:
            signed = [one.signature for one in asked.values() if one.signature is not None]
            silent = {name: one.silent for name, one in asked.items() if one.signature is None}
        if len(signed) < quorum.least:
            said = "; ".join(f"{name}: {why}" for name, why in silent.items())
            self.short = UnavailableError(
                f"{quorum.least} of {len(asked)} witnesses must cosign the log's checkpoint, {len(signed)} did: {said}",
                hint="what was done is in the log; it is published as soon as enough witnesses answer",
            )
            raise self.short
        note = parse_note(text)
        made = str(Note(note.text, (*note.signatures, *signed)))
        check_quorum(made, quorum)
        return made

    # -- one witness, in a thread of its own ----------------------------------------------------
    def _run(self, link: _Link, one: _Asked, text: str, point: Checkpoint, committed: int, prove: Prove) -> None:
        signature, silent, refusal = None, "", None
        try:
            signature = self._ask(link, text, point, committed, prove)
        except _Silent as why:
            silent = str(why)
        except IntegrityError as error:
            refusal = error
        except StrongroomError as error:
            silent = str(error)
        except Exception as error:  # noqa: BLE001  in a thread nobody would learn of it; what it says may hold a value
            silent = f"a defect of the keymaster: {type(error).__name__}"
        finally:
            with self._changed:
                one.signature, one.silent, one.done = signature, silent, True
                link.busy, link.refusal = False, refusal
                self._changed.notify_all()
            if refusal is not None:
                logging.getLogger("strongroom").critical("%s; nothing is published any more", refusal)

    def _ask(self, link: _Link, text: str, point: Checkpoint, committed: int, prove: Prove) -> Signature:
        old = min(link.known, point.size)
        for _ in range(TRIES):
            status, kind, body = self._post(link, old, text, prove)
            if status == 200:
                return self._cosigned(link, text, point, body)
            if status == 422:
                raise _refusal(link, f"that of {point.size} entries does not continue that of {old} that it knows")
            if status != 409:
                raise _Silent(_SAID.get(status, f"answered {status}"))
            known = _size(kind, body)
            if known == old == point.size:
                raise _refusal(link, f"it knows another log of {point.size} entries")
            if known > committed:
                raise _refusal(link, f"it knows a log of {known} entries, and the keymaster has {committed}")
            if known > point.size:
                raise _Silent(f"has cosigned {known} entries already")
            old = link.known = known
        raise _Silent("names another size each time")

    def _post(self, link: _Link, old: int, text: str, prove: Prove) -> tuple[int, str, bytes]:
        import urllib3  # late: a keymaster without witnesses starts without it

        body = str(Submission(old, tuple(prove(old)), text)).encode()
        for last in (False, True):
            try:
                return self._sent(link.url + ADD_CHECKPOINT, body)
            except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
                if last or not isinstance(error, urllib3.exceptions.ProtocolError):  # it was kept too long
                    raise _Silent(f"does not answer ({type(error).__name__})") from None
        raise AssertionError("the loop returns or raises")

    def _sent(self, url: str, body: bytes) -> tuple[int, str, bytes]:
        import urllib3

        with self._changed:
            if self._pool is None:
                self._pool = urllib3.PoolManager(WITNESSES_MAX, maxsize=1, retries=False)
        answer = self._pool.urlopen(
            "POST",
            url,
            body=body,
            headers={"Content-Type": TEXT_TYPE},
            redirect=False,
            timeout=urllib3.Timeout(total=self.seconds),
            preload_content=False,
        )
        data = answer.read(ANSWER_BYTES_MAX + 1, decode_content=False)
        if len(data) > ANSWER_BYTES_MAX:
            answer.close()
            raise _Silent("answered too much")
        answer.release_conn()
        return answer.status, answer.headers.get("content-type", ""), data

    def _cosigned(self, link: _Link, text: str, point: Checkpoint, body: bytes) -> Signature:
        """The witness's own line of an answer, verified."""
        own = link.cosigner
        try:
            lines = [s for s in parse_cosignatures(body) if (s.name, s.key_id) == (own.name, own.key_id)]
            if not lines or cosigned_at(Note(parse_note(text).text, tuple(lines)), own) is None:
                raise _Silent("answered without a cosignature of its key")
        except IntegrityError:
            raise _Silent("its cosignature does not verify") from None
        link.known = point.size
        return lines[0]


_SAID: Mapping[int, str] = {
    400: "does not understand what it was sent",
    403: "does not know the key that the log signs with",
    404: "does not know this log",
    503: "cannot keep what it cosigns",
}


def _size(kind: str, body: bytes) -> int:
    try:
        if kind != SIZE_TYPE:
            raise _Silent("answered 409 without a size")
        return parse_size(body)
    except IntegrityError:
        raise _Silent("answered 409 without a size") from None


def _refusal(link: _Link, what: str) -> IntegrityError:
    return IntegrityError(
        f"witness {link.cosigner.name} refuses the log: {what}",
        hint="the keymaster was set back, or somebody rewrites its log: see docs/reference/witness.md",
    )
