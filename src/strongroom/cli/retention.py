"""`strongroom retention`: how many records have expired, or would under another schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    print_json,
    print_table,
    say,
    where,
)
from strongroom.cli.create import read_text
from strongroom.cli.reach import reach_room


def retention(
    actor: ActorOption,
    schema: Annotated[
        Path | None, typer.Option("--schema", help="Count under this schema, not the one in force.", metavar="FILE")
    ] = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count the records whose retention has ended, by table. Nothing is removed: `compact` does that."""
    with reach_room(where(room, keys, passphrase_file), actor) as opened:
        found = opened.retention(schema=None if schema is None else read_text(schema))
    if as_json:
        print_json([table.to_dict() for table in found])
    elif not found:
        say("no table has a retention")
    else:
        print_table(
            ("table", "days", "counted from", "records", "expired"),
            [(t.table, t.days, t.by, t.records, t.expired) for t in found],
        )


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("retention")(retention)
