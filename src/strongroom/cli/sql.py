"""`strongroom sql`: one SELECT over a table."""

from __future__ import annotations

from typing import Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    ApprovalOption,
    BreakGlassOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    PurposeOption,
    ReasonOption,
    RoomOption,
    print_json,
    print_table,
    where,
)
from strongroom.cli.reach import reach_room


def sql(
    query: Annotated[str, typer.Argument(help="One SELECT over one table: open columns, sealed ones as declared.")],
    actor: ActorOption,
    purpose: PurposeOption,
    reason: ReasonOption,
    persons: Annotated[
        int | None,
        typer.Option("--persons", metavar="N", min=0, help="Most persons that may be charged. A server needs it told."),
    ] = None,
    approval: ApprovalOption = None,
    break_glass: BreakGlassOption = False,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a SELECT: aggregates keep the purpose's minimum group; rows and sealed fields are charged as persons."""
    with (
        reach_room(where(room, keys, passphrase_file), actor) as opened,
        opened.read(purpose=purpose, reason=reason, approval=approval, break_glass=break_glass) as desk,
    ):
        answer = desk.sql(query) if persons is None else desk.sql(query, persons=persons)
    if as_json:
        print_json(answer.to_pylist())
    else:
        columns = [column.to_pylist() for column in answer.columns]
        print_table(answer.column_names, list(zip(*columns, strict=True)))


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("sql")(sql)
