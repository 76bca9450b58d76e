"""`strongroom copy`: the same sealed objects elsewhere, and how old each copy is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, cast

import typer

from strongroom.cli.common import (
    ActorOption,
    CopyToOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    counted,
    open_room,
    print_json,
    print_table,
    say,
    where,
)
from strongroom.cli.progress import progress_bar
from strongroom.errors import UsageError

if TYPE_CHECKING:
    from strongroom.replicate.status import CopyStatus
    from strongroom.store.archive import Mode


def copy(
    actor: ActorOption,
    to: CopyToOption = None,
    status: Annotated[bool, typer.Option("--status", help="Say how old each copy is and what it lacks.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Read what is there too, and copy again what is damaged.")
    ] = False,
    lock_days: Annotated[
        int | None,
        typer.Option("--lock-days", help="In a bucket with Object Lock: nothing goes for so many days.", metavar="N"),
    ] = None,
    lock_mode: Annotated[
        str, typer.Option("--lock-mode", help="governance, or compliance, which binds everybody.", metavar="MODE")
    ] = "governance",
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the sealed objects to another place, only those that are not there yet. No key goes there."""
    if (to is None) == (not status):
        raise UsageError("copy takes either --to or --status", hint="`strongroom copy --to URL` makes or renews a copy")
    with open_room(where(room, keys, passphrase_file), actor) as opened:
        if to is None:
            _print_status(opened.copies(), as_json=as_json)
            return
        with progress_bar(sys.stderr, "objects") as progress:
            report = opened.copy(
                to=to, again=again, lock_days=lock_days, lock_mode=cast("Mode", lock_mode), progress=progress
            )
    if as_json:
        print_json(report.to_dict())
    else:
        say(
            f"snapshot {report.snapshot} is at {report.to}: {counted(report.copied_objects, 'object')} copied"
            f" ({report.copied_bytes:,} bytes) of {report.objects:,} ({report.bytes:,} bytes)"
        )


def _print_status(found: list[CopyStatus], *, as_json: bool) -> None:
    if as_json:
        print_json([status.to_dict() for status in found])
    elif not found:
        say("no copy was made yet: `strongroom copy --to URL` makes one")
    else:
        headings = ("copy", "snapshot", "behind", "age", "missing", "bytes missing", "problem")
        print_table(
            headings,
            [
                (s.url, s.snapshot, s.behind, _age(s.age_seconds), s.missing_objects, s.missing_bytes, s.problem)
                for s in found
            ],
        )


def _age(seconds: float) -> str:
    """An age in its largest fitting unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("copy")(copy)
