"""`strongroom schema`: print the schema in force, or propose another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    open_room,
    print_json,
    print_table,
    say,
    where,
)
from strongroom.cli.create import read_text
from strongroom.errors import ConflictError

if TYPE_CHECKING:
    from strongroom.erase.retention import Expiring


def schema(
    actor: ActorOption,
    file: Annotated[Path | None, typer.Option("--set", help="Keep this schema from now on.", metavar="FILE")] = None,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", help="A table of which nothing would be left by its retention.", metavar="TABLE"),
    ] = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print tables, fields and classes; with --set keep a new version, under which older records still open."""
    with open_room(where(room, keys, passphrase_file), actor) as opened:
        if file is not None:
            text = read_text(file)
            _refuse_emptying(opened.retention(schema=text) if "retention" in text else [], confirm)
            receipt = opened.set_schema(text)
            if receipt.asked:
                say(f"asked: another person who may `schema` runs `strongroom approve {receipt.asked}`")
            else:
                say(f"schema {opened.schema.number} is in force, log entry {receipt.leaf}")
            return
        if as_json:
            print_json(json.loads(opened.schema.to_json()))
            return
        rows = [
            (t.name, f.name, f.type, f.klass, "find" if f.find else "", "subject" if f.name == t.subject else "")
            for t in opened.schema.tables.values()
            for f in t.fields
        ]
    print_table(("table", "field", "type", "class", "index", "subject"), rows)


def _refuse_emptying(expiring: list[Expiring], confirm: str | None) -> None:
    """A retention under which no record of a table would be left is asked about."""
    for table in expiring:
        if table.everything and table.table != confirm:
            raise ConflictError(
                f"the retention of {table.table} would let all of its {table.records:,} records expire",
                hint=f"`strongroom retention --schema FILE` lists counts; --confirm {table.table} keeps it so",
            )


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("schema")(schema)
