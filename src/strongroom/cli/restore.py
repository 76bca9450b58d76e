"""`strongroom restore`: bring a room home from a copy, into an empty place, and check it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    CopyFromOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    counted,
    open_keymaster,
    print_json,
    print_table,
    say,
    where,
)
from strongroom.cli.progress import progress_bar
from strongroom.errors import IntegrityError


def restore(
    source: CopyFromOption,
    actor: ActorOption,
    snapshot: Annotated[
        int | None,
        typer.Option("--snapshot", help="An older snapshot; what was put later is lost.", metavar="NUMBER"),
    ] = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the room home from a copy into the empty place that --room names, and check it."""
    import strongroom

    place = where(room, keys, passphrase_file)
    with open_keymaster(place, actor) as keymaster:
        with progress_bar(sys.stderr, "objects") as progress:
            report = strongroom.restore(
                place.room, source=source, keys=keymaster, actor=actor, snapshot=snapshot, progress=progress
            )
        with strongroom.open(place.room, keys=keymaster, actor=actor) as opened:
            found = opened.check()
    if as_json:
        print_json({**report.to_dict(), "check": found.to_dict()})
    else:
        say(
            f"{counted(report.objects, 'object')} ({report.bytes:,} bytes) brought home: snapshot {report.restored}"
            + (f", now the newest as {report.snapshot}" if report.newest_lost else "")
        )
        if report.newest_lost:
            say(
                f"{counted(report.newest_lost, 'newer snapshot')} left aside: files put since need "
                "`strongroom put --again`"
            )
        say(f"checked: {found.entries:,} entries, {counted(len(found.faults), 'fault')}")
        if found.faults:
            print_table(("finding", "object", "what", "kind", "holds"), found.rows())
    if found.faults:
        raise IntegrityError(f"{len(found.faults)} faults found", hint="restore the objects named from another copy")


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("restore")(restore)
