"""`strongroom actor add` for people: whom an issuer names, or whose passkey it is, signs in as an actor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from strongroom.cli.common import minute
from strongroom.errors import UsageError

if TYPE_CHECKING:
    from strongroom.keymaster.credentials import CredentialState
    from strongroom.keymaster.embedded import EmbeddedKeymaster
    from strongroom.keymaster.identities import IdentityState
    from strongroom.keyserver.client import RemoteKeymaster

PASSKEY_PREFIX = "srp1:"


def add_identity(
    keymaster: EmbeddedKeymaster | RemoteKeymaster,
    actor: str,
    name: str,
    line: str | None,
    person: tuple[str | None, str | None, str, str | None],
    limits: Mapping[str, Any],
) -> IdentityState | None:
    """Let a passkey, by its line, or a person (issuer, client id, claim, value) sign in; None when it waits."""
    from strongroom.keymaster.wanted import Person, WantedIdentity

    issuer, client_id, claim, value = person
    who = None
    if line is None:
        if issuer is None or client_id is None or value is None:
            raise UsageError("a person of an issuer is named by --issuer, --client-id and --value")
        who = Person(issuer, client_id, claim, value)
    return keymaster.identities.add(actor, WantedIdentity(name, who, line, **limits))


def asked_id(keymaster: EmbeddedKeymaster | RemoteKeymaster, actor: str, name: str) -> str:
    """The id under which the newest waits that this actor asked for, of what speaks for `name`."""
    waiting = [one for one in keymaster.approvals.waiting(actor) if one.actor == actor and one.state == "waiting"]
    whose = {"actors": "of", "identity": "of_actor"}
    found = [one.id for one in waiting if one.kind in whose and one.said[whose[one.kind]] == name]
    return found[-1] if found else "ID"


def standing(state: CredentialState | IdentityState, clock: Callable[[], float] = time.time) -> str:
    """Whether what speaks for an actor may be used now."""
    if state.revoked:
        return f"revoked {minute(state.revoked)}"
    return "in force" if state.expires > clock() else "expired"


def identity_row(state: IdentityState) -> tuple[str, ...]:
    """One line of `actor list`."""
    networks, purposes = ", ".join(state.networks) or "anywhere", ", ".join(state.purposes) or "all"
    kind = state.kind if state.kind == "passkey" else f"{state.said['claim']} {state.said['value']}"
    return (state.id, state.actor, kind, networks, purposes, "", minute(state.expires), standing(state))


def told(state: IdentityState) -> str:
    """What `actor add` says when it is done."""
    how = f"its passkey {state.id}" if state.kind == "passkey" else f"{state.said['claim']} of {state.said['issuer']}"
    return f"{state.actor} signs in by {how} until {minute(state.expires)} UTC, for {state.hours:g} hours each time"
