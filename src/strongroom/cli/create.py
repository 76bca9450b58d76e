"""`strongroom create`: make a room and its keymaster from a schema and a policy."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli.common import KeysOption, PassphraseOption, RoomOption, say, where
from strongroom.errors import UsageError


def create(
    schema: Annotated[Path, typer.Option("--schema", help="Schema file.", metavar="FILE")],
    policy: Annotated[Path, typer.Option("--policy", help="Policy file.", metavar="FILE")],
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Make a room and its keymaster. Neither may be there already."""
    import strongroom

    place = where(room, keys, passphrase_file)
    passphrase = place.passphrase()
    if place.passphrase_file is None and sys.stdin.isatty():
        again = getpass.getpass("the same passphrase again: ", stream=sys.stderr)
        if again != passphrase:
            raise UsageError("the two passphrases differ")
    keymaster = strongroom.create_keymaster(
        place.keys, passphrase=passphrase, schema=read_text(schema), policy=read_text(policy)
    )
    with keymaster:
        strongroom.create(place.room, keys=keymaster)
    say(f"room {place.room} and keymaster {place.keys} are made")
    say("the embedded keymaster does not protect against whoever controls this process or holds both folders")


def read_text(path: Path) -> str:
    """The text of a file; UsageError names the file when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path} as UTF-8 text") from error


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("create")(create)
