"""`strongroom check`: read everything and report."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    Where,
    counted,
    open_keymaster,
    open_room,
    print_json,
    print_table,
    say,
    where,
)
from strongroom.cli.progress import progress_bar
from strongroom.errors import IntegrityError, UsageError


def check(
    actor: ActorOption,
    deep: Annotated[bool, typer.Option("--deep", help="Compute the sums of compactions again too.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="First mend what can be mended from a copy.")] = False,
    source: Annotated[str | None, typer.Option("--from", help="The copy, for --repair.", metavar="URL")] = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every object of the room and the log, and say what is missing, changed or left over."""
    if repair != (source is not None):
        raise UsageError("--repair and --from go together", hint="`strongroom copy --status` lists the copies")
    place = where(room, keys, passphrase_file)
    if source is not None:
        _repair(place, source, actor)
    with open_room(place, actor) as opened:
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
        raise IntegrityError(
            f"{len(report.faults)} faults found", hint="`strongroom check --repair --from COPY` mends what a copy has"
        )


def _repair(place: Where, source: str, actor: str) -> None:
    import strongroom

    with open_keymaster(place, actor) as keymaster, progress_bar(sys.stderr, "objects") as progress:
        done = strongroom.repair(place.room, source=source, keys=keymaster, actor=actor, progress=progress)
    say(f"{counted(done.objects, 'object')} looked at, {counted(len(done.mended), 'object')} mended from {source}")
    for name in done.lost:
        say(f"object {name} is not in the copy either")


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("check")(check)
