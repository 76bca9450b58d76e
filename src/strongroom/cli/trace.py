"""`strongroom trace`: whose copy a published sample is, of when, and who is in it."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
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
    local_folder,
    open_room,
    say,
    where,
)
from strongroom.cli.progress import progress_bar
from strongroom.errors import ConflictError, DeniedError, StrongroomError, UsageError

if TYPE_CHECKING:
    from strongroom.room import Room
    from strongroom.trace.report.facts import Notification, TraceFacts
    from strongroom.trace.report.words import Words
    from strongroom.trace.tracing.matching import Costs
    from strongroom.trace.tracing.traced import Traced

_Sample = Annotated[list[Path], typer.Argument(help="Files of the sample, in any form; gzip, zstd and zip too.")]
_Report = Annotated[
    Path | None, typer.Option("--report", help="Write the report for the regulator here (HTML).", metavar="FILE")
]
_Drafts = Annotated[
    Path | None,
    typer.Option("--drafts", help="Write drafts of notices (GDPR 33, 34; PIPL 57) into this.", metavar="FOLDER"),
]
_Words = Annotated[
    Path | None,
    typer.Option("--words", help="What only you know, for the pages (TOML): controller, contacts.", metavar="FILE"),
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
    drafts: _Drafts = None,
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
    from strongroom.trace.report import files
    from strongroom.trace.tracing.facts import facts_of

    listing = (notify_list, notify_table, notify_purpose, recipient)
    if any((*listing, notify_approval)) and not all(listing):
        raise UsageError("a notification list needs --notify-list, --notify-table, --notify-purpose and --recipient")
    if notify_list and (file := local_folder(notify_list)) is not None and file.exists():
        raise ConflictError(f"{notify_list} exists already", hint="name another file for the list")
    if persons is not None and persons < 0:
        raise UsageError("--persons is a number of persons, or 0 for none")
    said = _said(words)
    files.check_free(said, report, drafts)  # before anything is spent
    place = where(room, keys, passphrase_file)
    with open_room(place, actor) as opened:
        with progress_bar(sys.stderr) as bar:
            found = opened.trace(
                list(sample), purpose=purpose, reason=reason, approval=approval, persons=persons,
                spaces=_spaces(space or []), progress=bar,
            )  # fmt: skip
        listed = _Listed()
        if notify_list and notify_table and notify_purpose and recipient:
            listed = _list(
                opened, found, notify_list, (notify_table, notify_purpose, recipient), reason, notify_approval
            )
    facts = facts_of(found, place.room, listed.fact)
    _tell(facts, found.costs, as_json=as_json)
    done = files.write(facts, said, report, drafts)
    if report is not None:
        say(f"report: {report}")
    if drafts is not None:
        say(f"drafts: {counted(len(done) - (report is not None), 'file')} in {drafts}; nothing is sent")
    if listed.refused is not None:  # what was found is told before
        raise listed.refused


def _tell(facts: TraceFacts, costs: Costs, *, as_json: bool) -> None:
    """Print the answer."""
    from strongroom.trace.report.facts import to_json
    from strongroom.trace.tracing.told import lines

    if as_json:
        sys.stdout.write(to_json(facts).decode())
        return
    for line in lines(facts):
        print(line)
    say(
        f"cost: {counted(costs.lookups, 'look-up')}, {costs.reads.blocks:,} of {costs.reads.there:,} blocks of indexes"
        f" and {costs.records.blocks:,} of records read"
    )


@dataclass(frozen=True)
class _Listed:
    """What became of the list of whom to notify: made, waiting, or refused, which is told last."""

    fact: Notification | None = None
    refused: BaseException | None = None


def _list(room: Room, found: Traced, to: str, what: tuple[str, str, str], reason: str, approval: str | None) -> _Listed:
    """The notification list: an export like any other."""
    from strongroom.keymaster.approvals import NOT_YET
    from strongroom.trace.tracing.facts import list_made, list_waits

    table, purpose, recipient = what
    try:
        made = room.notification_list(
            found, table, to=to, recipient=recipient, purpose=purpose, reason=reason, approval=approval
        )
    except (StrongroomError, KeyboardInterrupt) as error:
        waits = isinstance(error, DeniedError) and error.rule == NOT_YET
        return _Listed(list_waits(approval) if waits and approval else None, error)
    say(f"notification list: {counted(made.persons, 'person')}, export {made.export_id}")
    record = None
    with suppress(StrongroomError):  # the list is made: without the ledger its time alone is not told
        record = next((one for one in room.exports() if one.id == made.export_id), None)
    return _Listed(list_made(made, record, approval))


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
