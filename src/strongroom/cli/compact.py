"""`strongroom compact`: merge runs, and remove what nothing needs."""

from __future__ import annotations

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    open_room,
    print_json,
    say,
    where,
)


def compact(
    actor: ActorOption,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge small runs without any person's key, and remove objects that no kept snapshot names."""
    with open_room(where(room, keys, passphrase_file), actor) as opened:
        report = opened.compact()
    if as_json:
        print_json(report.to_dict())
    else:
        say(
            f"{report.runs_before} runs became {report.runs_after}; {report.superseded:,} superseded and "
            f"{report.dead:,} dead entries left out; {report.removed:,} objects removed"
        )


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("compact")(compact)
