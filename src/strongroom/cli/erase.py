"""`strongroom erase`: let subjects go for good, after showing what that means, and write the receipt."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    counted,
    open_room,
    print_json,
    say,
    where,
)
from strongroom.cli.get import from_stdin
from strongroom.cli.lines import read_lines
from strongroom.cli.reach import reach_room
from strongroom.errors import ConflictError, UsageError

if TYPE_CHECKING:
    from strongroom.erase.plan import ErasePlan


def erase(
    actor: ActorOption,
    subject: Annotated[str | None, typer.Argument(help="Subject's id, or - to read it from stdin.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept sealed.", metavar="TEXT")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="File with many subjects, one a line, in UTF-8.", metavar="FILE")
    ] = None,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", help="The subject's id again, or how many --file names.", metavar="ID"),
    ] = None,
    receipt: Annotated[
        int | None, typer.Option("--receipt", help="Write the receipt of an earlier erasure anew.", metavar="LEAF")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File of the receipt; erasure-LEAF.json when not given.", metavar="FILE"),
    ] = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase subjects for good: nothing opens them any more, in any snapshot or copy. Asks for the id again."""
    if sum(given is not None for given in (subject, file, receipt)) != 1:
        raise UsageError("erase takes a subject, --file or --receipt", hint="one of them")
    place = where(room, keys, passphrase_file)
    if receipt is not None:
        with reach_room(place, actor) as opened:
            _write(opened.erasure_receipt(receipt), (receipt,), out, as_json=as_json)
        return
    if reason is None:
        raise UsageError("option --reason is missing")
    given = [from_stdin(subject or "", "subject")] if file is None else read_lines(file, "subject")
    subjects = list(dict.fromkeys(given))
    word = str(len(subjects)) if file is not None else subjects[0]
    if confirm is not None and confirm != word:
        raise _not_confirmed(many=file is not None)
    _refuse_existing(out)
    with open_room(place, actor) as opened:
        report = opened.erase(subjects, reason=reason, approve=_asking(word, confirm, many=file is not None))
    if report.already:
        say(f"{counted(report.already, 'subject')} erased before")
    _write(report.receipt, report.leaves, out, as_json=as_json)


def _asking(word: str, confirm: str | None, *, many: bool) -> Callable[[ErasePlan], None]:
    """Shows the plan, and asks for the id (or the number of subjects) unless it was given already."""

    def approve(plan: ErasePlan) -> None:
        _show(plan)
        # what the keymaster will refuse anyway is not asked about
        if confirm is not None or plan.held or not plan.persons:
            return
        what = "how many subjects that is" if many else "the subject's id"
        if _typed(f"type {what} again to erase for good: ") != word:
            raise _not_confirmed(many=many)

    return approve


def _show(plan: ErasePlan) -> None:
    say(f"to erase: {counted(plan.persons, 'subject')}; held: {plan.held:,}; erased before: {plan.erased:,}")
    if plan.records is None:
        say("records are counted for up to 1,000 subjects")
    elif plan.records:
        said = ", ".join(f"{table} {counted(number, 'record')}" for table, number in plan.records.items())
        say(f"tables that hold records of them: {said}")
    else:
        say("no table holds a record of them")


def _typed(prompt: str) -> str:
    """A line from the terminal, also when stdin is a pipe."""
    try:
        terminal = Path("/dev/tty")
        with terminal.open("w", encoding="utf-8") as shown, terminal.open(encoding="utf-8") as typed:
            print(prompt, end="", file=shown, flush=True)
            return typed.readline().strip()
    except (OSError, UnicodeDecodeError):
        raise UsageError("there is no terminal to ask on", hint="--confirm, with the subject's id again") from None


def _not_confirmed(*, many: bool) -> UsageError:
    what = "the number of subjects" if many else "the subject's id"
    return UsageError(f"{what} does not agree: nobody was erased")


def _refuse_existing(out: Path | None) -> None:
    if out is not None and out.exists():
        raise ConflictError(f"{out} exists: nobody was erased")


def _write(receipt: dict[str, Any], leaves: tuple[int, ...], out: Path | None, *, as_json: bool) -> None:
    if as_json and out is None:
        print_json(receipt)
    else:
        path = out or Path(f"erasure-{leaves[0]}.json")
        try:
            with path.open("x" if out is not None else "w", encoding="utf-8") as file:
                file.write(json.dumps(receipt, ensure_ascii=False, indent=1) + "\n")
        except OSError:
            raise UsageError(
                f"cannot write {path}; the erasure is in force", hint=f"`strongroom erase --receipt {leaves[0]}`"
            ) from None
        say(f"receipt in {path}: `strongroom verify {path}` checks it")
    persons = counted(receipt["persons"], "subject")
    print(f"{persons} erased, log entry {leaves[0]}: {receipt['state']}", file=sys.stderr)
    for line in receipt["waits_for"]:
        say(f"final waits for: {line}")


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("erase")(erase)
