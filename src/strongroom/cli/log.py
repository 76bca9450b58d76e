"""`strongroom log`: the read log as a table, verified; and what it says of an incident."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli.common import (
    ActorOption,
    ApprovalOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    ShowOption,
    SinceOption,
    UntilOption,
    Where,
    as_jsonable,
    counted,
    open_room,
    print_json,
    print_table,
    say,
    time_of,
    where,
)
from strongroom.cli.person import SubjectOption, log_of_person
from strongroom.cli.reach import reach_room
from strongroom.cli.showing import hides_values, refuse_terminal
from strongroom.errors import ConflictError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from strongroom.keymaster.log.api import Touched, TouchedPersons, Which
    from strongroom.room import Room

TOUCHED = ("actor", "credential", "purpose", "act", "table", "fields", "requests", "persons", "first", "last")
HEADINGS = ("no", "time (UTC)", "actor", "act", "purpose", "table", "persons", "decision")
EVERY_FIELD = "all that the purpose shows"

PurposeOption = Annotated[
    str | None, typer.Option("--purpose", help="With --persons or --subject: what for.", metavar="NAME")
]
ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="With --persons or --subject: case that this belongs to.", metavar="TEXT")
]


def log(
    actor: ActorOption,
    last: Annotated[int, typer.Option("--last", help="How many entries to print.", min=1, max=10_000)] = 20,
    public_key: Annotated[
        bool, typer.Option("--public-key", help="Print the log's public key, for `strongroom verify`, and no entries.")
    ] = False,
    of: Annotated[str | None, typer.Option("--of", help="Only entries of this actor.", metavar="NAME")] = None,
    credential: Annotated[
        str | None, typer.Option("--credential", help="Only entries that came through this credential.", metavar="ID")
    ] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only one's own entries: takes no right to the log.")] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    touched: Annotated[
        bool, typer.Option("--touched", help="What they touched, added up: purposes, tables, fields, persons.")
    ] = False,
    subject: SubjectOption = None,
    persons: Annotated[
        bool, typer.Option("--persons", help="With --touched: whom, by tokens; a --purpose names them.")
    ] = False,
    reason: ReasonOption = None,
    purpose: PurposeOption = None,
    table: Annotated[
        str | None, typer.Option("--table", help="With --purpose: the table that names persons.", metavar="TABLE")
    ] = None,
    approval: ApprovalOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="With --persons or --subject: a new file.", metavar="FILE")
    ] = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
    show: ShowOption = False,
) -> None:
    """Print the newest entries of the log, verified without a filter; --touched: what was read, --subject: of whom."""
    from strongroom.keymaster.log.api import Which

    place = where(room, keys, passphrase_file)
    if subject is not None:
        log_of_person(place, actor, subject, table, purpose, reason, out, as_json=as_json)
        return
    if persons and not (touched and reason):
        raise UsageError("--persons goes with --touched and a --reason")
    if not persons and (reason or purpose or table or out):
        raise UsageError("--reason, --purpose, --table and --out go with --persons or --subject")
    naming = _naming(purpose, table, approval)
    which = Which(actor if mine else of, credential, time_of(since), time_of(until))
    if place.behind_server and mine and not (public_key or touched or credential):
        _own(place, actor, which, last, as_json=as_json)
        return
    with open_room(place, actor) as opened:
        if public_key:
            print(opened.log_key())
        elif persons:
            _persons(opened, which, str(reason), naming, out, as_json=as_json, show=show)
        elif touched:
            _print_touched(opened.logs.touched(which), as_json=as_json)
        else:
            _newest(opened, which, last, as_json=as_json)


def _own(place: Where, actor: str, which: Which, last: int, *, as_json: bool) -> None:
    """One's own entries, of a room behind its server."""
    with reach_room(place, actor) as served:
        entries = served.log(actor=actor, since=which.since, until=which.until)
    _print_newest(entries[-last:], None, as_json=as_json)


def _naming(purpose: str | None, table: str | None, approval: str | None) -> tuple[str, str, str | None] | None:
    """Under which purpose the persons of an incident are named, if they are."""
    if purpose is not None and table is not None:
        return purpose, table, approval
    if purpose is not None or table is not None or approval is not None:
        raise UsageError("--purpose and --table go together", hint="the table is one whose records name its persons")
    return None


def _newest(opened: Room, which: Which, last: int, *, as_json: bool) -> None:
    entries = opened.logs.newest(which, last)
    _print_newest(entries, opened.verify_log() if not any(vars(which).values()) else None, as_json=as_json)


def _print_newest(entries: list[dict[str, Any]], report: Mapping[str, Any] | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"entries": entries, "verified": report})
        return
    print_table(HEADINGS, [_row(entry) for entry in entries])
    if report is not None:
        say(f"{report['entries']:,} entries verified against {report['checkpoints']} signed checkpoints")
        _say_witnesses(report)


def _say_witnesses(report: Mapping[str, Any]) -> None:
    """Who cosigned the newest checkpoint that counts, and how much waits for the next one."""
    if report["witnesses"]:
        say(f"cosigned by {', '.join(report['witnesses'])}")
        if report["unpublished"]:
            say(f"{report['unpublished']:,} newer not cosigned yet: too few witnesses answer")


def _print_touched(found: list[Touched], *, as_json: bool) -> None:
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    rows = [{**one.to_dict(), "fields": ", ".join(one.fields) or EVERY_FIELD} for one in found]
    print_table(TOUCHED, [[row[name] for name in TOUCHED] for row in rows])


# -- whom ------------------------------------------------------------------------------------------
def _persons(
    opened: Room,
    which: Which,
    reason: str,
    naming: tuple[str, str, str | None] | None,
    out: Path | None,
    *,
    as_json: bool,
    show: bool,
) -> None:
    if out is None and naming is not None and hides_values(show=show):
        raise refuse_terminal()
    if out is not None and out.exists():
        raise ConflictError(f"{out} exists", hint="what an incident touched never takes the place of another file")
    found = opened.logs.persons(which, reason)
    lines = _lines(found, iter(()) if naming is None else _named(opened, found, naming, reason))
    if out is not None:
        _write(out, lines)
    elif as_json or naming is not None:
        print_json(list(lines))
    else:
        rows = [
            (one["person"], len(one["entries"]), ", ".join(one["acts"]), ", ".join(one["purposes"]), _fields(one))
            for one in lines
        ]
        print_table(("person", "entries", "acts", "purposes", "fields"), rows)
    _say_rest(found)


def _lines(found: TouchedPersons, records: Iterator[tuple[int, list[Any]]]) -> Iterator[dict[str, Any]]:
    """Each person with the records that name them, where they were opened."""
    ahead = next(records, None)
    for at, person in enumerate(found.each()):
        line = person.to_dict()
        if ahead is not None and ahead[0] == at:
            line["records"] = [dict(record) for record in ahead[1]]
            ahead = next(records, None)
        yield line


def _named(
    opened: Room, found: TouchedPersons, naming: tuple[str, str, str | None], reason: str
) -> Iterator[tuple[int, list[Any]]]:
    from strongroom.read.logs import named

    purpose, table, approval = naming
    with opened.read(purpose=purpose, reason=reason, approval=approval) as desk:
        yield from named(desk, found, table)


def _write(out: Path, lines: Iterable[dict[str, Any]]) -> None:
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for line in lines:
                file.write(json.dumps(line, ensure_ascii=False, default=as_jsonable) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def _say_rest(found: TouchedPersons) -> None:
    gone = int(found.erased.sum())
    say(f"{counted(len(found), 'person')} in {len(found.leaves):,} entries, noted as entry {found.leaf}")
    if gone:
        say(f"{gone:,} of them erased since: they are not named any more")
    if found.unknown:
        say(f"{found.unknown:,} more that no key page knows")
    if found.lost:
        say(f"{len(found.lost):,} entries whose labels are gone: whom they touched is not known any more")


def _fields(line: dict[str, Any]) -> str:
    return "; ".join(f"{table}: {', '.join(names)}" for table, names in line["fields"].items())


def _row(entry: dict[str, Any]) -> tuple[Any, ...]:
    when = datetime.fromtimestamp(entry["time"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    words = [entry.get(name) for name in ("actor", "act", "purpose", "table", "count")]
    decision = entry["decision"] if entry["decision"] == "allowed" else f"refused by {entry.get('rule')}"
    extras = entry.get("extras", {})
    if "alarm" in extras:
        decision += f", {counted(extras['alarm'], 'canary person')}{' (test)' if 'test' in extras else ''}"
    return (entry["leaf"], when, *words, decision)


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("log")(log)
