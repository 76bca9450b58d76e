"""`strongroom export` and `strongroom exports`: records to a recipient, and what went to whom."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.common import (
    NOWHERE,
    ActorOption,
    ApprovalOption,
    BreakGlassOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    PurposeOption,
    ReasonOption,
    RoomOption,
    counted,
    keys_only,
    minute,
    open_keymaster,
    print_json,
    print_table,
    say,
    where,
)
from strongroom.cli.lines import read_lines
from strongroom.cli.progress import progress_bar
from strongroom.cli.reach import reach_room
from strongroom.keymaster.exports.api import UNASKED

if TYPE_CHECKING:
    from strongroom.keymaster.exports.api import ExportGrant, ExportRecord

HEADINGS = (
    "id", "recipient", "purpose", "time (UTC)", "persons", "records", "state", "named by", "tables and fields",
)  # fmt: skip


_Tables = Annotated[list[str], typer.Argument(help="Names of tables: several keep their joins.")]
_To = Annotated[
    str, typer.Option("--to", help="File or URL; of several tables a folder or prefix.", metavar="FILE|URL")
]
_Recipient = Annotated[
    str, typer.Option("--recipient", help="Who receives it: the purpose names them.", metavar="NAME")
]
_Condition = Annotated[
    str | None, typer.Option("--where", help="A condition on open fields of the first table.", metavar="CONDITION")
]
_Subjects = Annotated[
    Path | None,
    typer.Option("--subjects", help="Only these persons: a file, one a line; `-` for stdin.", metavar="FILE"),
]
_Format = Annotated[
    str | None, typer.Option("--format", help="csv, jsonl or parquet; else as the name ends.", metavar="FORMAT")
]
_Resume = Annotated[
    str | None,
    typer.Option("--resume", help="Id of an export that was cut short: nobody is charged again.", metavar="ID"),
]
_Persons = Annotated[
    int | None,
    typer.Option(
        "--persons",
        help="Most persons that may go out. A server needs it told, unless subjects are named.",
        metavar="N",
        min=0,
    ),
]


def export(
    tables: _Tables,
    to: _To,
    recipient: _Recipient,
    actor: ActorOption,
    purpose: PurposeOption,
    reason: ReasonOption,
    condition: _Condition = None,
    subjects: _Subjects = None,
    form: _Format = None,
    resume: _Resume = None,
    persons: _Persons = None,
    approval: ApprovalOption = None,
    break_glass: BreakGlassOption = False,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export records to a recipient: every person is charged and noted first, files are whole or not there."""
    named = None if subjects is None else read_lines(subjects, "subject")
    place = where(room, keys, passphrase_file)
    with reach_room(place, actor) as opened, progress_bar(sys.stderr) as bar:
        report = opened.export(
            tables,
            to=to,
            recipient=recipient,
            purpose=purpose,
            reason=reason,
            where=condition,
            subjects=named,
            persons=persons,
            format=form,
            approval=approval,
            break_glass=break_glass,
            resume=resume,
            progress=bar,
            started=_started,
        )
    if report.why_none and report.why_none not in UNASKED:
        say(f"warning: {'weakly marked' if report.marked else 'no canary persons in these files'}: {report.why_none}")
    if report.names_from:
        say(f"canary persons among them: a sample of {counted(report.names_from, 'person')} names the recipient")
    if report.absent:
        say(f"named and not there: {counted(report.absent, 'subject')}")
    if as_json:
        print_json(report.to_dict())
        return
    said = ", ".join(f"{counted(count, 'record')} of {table}" for table, count in report.records.items())
    print(f"exported {said} to {report.recipient}: {counted(report.persons, 'person')}, export {report.export_id}")
    for name in report.files:
        print(name)


def _started(grant: ExportGrant) -> None:
    """So that whoever is interrupted knows how to go on."""
    say(f"export {grant.export_id.hex()}: {counted(grant.persons, 'person')} charged; --resume takes it up")


def exports(
    actor: ActorOption,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was exported: all of it with the act `log`, else one's own."""
    place = keys_only(keys, passphrase_file)
    if place.behind_server and place.keys == NOWHERE:
        with reach_room(place, actor) as served:
            found = served.exports()
    else:
        with open_keymaster(place, actor) as keymaster:
            found = keymaster.exports.all(actor)
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    print_table(HEADINGS, [_row(one) for one in found])


def _row(one: ExportRecord) -> tuple[object, ...]:
    shown = "; ".join(f"{table}: {', '.join(names)}" for table, names in one.fields.items())
    counts = (one.persons, one.records, one.state, _named_by(one))
    return (one.id, one.recipient, one.purpose, minute(one.at), *counts, shown)


def _named_by(one: ExportRecord) -> str:
    """The smallest sample, in persons, that names the recipient by canary persons."""
    if not one.marked:
        return "tokens alone"
    return f"{one.names_from:,} persons" if one.names_from else "few canaries"


def add_to(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("export")(export)
    app.command("exports")(exports)
