"""`strongroom schema`: print the schema in force, or propose another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    open_room,
    print_table,
    say,
    where,
)
from strongroom.cli.create import read_text


def schema(
    actor: ActorOption,
    file: Annotated[Path | None, typer.Option("--set", help="Keep this schema from now on.", metavar="FILE")] = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Print tables, fields and classes; with --set keep a new version, under which older records still open."""
    with open_room(where(room, keys, passphrase_file), actor) as opened:
        if file is not None:
            receipt = opened.set_schema(read_text(file))
            say(f"schema {opened.schema.number} is in force, log entry {receipt.leaf}")
            return
        rows = [
            (t.name, f.name, f.type, f.klass, "find" if f.find else "", "subject" if f.name == t.subject else "")
            for t in opened.schema.tables.values()
            for f in t.fields
        ]
    print_table(("table", "field", "type", "class", "index", "subject"), rows)


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("schema")(schema)
