"""`strongroom actor`: the credentials with which actors sign what they ask of a keymaster behind its server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli.common import (
    ActorArgument,
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    Where,
    keys_only,
    leave_beside,
    minute,
    open_keymaster,
    print_json,
    print_table,
    say,
)
from strongroom.cli.sessionfile import parse_room_id
from strongroom.cli.signin import new_passkey
from strongroom.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from strongroom.keymaster.credentials import CredentialState
    from strongroom.keymaster.identities import IdentityState

DAYS_DEFAULT = 90

actor_app = typer.Typer(
    name="actor", help="The credentials that speak for actors.", no_args_is_help=True, rich_markup_mode=None
)


def key(
    name: ActorArgument,
    room_id: Annotated[
        str, typer.Option("--room-id", help="32 hex digits; `keymaster serve` prints them.", metavar="ID")
    ],
    out: Annotated[Path, typer.Option("--out", help="New file for the credential.", metavar="FILE")],
) -> None:
    """Make a key pair on this machine. It prints the public line that `actor add --line` takes; the key stays here."""
    from strongroom.identity.credential import new_credential, public_line

    made = new_credential(parse_room_id(room_id), name)
    made.write(out)
    print(public_line(made))


def add(
    name: ActorArgument,
    actor: ActorOption,
    line: Annotated[
        str | None, typer.Option("--line", help="Public line of a key pair or passkey made elsewhere.", metavar="LINE")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Make the key pair here, into a new file.", metavar="FILE")
    ] = None,
    issuer: Annotated[
        str | None, typer.Option("--issuer", help="A person signs in there (OpenID Connect).", metavar="URL")
    ] = None,
    client_id: Annotated[
        str | None, typer.Option("--client-id", help="How the issuer knows Strongroom.", metavar="ID")
    ] = None,
    claim: Annotated[str, typer.Option("--claim", help="Which claim names the person.", metavar="NAME")] = "sub",
    value: Annotated[str | None, typer.Option("--value", help="What it says of this person.", metavar="TEXT")] = None,
    days: Annotated[int, typer.Option("--days", help="How long it lasts.", metavar="N")] = DAYS_DEFAULT,
    hours: Annotated[
        float, typer.Option("--hours", help="How long a person is signed in: 8, at most 24.", metavar="N")
    ] = 8.0,
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
    """Let a key pair speak for an actor, or a person sign in as one: by a passkey, or by an issuer."""
    from strongroom.cli.actor_add import PASSKEY_PREFIX, add_identity, asked_id, told

    if [line, out, issuer].count(None) != 2:
        raise UsageError("one of: --line of what was made elsewhere, --out for a key pair made here, --issuer")
    limits: dict[str, Any] = {"days": days, "networks": tuple(network or ()), "purposes": tuple(purpose or ())}
    own = (budget, lookups, put)
    place = keys_only(keys, passphrase_file)
    if issuer is not None or (line or "").startswith(PASSKEY_PREFIX):
        if server or any(own):
            raise UsageError("a server has a key pair, and so has what has budgets of its own")
        with open_keymaster(place, actor) as keymaster:
            person = (issuer, client_id, claim, value)
            signs_in = add_identity(keymaster, actor, name, line, person, {**limits, "hours": hours})
            waits = asked_id(keymaster, actor, name) if signs_in is None else ""
        _print_added(signs_in, told(signs_in) if signs_in is not None else waits, as_json=as_json)
    else:
        state, waits = _add_key_pair(place, actor, name, line, out, own, {**limits, "server": server})
        said = waits if state is None else f"credential {state.id} speaks for {name} until {minute(state.expires)} UTC"
        _print_added(state, said, as_json=as_json)


def _print_added(state: CredentialState | IdentityState | None, said: str, *, as_json: bool) -> None:
    """What was added; or, when another person has to agree, the id `said` under which it waits."""
    if state is None:
        if as_json:
            print_json({"asked": said})
        say(f"asked: another person who may `actors` runs `strongroom approve {said}`")
    elif as_json:
        print_json(state.to_dict())
    else:
        say(said)


def _add_key_pair(
    place: Where,
    actor: str,
    name: str,
    line: str | None,
    out: Path | None,
    own: tuple[str | None, ...],
    limits: dict[str, Any],
) -> tuple[CredentialState | None, str]:
    """The credential, or the id under which it waits for another person."""
    from strongroom.cli.actor_add import asked_id
    from strongroom.identity.credential import new_credential, parse_public_line
    from strongroom.keymaster.wanted import Wanted, parse_budget
    from strongroom.purpose.budget import OwnBudgets
    from strongroom.purpose.model import Budget

    budgets = OwnBudgets(*(Budget() if text is None else parse_budget(text) for text in own))
    with open_keymaster(place, actor) as keymaster:
        if line is not None:
            named, public_key = parse_public_line(line)
            if named != name:
                raise UsageError(f"the line is {named}'s, not {name}'s")
        elif out is not None:
            made = new_credential(keymaster.room_id, name)
            public_key = made.public_key
            made.write(out)
        try:
            added = keymaster.credentials.add(actor, Wanted(name, public_key, budgets=budgets, **limits))
        except BaseException:
            if out is not None:
                out.unlink(missing_ok=True)  # a key that nobody knows
            raise
        return added, asked_id(keymaster, actor, name) if added is None else ""


def list_(
    actor: ActorOption,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every key pair, and everybody who signs in, that there is or was; sessions while they last."""
    from strongroom.cli.actor_add import identity_row

    with open_keymaster(keys_only(keys, passphrase_file), actor) as keymaster:
        found = keymaster.credentials.all(actor)
        people = keymaster.identities.all(actor)
    if as_json:
        print_json([*(state.to_dict() for state in people), *(state.to_dict() for state in found)])
        return
    headings = ("credential", "actor", "kind", "networks", "purposes", "budgets", "until", "state")
    print_table(headings, [*map(identity_row, people), *map(_row, found)])


def _row(state: CredentialState) -> tuple[str, ...]:
    from strongroom.cli.actor_add import standing

    kind = "server" if state.server else "session" if state.identity else "caller"
    networks, purposes = ", ".join(state.networks) or "anywhere", ", ".join(state.purposes) or "all"
    return (state.id, state.actor, kind, networks, purposes, _budgets(state), minute(state.expires), standing(state))


def _budgets(state: CredentialState) -> str:
    from strongroom.keymaster.wanted import named_budgets

    return named_budgets(state.budgets) or "none"


def revoke(
    ident: Annotated[str, typer.Argument(help="Id of the credential, as `actor list` prints it.", metavar="ID")],
    actor: ActorOption,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """End a key pair, a session, or how a person signs in with all their sessions, at once."""
    place = keys_only(keys, passphrase_file)
    with open_keymaster(place, actor) as keymaster:
        try:
            of = keymaster.credentials.revoke(actor, ident).actor
        except NotFoundError:
            of = keymaster.identities.revoke(actor, ident).actor
        leave_beside(place, keymaster)
    say(f"credential {ident} speaks for {of} no more")


def add_to(app: typer.Typer) -> None:
    """Add this group of verbs."""
    actor_app.command("key")(key)
    actor_app.command("passkey")(new_passkey)
    actor_app.command("add")(add)
    actor_app.command("list")(list_)
    actor_app.command("revoke")(revoke)
    app.add_typer(actor_app, name="actor")
