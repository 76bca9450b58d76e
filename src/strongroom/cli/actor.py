"""`strongroom actor`: the credentials with which actors sign what they ask of a keymaster behind its server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    keys_only,
    leave_beside,
    minute,
    open_keymaster,
    print_json,
    print_table,
    say,
)
from strongroom.errors import UsageError

if TYPE_CHECKING:
    from strongroom.keymaster.credentials import CredentialState

DAYS_DEFAULT = 90

actor_app = typer.Typer(
    name="actor", help="The credentials that speak for actors.", no_args_is_help=True, rich_markup_mode=None
)

NameArgument = Annotated[str, typer.Argument(help="An actor of the policy.", metavar="NAME")]


def key(
    name: NameArgument,
    room_id: Annotated[
        str, typer.Option("--room-id", help="32 hex digits; `keymaster serve` prints them.", metavar="ID")
    ],
    out: Annotated[Path, typer.Option("--out", help="New file for the credential.", metavar="FILE")],
) -> None:
    """Make a key pair on this machine. It prints the public line that `actor add --line` takes; the key stays here."""
    from strongroom.identity.credential import new_credential, public_line

    try:
        room = bytes.fromhex(room_id)
    except ValueError:
        room = b""
    if len(room) != 16:
        raise UsageError("a room's id has 32 hex digits")
    made = new_credential(room, name)
    made.write(out)
    print(public_line(made))


def add(
    name: NameArgument,
    actor: ActorOption,
    line: Annotated[
        str | None, typer.Option("--line", help="Public line of a key pair made elsewhere.", metavar="LINE")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Make the key pair here, into a new file.", metavar="FILE")
    ] = None,
    days: Annotated[int, typer.Option("--days", help="How long it lasts.", metavar="N")] = DAYS_DEFAULT,
    network: Annotated[
        list[str] | None, typer.Option("--network", help="From where it may be used; anywhere without.", metavar="NET")
    ] = None,
    purpose: Annotated[
        list[str] | None, typer.Option("--purpose", help="What it may read for; all without.", metavar="NAME")
    ] = None,
    server: Annotated[bool, typer.Option("--server", help="It is a server's, which is trusted to mask.")] = False,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Persons it may have released: hour=20,day=50.", metavar="BUDGET")
    ] = None,
    lookups: Annotated[
        str | None, typer.Option("--lookups", help="Values it may look up; else ten times --budget.", metavar="BUDGET")
    ] = None,
    put: Annotated[str | None, typer.Option("--put", help="Records it may put.", metavar="BUDGET")] = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a key pair speak for an actor."""
    from strongroom.identity.credential import new_credential, parse_public_line
    from strongroom.keymaster.wanted import Wanted, parse_budget
    from strongroom.purpose.budget import OwnBudgets
    from strongroom.purpose.model import Budget

    own = OwnBudgets(*(Budget() if text is None else parse_budget(text) for text in (budget, lookups, put)))
    if (line is None) == (out is None):
        raise UsageError("either --line of a key pair made elsewhere, or --out for one made here")
    with open_keymaster(keys_only(keys, passphrase_file)) as keymaster:
        if line is not None:
            named, public_key = parse_public_line(line)
            if named != name:
                raise UsageError(f"the line is {named}'s, not {name}'s")
        elif out is not None:
            made = new_credential(keymaster.room_id, name)
            public_key = made.public_key
            made.write(out)
        try:
            wanted = Wanted(name, public_key, days, tuple(network or ()), tuple(purpose or ()), server, own)
            state = keymaster.credentials.add(actor, wanted)
        except BaseException:
            if out is not None:
                out.unlink(missing_ok=True)  # a key that nobody knows
            raise
    if state is None:
        say("asked: another person who may `actors` agrees with `strongroom approve`")
    elif as_json:
        print_json(state.to_dict())
    else:
        say(f"credential {state.id} speaks for {state.actor} until {minute(state.expires)} UTC")


def list_(
    actor: ActorOption,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every credential there is or was."""
    with open_keymaster(keys_only(keys, passphrase_file)) as keymaster:
        found = keymaster.credentials.all(actor)
    if as_json:
        print_json([state.to_dict() for state in found])
        return
    headings = ("credential", "actor", "kind", "networks", "purposes", "budgets", "until", "state")
    print_table(headings, [_row(state) for state in found])


def _row(state: CredentialState) -> tuple[str, ...]:
    kind = "server" if state.server else "caller"
    networks, purposes = ", ".join(state.networks) or "anywhere", ", ".join(state.purposes) or "all"
    now = f"revoked {minute(state.revoked)}" if state.revoked else "in force"
    return (state.id, state.actor, kind, networks, purposes, _budgets(state), minute(state.expires), now)


def _budgets(state: CredentialState) -> str:
    from strongroom.keymaster.wanted import budget_words

    own = state.budgets
    named = (("persons", own.budget), ("look-ups", own.lookups), ("records", own.put))
    return "; ".join(f"{name} {words}" for name, budget in named if (words := budget_words(budget))) or "none"


def revoke(
    ident: Annotated[str, typer.Argument(help="Id of the credential, as `actor list` prints it.", metavar="ID")],
    actor: ActorOption,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """End a credential at once."""
    place = keys_only(keys, passphrase_file)
    with open_keymaster(place) as keymaster:
        state = keymaster.credentials.revoke(actor, ident)
        leave_beside(place, keymaster)
    say(f"credential {state.id} speaks for {state.actor} no more")


def add_to(app: typer.Typer) -> None:
    """Add this group of verbs."""
    actor_app.command("key")(key)
    actor_app.command("add")(add)
    actor_app.command("list")(list_)
    actor_app.command("revoke")(revoke)
    app.add_typer(actor_app, name="actor")
