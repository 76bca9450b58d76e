"""`strongroom tokenize` and `strongroom detokenize`: what stands for a value in an export, and back."""

from __future__ import annotations

from typing import Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    ApprovalOption,
    KeysOption,
    PassphraseOption,
    PurposeOption,
    ReasonOption,
    RoomOption,
    ShowOption,
    say,
    where,
)
from strongroom.cli.lines import STDIN, read_lines
from strongroom.cli.reach import reach_room
from strongroom.cli.showing import hides_values, refuse_terminal

_Table = Annotated[str, typer.Argument(help="Name of a table of the export.")]
_Field = Annotated[str, typer.Argument(help="Name of a field that it shows.")]
_Export = Annotated[str, typer.Option("--export", help="Id of the export.", metavar="ID")]


def tokenize(
    table: _Table,
    field: _Field,
    export: _Export,
    actor: ActorOption,
    purpose: PurposeOption,
    reason: ReasonOption,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Print the tokens that stand for values in an export: values on stdin, one a line; each is a look-up."""
    given = read_lines(STDIN, "value")
    with reach_room(where(room, keys, passphrase_file), actor) as opened:
        found = opened.tokenize(export, table, field, given, purpose=purpose, reason=reason)
    _print(found, "no value")


def detokenize(
    table: _Table,
    field: _Field,
    export: _Export,
    actor: ActorOption,
    purpose: PurposeOption,
    reason: ReasonOption,
    approval: ApprovalOption = None,
    show: ShowOption = False,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Print the values behind tokens of an export: tokens on stdin, one a line; their persons are charged."""
    if hides_values(show=show):
        raise refuse_terminal()
    given = read_lines(STDIN, "token")
    with reach_room(where(room, keys, passphrase_file), actor) as opened:
        found = opened.detokenize(export, table, field, given, purpose=purpose, reason=reason, approval=approval)
    _print(found, "no token of this export, or of nobody in the room")


def _print(found: list[str | None], missing: str) -> None:
    """A line for each line; an empty one where there is nothing, and on stderr how many of these."""
    for value in found:
        print("" if value is None else value)
    nothing = sum(value is None for value in found)
    if nothing:
        say(f"{nothing:,} of {len(found):,}: {missing}")


def add_to(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("tokenize")(tokenize)
    app.command("detokenize")(detokenize)
