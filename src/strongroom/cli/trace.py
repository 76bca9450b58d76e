"""`strongroom trace`: whose copy a published sample is, of when, and who is in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    ApprovalOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    PurposeOption,
    ReasonOption,
    RoomOption,
    counted,
    open_room,
    say,
    where,
)
from strongroom.cli.progress import progress_bar
from strongroom.errors import ConflictError, UsageError

if TYPE_CHECKING:
    from strongroom.room import Room
    from strongroom.trace.report.words import Words
    from strongroom.trace.tracing.traced import Traced

_Sample = Annotated[list[Path], typer.Argument(help="Files of the sample, in any form; gzip, zstd and zip too.")]
_Report = Annotated[
    Path | None, typer.Option("--report", help="Write the report for the regulator here (HTML).", metavar="FILE")
]
_Words = Annotated[
    Path | None,
    typer.Option("--words", help="What only you know, for the report (TOML): controller, contacts.", metavar="FILE"),
]
_Persons = Annotated[
    int | None,
    typer.Option("--persons", help="Compare versions of so many persons at most to date it; 0: do not.", metavar="N"),
]
_Space = Annotated[
    list[str] | None,
    typer.Option("--space", help="How many different values of a field there are.", metavar="TABLE.FIELD=N"),
]
_List = Annotated[
    str | None,
    typer.Option("--notify-list", help="Then export the persons in it here: charged and agreed to.", metavar="FILE"),
]
_ListTable = Annotated[str | None, typer.Option("--notify-table", help="The table of that list.", metavar="TABLE")]
_ListPurpose = Annotated[
    str | None, typer.Option("--notify-purpose", help="The purpose of that list, which exports.", metavar="NAME")
]
_ListRecipient = Annotated[str | None, typer.Option("--recipient", help="Who receives that list.", metavar="NAME")]
_ListApproval = Annotated[
    str | None, typer.Option("--notify-approval", help="Id of the agreement to that list.", metavar="ID")
]


def trace(
    sample: _Sample,
    actor: ActorOption,
    purpose: PurposeOption,
    reason: ReasonOption,
    approval: ApprovalOption = None,
    report: _Report = None,
    words: _Words = None,
    persons: _Persons = None,
    space: _Space = None,
    notify_list: _List = None,
    notify_table: _ListTable = None,
    notify_purpose: _ListPurpose = None,
    recipient: _ListRecipient = None,
    notify_approval: _ListApproval = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trace a published sample: is it ours, whose copy is it, of when, who is in it; says nothing that is not shown."""
    listing = (notify_list, notify_table, notify_purpose, recipient)
    if any(listing) and not all(listing):
        raise UsageError("a notification list needs --notify-list, --notify-table, --notify-purpose and --recipient")
    if report is not None and report.exists():
        raise ConflictError(f"{report} exists already", hint="name another file")
    said = _said(words)
    place = where(room, keys, passphrase_file)
    with open_room(place, actor) as opened:
        with progress_bar(sys.stderr) as bar:
            found = opened.trace(
                list(sample), purpose=purpose, reason=reason, approval=approval, persons=persons,
                spaces=_spaces(space or []), progress=bar,
            )  # fmt: skip
        _tell(found, place.room, report, said, as_json=as_json)
        if notify_list and notify_table and notify_purpose and recipient:
            _list(opened, found, notify_list, (notify_table, notify_purpose, recipient), reason, notify_approval)


def _tell(found: Traced, room: str, report: Path | None, words: Words, *, as_json: bool) -> None:
    """Print the answer, and write the report."""
    from strongroom.trace.report import regulator
    from strongroom.trace.report.facts import to_json
    from strongroom.trace.tracing.facts import facts_of
    from strongroom.trace.tracing.told import lines

    facts = facts_of(found, room)
    if report is not None:
        with report.open("x", encoding="utf-8") as file:
            file.write(regulator.render(facts, words))
        say(f"report: {report}")
    if as_json:
        sys.stdout.write(to_json(facts).decode())
        return
    for line in lines(facts):
        print(line)
    costs = found.costs
    say(
        f"cost: {counted(costs.lookups, 'look-up')}, {costs.reads.blocks:,} of {costs.reads.there:,} blocks of indexes"
        f" and {costs.records.blocks:,} of records read"
    )


def _list(room: Room, found: Traced, to: str, what: tuple[str, str, str], reason: str, approval: str | None) -> None:
    """The notification list: an export like any other."""
    table, purpose, recipient = what
    made = room.notification_list(
        found, table, to=to, recipient=recipient, purpose=purpose, reason=reason, approval=approval
    )
    say(f"notification list: {counted(made.persons, 'person')}, export {made.export_id}")


def _spaces(given: list[str]) -> dict[str, float]:
    found = {}
    for one in given:
        name, sign, number = one.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            sign = ""
        if not sign or found.get(name, 0.0) < 1.0:
            raise UsageError("--space is TABLE.FIELD=N", hint="as in --space persons.mobile=1.7e9")
    return found


def _said(words: Path | None) -> Words:
    from strongroom.trace.report.words import Words, read

    return Words() if words is None else read(words)


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("trace")(trace)
