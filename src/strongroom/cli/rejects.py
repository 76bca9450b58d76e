"""`strongroom rejects`: records that did not fit, kept sealed."""

from __future__ import annotations

from typing import Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    ShowOption,
    counted,
    print_json,
    print_table,
    say,
    where,
)
from strongroom.cli.reach import reach_room
from strongroom.cli.showing import hides_values, refuse_terminal
from strongroom.errors import UsageError

HEADINGS = ("put", "table", "source", "reason", "field", "records", "first row")


def rejects(
    actor: ActorOption,
    put_id: Annotated[str | None, typer.Option("--put", help="Of one put only.", metavar="ID")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="Open them under this purpose.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Case or ticket; goes with --purpose.")] = None,
    reput: Annotated[bool, typer.Option("--re-put", help="Put again those that fit the schema now.")] = False,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
    show: ShowOption = False,
) -> None:
    """List rejected records by reason; open them under a purpose; or put them again."""
    with reach_room(where(room, keys, passphrase_file), actor) as opened:
        if reput:
            receipt = opened.reput_rejects(put_id=put_id)
            if as_json:
                print_json(receipt.to_dict())
            else:
                say(f"{counted(receipt.records, 'record')} put, {receipt.rejected:,} still do not fit")
            return
        if purpose is None:
            rows = opened.rejects(put_id=put_id)
            if as_json:
                print_json([row.to_dict() for row in rows])
            elif not rows:
                say("no rejected records are kept")
            else:
                print_table(HEADINGS, [row.row() for row in rows])
            return
        if reason is None:
            raise UsageError("--purpose goes with --reason")
        if hides_values(show=show):
            raise refuse_terminal()
        with opened.read(purpose=purpose, reason=reason) as desk:
            found = desk.rejects(put_id=put_id)
    if as_json:
        print_json(found)
    else:
        names = ("table", "source", "row", "reason", "field", "record")
        print_table(names, [[reject[name] for name in names] for reject in found])


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("rejects")(rejects)
