"""`strongroom freeze` and `strongroom unfreeze`: stop an actor, a purpose or the room; two persons lift it."""

from __future__ import annotations

from typing import Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    ReasonOption,
    RoomOption,
    leave_beside,
    minute,
    open_keymaster,
    print_json,
    print_table,
    say,
    where,
)
from strongroom.errors import UsageError

KindArgument = Annotated[str, typer.Argument(help="actor, purpose or room.", metavar="KIND")]
NameArgument = Annotated[str, typer.Argument(help="Which; nothing for the room.", metavar="NAME")]


def freeze(
    actor: ActorOption,
    kind: Annotated[str | None, typer.Argument(help="actor, purpose or room; nothing to list.", metavar="KIND")] = None,
    name: NameArgument = "",
    reason: Annotated[str, typer.Option("--reason", help="Why.", metavar="TEXT")] = "",
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop an actor, a purpose, or everything, at once. Without a kind: list what is frozen."""
    place = where(room, keys, passphrase_file)
    with open_keymaster(place, actor) as keymaster:
        if kind is None:
            found = keymaster.freezing.all()
            if as_json:
                print_json([one.to_dict() for one in found])
            else:
                rows = [(one.kind, one.name, one.actor, minute(one.at), one.leaf) for one in found]
                print_table(("kind", "name", "by", "since", "entry"), rows)
            return
        receipt = keymaster.freezing.freeze(actor, kind, _name(kind, name), reason)
        leave_beside(place, keymaster)
    say(f"{kind} {_name(kind, name)} is frozen, log entry {receipt.leaf}: another person agrees before it goes on")


def unfreeze(
    actor: ActorOption,
    kind: KindArgument,
    reason: ReasonOption,
    name: NameArgument = "",
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Ask to lift a freeze; another person agrees with `strongroom approve`."""
    with open_keymaster(where(room, keys, passphrase_file), actor) as keymaster:
        asked = keymaster.freezing.ask_lift(actor, kind, _name(kind, name), reason)
    say(f"asked: another person who may `freeze` runs `strongroom approve {asked.id}`")


def _name(kind: str, name: str) -> str:
    if kind == "room":
        return "room"
    if not name:
        raise UsageError(f"which {kind} is frozen?")
    return name


def add_to(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("freeze")(freeze)
    app.command("unfreeze")(unfreeze)
