"""`strongroom create`: make a room and its keymaster from a schema and a policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli.common import (
    DatabaseOption,
    KeysOption,
    ModuleOption,
    PassphraseOption,
    RoomOption,
    Where,
    ask_passphrase,
    local_folder,
    refuse_store,
    say,
    token_of,
    where,
)
from strongroom.errors import ConflictError, NotFoundError, UsageError


def create(
    schema: Annotated[Path, typer.Option("--schema", help="Schema file.", metavar="FILE")],
    policy: Annotated[Path, typer.Option("--policy", help="Policy file.", metavar="FILE")],
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    keys_store: Annotated[
        str | None,
        typer.Option(
            "--keys-store", help="Store for key pages and log; in the keymaster's folder when not given.", metavar="URL"
        ),
    ] = None,
    database: DatabaseOption = None,
    token: Annotated[
        str | None, typer.Option("--token", help="Token that opens it, instead of a passphrase.", metavar="LABEL")
    ] = None,
    pin_file: Annotated[
        Path | None, typer.Option("--pin-file", help="File with its PIN; asked for when not given.", metavar="FILE")
    ] = None,
    pkcs11_module: ModuleOption = None,
) -> None:
    """Make a room and its keymaster. Neither may be there already."""
    import strongroom

    place = where(room, keys, passphrase_file)
    if token is not None:
        place = replace(place, token=token_of(token, pin_file, pkcs11_module))
    schema_text, policy_text = read_text(schema), read_text(policy)
    _refuse_places(place)
    if keys_store is not None:
        refuse_store(place.room, keys_store)
    unlock = place.unlock()
    typed = place.token is None and place.passphrase_file is None
    if typed and ask_passphrase("the same passphrase again: ") != unlock["passphrase"]:
        raise UsageError("the two passphrases differ")
    keymaster = strongroom.create_keymaster(
        place.keys, schema=schema_text, policy=policy_text, store=keys_store, database=database, **unlock
    )
    with keymaster:
        strongroom.create(place.room, keys=keymaster)
    say(f"room {place.room} and keymaster {place.keys} are made")
    say("the embedded keymaster does not protect against whoever controls this process or holds both folders")


def _refuse_places(place: Where) -> None:
    """Look at both places before anything is made: a keymaster without its room would be in the way."""
    if place.served:
        raise UsageError("a keymaster is made in a folder", hint="--keys FOLDER, on the keymaster's own host")
    folder = local_folder(place.room)
    if folder is None:
        from strongroom.room import try_place

        try_place(place.room)
        return
    room, keys = folder.resolve(), Path(place.keys).resolve()
    if room == keys or room in keys.parents or keys in room.parents:
        raise UsageError(
            "room and keymaster may not lie in one another", hint="give each a folder of its own, best on another host"
        )
    if not room.parent.is_dir():
        raise NotFoundError(f"there is no folder {folder.parent} to make the room in")
    if room.exists() and (not room.is_dir() or any(item.name != ".tmp" for item in room.iterdir())):
        raise ConflictError(f"{place.room} is not empty", hint="a room is made in an empty folder or bucket")


def read_text(path: Path) -> str:
    """The text of a file; UsageError names the file when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", hint="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path} as UTF-8 text") from error


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("create")(create)
