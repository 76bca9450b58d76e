"""`strongroom ask`, `strongroom approve` and `strongroom review`: what takes a second person, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    PurposeOption,
    ReasonOption,
    keys_only,
    minute,
    open_keymaster,
    print_json,
    print_table,
    say,
)
from strongroom.errors import UsageError

if TYPE_CHECKING:
    from strongroom.keymaster.approvals import Asked


def ask(
    actor: ActorOption,
    purpose: PurposeOption,
    reason: ReasonOption,
    persons: Annotated[int, typer.Option("--persons", help="How many at most.", metavar="N")],
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Ask to read what a purpose lets nobody read alone. Prints the id that `--approval` takes once it is agreed to."""
    with open_keymaster(keys_only(keys, passphrase_file), actor) as keymaster:
        asked = keymaster.approvals.ask_read(actor, purpose, persons, reason)
    print(asked.id)
    say(f"asked: it waits until {minute(asked.expires)} UTC for somebody who approves reads for {purpose}")


def approve(
    actor: ActorOption,
    ident: Annotated[str | None, typer.Argument(help="What is agreed to; nothing to list.", metavar="ID")] = None,
    refuse: Annotated[bool, typer.Option("--refuse", help="Refuse it.")] = False,
    show: Annotated[bool, typer.Option("--text", help="Print what was asked, whole.")] = False,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Agree to what another person asked, or list what waits."""
    with open_keymaster(keys_only(keys, passphrase_file), actor) as keymaster:
        if ident is None or show:
            found = [one for one in keymaster.approvals.waiting(actor) if ident is None or one.id == ident]
            _print(found, as_json=as_json, whole=show)
            return
        done = keymaster.approvals.decide(actor, ident, agree=not refuse)
    say(f"{done.kind} of {done.actor}: {done.state}" + (f" until {minute(done.expires)} UTC" if _lasts(done) else ""))


def _lasts(asked: Asked) -> bool:
    return asked.kind == "read" and asked.state == "approved"


def _print(found: list[Asked], *, as_json: bool, whole: bool) -> None:
    if as_json:
        print_json([one.to_dict() for one in found])
    elif whole:
        for one in found:
            print(one.said.get("text") or one.reason)
    else:
        rows = [(one.id, one.kind, one.actor, one.state, minute(one.expires), _what(one)) for one in found]
        print_table(("id", "kind", "asked by", "state", "until", "what"), rows)


def _what(asked: Asked) -> str:
    said = asked.said
    if asked.kind == "read":
        return f"{said['persons']} persons for {said['purpose']}: {asked.reason}"
    if asked.kind == "unfreeze":
        return f"{said['kind']} {said['name']}: {asked.reason}"
    if asked.kind == "code-row":
        return f"opens the code row of export {said['export']}: {asked.reason}"
    if asked.kind == "actors":
        return credential_words(said)
    if asked.kind == "identity":
        return f"{said['of_actor']} signs in by {identity_words(said)}"
    return f"another {asked.kind}: --text prints it"


def credential_words(said: Mapping[str, Any]) -> str:
    """A key pair that is going to speak for an actor, with all that limits it, and whether it is trusted to mask."""
    from strongroom.keymaster.wanted import Wanted, named_budgets

    wanted = Wanted.from_dict(said)
    what = "a server's credential" if wanted.server else "a credential"
    where = ", ".join(wanted.networks) or "anywhere"
    purposes = ", ".join(wanted.purposes) or "all purposes"
    budgets = named_budgets(wanted.budgets) or "no budget of its own"
    return f"{what} of {wanted.of}, {wanted.id}; for {wanted.days:g} days; from {where}; {purposes}; {budgets}"


def identity_words(said: Mapping[str, Any]) -> str:
    """What somebody is going to sign in by, with its limits: whoever agrees has to see all of it."""
    own = said["said"]
    how = f"passkey {own['id']}" if said["kind"] == "passkey" else "{issuer} {audience}, {claim} {value}".format(**own)
    where = ", ".join(said["networks"]) or "anywhere"
    what = ", ".join(said["purposes"]) or "all purposes"
    return f"{how}; for {said['days']:g} days, {said['hours']:g} hours each time; from {where}; {what}"


def review(
    actor: ActorOption,
    ident: Annotated[str | None, typer.Argument(help="Which; nothing to list.", metavar="ID")] = None,
    close: Annotated[str | None, typer.Option("--close", help="What came of it.", metavar="TEXT")] = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the reads that broke the glass, or close the review of one with a text."""
    if (ident is None) != (close is None):
        raise UsageError("a review is closed by its id and a text", hint="`strongroom review ID --close TEXT`")
    with open_keymaster(keys_only(keys, passphrase_file), actor) as keymaster:
        if ident is not None and close is not None:
            receipt = keymaster.reviews.close(actor, ident, close)
            say(f"review {ident} is closed, log entry {receipt.leaf}")
            return
        found = keymaster.reviews.all(actor)
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    rows = [
        (one.id, one.actor, one.purpose, minute(one.at), f"closed by {one.closed_by}" if one.closed else "open")
        for one in found
    ]
    print_table(("review", "actor", "purpose", "at", "state"), rows)


def add_to(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("ask")(ask)
    app.command("approve")(approve)
    app.command("review")(review)
