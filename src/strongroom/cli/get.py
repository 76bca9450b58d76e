"""`strongroom get`: the records of one subject."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    ApprovalOption,
    BreakGlassOption,
    FieldsOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    PurposeOption,
    ReasonOption,
    RoomOption,
    ShowOption,
    SubjectArgument,
    where,
)
from strongroom.cli.reach import reach_room
from strongroom.cli.showing import print_records
from strongroom.errors import UsageError


def get(
    table: Annotated[str, typer.Argument(help="Table to read.")],
    subject: SubjectArgument,
    actor: ActorOption,
    purpose: PurposeOption,
    reason: ReasonOption,
    approval: ApprovalOption = None,
    break_glass: BreakGlassOption = False,
    fields: FieldsOption = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
    show: ShowOption = False,
) -> None:
    """Open the records of one subject, as the purpose shows them."""
    chosen = None if fields is None else fields.split(",")
    identifier = from_stdin(subject, "subject")
    with (
        reach_room(where(room, keys, passphrase_file), actor) as opened,
        opened.read(purpose=purpose, reason=reason, approval=approval, break_glass=break_glass) as desk,
    ):
        records = desk.records(table, identifier, fields=chosen)
    print_records(records, as_json=as_json, show=show)


def from_stdin(word: str, what: str) -> str:
    """The word itself, or the first line of stdin for `-`: a command line stays in the shell's history."""
    if word != "-":
        return word
    if sys.stdin.isatty():
        print(f"{what}: ", end="", file=sys.stderr, flush=True)
    try:
        line = sys.stdin.readline().strip()
    except UnicodeDecodeError:
        raise UsageError("stdin is not UTF-8 text") from None
    if not line:
        raise UsageError("nothing on stdin", hint="send one value, followed by a line end")
    return line


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("get")(get)
