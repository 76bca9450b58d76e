"""`strongroom explain`: why an actor may or may not see a field."""

from __future__ import annotations

from typing import Annotated

import typer

from strongroom.cli.common import JsonOption, KeysOption, PassphraseOption, RoomOption, print_json, where
from strongroom.cli.reach import reach_room


def explain(
    table: Annotated[str, typer.Argument(help="Table asked about.")],
    actor: Annotated[str, typer.Option("--actor", help="Whose rights.", metavar="NAME")],
    purpose: Annotated[str | None, typer.Option("--purpose", help="One purpose; all of them when not given.")] = None,
    field: Annotated[str | None, typer.Option("--field", help="One field; all of them when not given.")] = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what an actor may see, by which rule, and the most that can leave in a day."""
    with reach_room(where(room, keys, passphrase_file), actor) as opened:
        explanation = opened.explain(table, actor=actor, purpose=purpose, field=field)
    if as_json:
        print_json(explanation.to_dict())
    else:
        print("\n".join(explanation.lines))


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("explain")(explain)
