"""`strongroom log`: the read log as a table, verified."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    SinceOption,
    UntilOption,
    open_room,
    print_json,
    print_table,
    say,
    time_of,
    where,
)

TOUCHED = ("actor", "purpose", "act", "table", "fields", "requests", "persons", "first", "last")
HEADINGS = ("no", "time (UTC)", "actor", "act", "purpose", "table", "persons", "decision")


def log(
    actor: ActorOption,
    last: Annotated[int, typer.Option("--last", help="How many entries to print.", min=1)] = 20,
    public_key: Annotated[
        bool, typer.Option("--public-key", help="Print the log's public key, for `strongroom verify`, and no entries.")
    ] = False,
    of: Annotated[str | None, typer.Option("--of", help="Only entries of this actor.", metavar="NAME")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only one's own entries: takes no right to the log.")] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    touched: Annotated[
        bool, typer.Option("--touched", help="What they touched, added up: purposes, tables, fields, persons.")
    ] = False,
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
        entries = opened.log(actor=actor if mine else of, since=time_of(since), until=time_of(until))
        report = None if mine or touched else opened.verify_log()
    if touched:
        found = _touched(entries)
        if as_json:
            print_json(found)
        else:
            print_table(TOUCHED, [tuple(one.values()) for one in found])
        return
    if as_json:
        print_json({"entries": entries[-last:], "verified": report})
        return
    print_table(HEADINGS, [_row(e) for e in entries[-last:]])
    if report is not None:
        say(f"{report['entries']:,} entries verified against {report['checkpoints']} signed checkpoints")
        _say_witnesses(report)


def _say_witnesses(report: Mapping[str, Any]) -> None:
    """Who cosigned the newest checkpoint that counts, and how much waits for the next one."""
    if report["witnesses"]:
        say(f"cosigned by {', '.join(report['witnesses'])}")
        if report["unpublished"]:
            say(f"{report['unpublished']:,} newer not cosigned yet: too few witnesses answer")


def _touched(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Allowed entries about a table, added up; persons of several requests may be the same."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in entries:
        if entry["decision"] != "allowed" or "table" not in entry:
            continue
        fields = ", ".join(entry.get("fields", ())) or "all that the purpose shows"
        key = (entry["actor"], entry.get("purpose", ""), entry["act"], entry["table"], fields)
        named = dict(zip(TOUCHED, key, strict=False))
        one = found.setdefault(key, {**named, "requests": 0, "persons": 0, "first": entry["leaf"], "last": 0})
        one["requests"] += 1
        one["persons"] += entry.get("count", 0)
        one["last"] = entry["leaf"]
    return list(found.values())


def _row(entry: dict[str, Any]) -> tuple[Any, ...]:
    when = datetime.fromtimestamp(entry["time"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    words = [entry.get(name) for name in ("actor", "act", "purpose", "table", "count")]
    decision = entry["decision"] if entry["decision"] == "allowed" else f"refused by {entry.get('rule')}"
    return (entry["leaf"], when, *words, decision)


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("log")(log)
