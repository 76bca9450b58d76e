"""`strongroom find`: records by exact value of indexed fields."""

from __future__ import annotations

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
    say,
    where,
)
from strongroom.cli.get import from_stdin
from strongroom.cli.reach import reach_room
from strongroom.cli.showing import print_records
from strongroom.errors import NotFoundError, UsageError


def find(
    table: Annotated[str, typer.Argument(help="Table to search.")],
    condition: Annotated[
        list[str],
        typer.Option(
            "--where",
            help="FIELD=VALUE. The same field again means or, another field means and. FIELD=- reads stdin.",
            metavar="FIELD=VALUE",
        ),
    ],
    actor: ActorOption,
    purpose: PurposeOption,
    reason: ReasonOption,
    approval: ApprovalOption = None,
    break_glass: BreakGlassOption = False,
    limit: Annotated[int, typer.Option("--limit", help="Greatest number of records to open.")] = 10,
    fields: FieldsOption = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
    show: ShowOption = False,
) -> None:
    """Find records by exact value and open them, as the purpose shows them."""
    wanted = conditions(condition)
    chosen = None if fields is None else fields.split(",")
    with (
        reach_room(where(room, keys, passphrase_file), actor) as opened,
        opened.read(purpose=purpose, reason=reason, approval=approval, break_glass=break_glass) as desk,
    ):
        records = desk.find(table, wanted, limit=limit, fields=chosen)
    if not records:
        raise NotFoundError(f"nothing found in table {table}")
    print_records(records, as_json=as_json, show=show)
    if len(records) == limit:
        say(f"there may be more than {limit}: --limit asks for more, each is charged")


def conditions(words: list[str]) -> dict[str, list[str]]:
    """FIELD=VALUE words as field to values."""
    wanted: dict[str, list[str]] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise UsageError("--where takes FIELD=VALUE", hint="for example --where mobile=-, and the number on stdin")
        wanted.setdefault(name, []).append(from_stdin(value, name))
    return wanted


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("find")(find)
