"""`strongroom log`: the read log as a table, verified."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    open_room,
    print_json,
    print_table,
    say,
    where,
)

HEADINGS = ("no", "time (UTC)", "actor", "act", "purpose", "table", "persons", "decision")


def log(
    actor: ActorOption,
    last: Annotated[int, typer.Option("--last", help="How many entries to print.", min=1)] = 20,
    public_key: Annotated[
        bool, typer.Option("--public-key", help="Print the log's public key, for `strongroom verify`, and no entries.")
    ] = False,
    of: Annotated[str | None, typer.Option("--of", help="Only entries of this actor.", metavar="NAME")] = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the newest entries of the log and verify all of it."""
    with open_room(where(room, keys, passphrase_file), actor) as opened:
        if public_key:
            print(opened.log_key())
            return
        entries = opened.log(actor=of)
        report = opened.verify_log()
    if as_json:
        print_json({"entries": entries[-last:], "verified": report})
        return
    print_table(HEADINGS, [_row(e) for e in entries[-last:]])
    say(f"{report['entries']:,} entries verified against {report['checkpoints']} signed checkpoints")


def _row(entry: dict[str, Any]) -> tuple[Any, ...]:
    when = datetime.fromtimestamp(entry["time"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    words = [entry.get(name) for name in ("actor", "act", "purpose", "table", "count")]
    decision = entry["decision"] if entry["decision"] == "allowed" else f"refused by {entry.get('rule')}"
    return (entry["leaf"], when, *words, decision)


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("log")(log)
