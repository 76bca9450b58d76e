"""`strongroom actor add` for people: whom an issuer names, or whose passkey it is, signs in as an actor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from strongroom.cli.common import minute
from strongroom.errors import UsageError

if TYPE_CHECKING:
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


def identity_row(state: IdentityState) -> tuple[str, ...]:
    """One line of `actor list`."""
    networks, purposes = ", ".join(state.networks) or "anywhere", ", ".join(state.purposes) or "all"
    now = f"revoked {minute(state.revoked)}" if state.revoked else "in force"
    kind = state.kind if state.kind == "passkey" else f"{state.said['claim']} {state.said['value']}"
    return (state.id, state.actor, kind, networks, purposes, "", minute(state.expires), now)


def told(state: IdentityState) -> str:
    """What `actor add` says when it is done."""
    how = f"its passkey {state.id}" if state.kind == "passkey" else f"{state.said['claim']} of {state.said['issuer']}"
    return f"{state.actor} signs in by {how} until {minute(state.expires)} UTC, for {state.hours:g} hours each time"
