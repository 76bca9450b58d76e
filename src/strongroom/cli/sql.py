"""`strongroom sql`: one SELECT over the open columns of a table."""

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
    query: Annotated[str, typer.Argument(help="One SELECT over the open columns of one table.")],
    actor: ActorOption,
    purpose: PurposeOption,
    reason: ReasonOption,
    approval: ApprovalOption = None,
    break_glass: BreakGlassOption = False,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a SELECT: aggregates keep the purpose's minimum group; rows are charged as persons, or refused."""
    with (
        reach_room(where(room, keys, passphrase_file), actor) as opened,
        opened.read(purpose=purpose, reason=reason, approval=approval, break_glass=break_glass) as desk,
    ):
        answer = desk.sql(query)
    if as_json:
        print_json(answer.to_pylist())
    else:
        columns = [column.to_pylist() for column in answer.columns]
        print_table(answer.column_names, list(zip(*columns, strict=True)))


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("sql")(sql)
