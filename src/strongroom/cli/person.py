"""A person's log on the command line: `strongroom log --subject`, and what `strongroom verify` says of its file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.common import Where, counted, print_json, print_table, say
from strongroom.cli.get import from_stdin
from strongroom.cli.moments import day, second
from strongroom.cli.reach import reach_room
from strongroom.cli.showing import harmless
from strongroom.errors import UsageError

if TYPE_CHECKING:
    from strongroom.audit.cosign import Quorum
    from strongroom.audit.note import PublicKey
    from strongroom.read.personlog import Touched, VerifiedPersonLog

HEADINGS = ("time (UTC)", "role", "act", "purpose", "legal basis", "classes", "told from", "entry")

SubjectOption = Annotated[
    str | None,
    typer.Option("--subject", help="Who read this subject, under a purpose; - reads the id from stdin.", metavar="ID"),
]


def log_of_person(
    place: Where,
    actor: str,
    subject: str,
    table: str | None,
    purpose: str | None,
    reason: str | None,
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Ask for a person's log, verify it, and print or write it."""
    from strongroom.audit.note import parse_verifier_key
    from strongroom.read.personlog import verify_person_log

    if purpose is None or reason is None:
        raise UsageError("a person's log is asked for under a purpose", hint="--purpose NAME --reason TEXT")
    if out is not None and out.exists():
        raise UsageError(f"{out} is there already")
    if out is not None and not out.parent.is_dir():
        raise UsageError(f"cannot write {out}: there is no such folder")
    identifier = from_stdin(subject, "subject")
    with reach_room(place, actor) as opened:
        with opened.read(purpose=purpose, reason=reason) as desk:
            made = desk.log(identifier, table=table)
        key = parse_verifier_key(opened.log_key())[1]
    text = json.dumps(made, ensure_ascii=False, indent=1) + "\n"
    found = verify_person_log(text, key)
    if out is not None:
        _write(out, text)
        say(f"written to {out}: `strongroom verify {out}` checks it")
    if as_json:
        print_json(made)
        return
    _print(found)


def verify_person(text: str, public_key: PublicKey | None, quorum: Quorum | None, *, as_json: bool) -> None:
    """Verify a person's log and print what it says."""
    from strongroom.read.personlog import verify_person_log

    found = verify_person_log(text, public_key, quorum)
    if as_json:
        print_json(asdict(found) | {"key_compared": public_key is not None})
    else:
        _print(found)
    if public_key is None:
        say_own_key(found.key)
    elif not as_json:
        say(f"key: {found.key}")


def say_own_key(key: str) -> None:
    """Say that a file was verified with a key of its own."""
    say("the file vouches for itself: compare its key with the one that the room has published")
    say(f"key: {key}")


def _act(one: Touched) -> str:
    return f"{one.act} to {one.recipient}" if one.recipient else one.act


def _print(found: VerifiedPersonLog) -> None:
    rows = [
        (second(one.time), *map(harmless, (one.role, _act(one), one.purpose, one.legal_basis, ", ".join(one.classes))),
         _told(one), one.leaf)
        for one in found.touched
    ]  # fmt: skip
    print_table(HEADINGS, rows)
    span = "no day is over yet"
    if found.first < found.open_day:
        span = f"complete from {day(found.first)} to {day(found.open_day - 1)}"
    touched = counted(len(found.touched), "request")
    say(f"good: {touched} touched this subject, {span}; log of {found.log_size:,} entries")
    say(f"asked for at {second(found.time)} UTC: {day(found.open_day)} is not over and is told of later")
    if found.lost_days:
        days = ", ".join(map(day, found.lost_days))
        say(f"lost when the keymaster was set back, so that nothing is known of the subject: {days}")
    if found.lost_entries:
        say(f"{counted(found.lost_entries, 'request')} of these days touched persons that are not known any more")


def _told(one: Touched) -> str:
    from strongroom.audit.daymap import DAY_MS

    return "" if one.day == one.time // DAY_MS else day(one.day + 1)


def _write(path: Path, text: str) -> None:
    """Write a new file that its owner alone may read; none is left where that fails."""
    try:
        path.touch(mode=0o600, exist_ok=False)
    except OSError:
        raise UsageError(f"cannot write {path}") from None
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        path.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}") from None
