"""`strongroom check`: read everything and report."""

from __future__ import annotations

from typing import Annotated

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
from strongroom.errors import IntegrityError


def check(
    actor: ActorOption,
    deep: Annotated[bool, typer.Option("--deep", help="Compute the sums of compactions again too.")] = False,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every object of the room and the log, and say what is missing, changed or left over."""
    with open_room(where(room, keys, passphrase_file), actor) as opened:
        report = opened.check(deep=deep)
    if as_json:
        print_json(report.to_dict())
    else:
        if report.rows():
            print_table(("finding", "object", "what", "kind", "holds"), report.rows())
        say(
            f"{report.objects:,} objects, {report.entries:,} entries, {report.log_entries:,} log entries read; "
            f"{len(report.faults)} faults, {len(report.orphans)} objects that nothing names"
        )
        if report.unjudged:
            say(f"{report.unjudged} more objects may be listed by the manifests that do not open")
    if report.faults:
        raise IntegrityError(f"{len(report.faults)} faults found", hint="restore the objects named from a copy")


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("check")(check)
