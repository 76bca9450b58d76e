"""`strongroom canaries …`: plant people who do not exist, list their pools, ask about a row, test the alarm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    ApprovalOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    PurposeOption,
    ReasonOption,
    RoomOption,
    ShowOption,
    counted,
    keys_only,
    minute,
    open_keymaster,
    open_room,
    print_json,
    print_table,
    say,
    where,
)
from strongroom.cli.create import read_text
from strongroom.cli.lines import STDIN, read_lines
from strongroom.cli.showing import hides_values, refuse_terminal
from strongroom.errors import UnavailableError

if TYPE_CHECKING:
    from strongroom.trace.canary.planting import PlantReport

HEADINGS = ("pool", "time (UTC)", "one export in", "canaries", "persons", "records", "log entry")

canaries_app = typer.Typer(
    help="Plant people who do not exist, so that a leaked copy names its recipient; ask about them; test their alarm.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Policy = Annotated[Path, typer.Option("--policy", help="What is said about canaries, TOML.", metavar="FILE")]
_Colluders = Annotated[
    int | None, typer.Option("--colluders", help="Recipients who may act together; else as purposes say.", metavar="N")
]
_Sample = Annotated[
    float | None,
    typer.Option("--sample", help="Rows of the smallest sample that must name its source.", metavar="ROWS"),
]
_LearnFrom = Annotated[
    int | None, typer.Option("--learn-from", help="Persons to learn from, 200,000 at most; else 20,000.", metavar="N")
]
_Subject = Annotated[
    list[str], typer.Option("--subject", help="Whom it is about, as often as need be; `-` for stdin.", metavar="ID")
]
_Table = Annotated[str, typer.Argument(help="Name of the table.")]


def plant(
    policy: _Policy,
    actor: ActorOption,
    purpose: PurposeOption,
    reason: ReasonOption,
    colluders: _Colluders = None,
    sample: _Sample = None,
    learn_from: _LearnFrom = None,
    approval: ApprovalOption = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Plant canary persons: learnt from a sample of the room, registered at the keymaster, put like anybody."""
    text = read_text(policy)
    with open_room(where(room, keys, passphrase_file), actor) as opened:
        said = opened.canary_policy(text, lambda name: read_lines(policy.parent / name, "line"))
        report = opened.plant_canaries(
            said,
            purpose=purpose,
            reason=reason,
            colluders=colluders,
            sample=sample,
            learn_from=learn_from,
            approval=approval,
            progress=_progress,
        )
    if as_json:
        print_json(report.to_dict())
        return
    _print(report)


def _progress(what: str, done: int, of: int) -> None:
    if what == "registered":
        say(f"registered: {counted(of, 'canary person')}; what is cut short from here on lacks records")
    elif what != "putting":
        say(f"{what}…" if of < 2 else f"{what} {counted(of, 'person')}…")
    else:
        say(f"put {done:,} of {counted(of, 'record')}")


def _print(report: PlantReport) -> None:
    for note in report.notes:
        say(f"note: {note}")
    records = ", ".join(f"{counted(count, 'record')} of {table}" for table, count in report.records.items())
    pools = ", ".join(f"{pool} ({count:,})" for pool, count in report.pools.items())
    print(f"planted {counted(report.persons, 'person')} with {records}")
    print(f"pools {pools}; learnt from {counted(report.learnt_from, 'person')}, {report.looked_up:,} look-ups")


def list_pools(
    actor: ActorOption,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the pools of canaries: how many, and not who."""
    from strongroom.evidence.code import BIAS_ONE

    with open_keymaster(keys_only(keys, passphrase_file), actor) as keymaster:
        found = keymaster.canaries.pools(actor)
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    rows = [
        (one.number, minute(one.at), f"{BIAS_ONE / one.bias:g}", one.count, one.persons,
         "planted" if one.planted else "cut short", one.leaf)
        for one in found
    ]  # fmt: skip
    print_table(HEADINGS, rows)


def ask(
    table: _Table,
    subject: _Subject,
    actor: ActorOption,
    purpose: PurposeOption,
    reason: ReasonOption,
    approval: ApprovalOption = None,
    show: ShowOption = False,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask whether subjects are canaries, before anyone acts on a row: two people, and noted."""
    if hides_values(show=show):
        raise refuse_terminal()
    given = read_lines(STDIN, "subject") if subject == [str(STDIN)] else subject
    with open_room(where(room, keys, passphrase_file), actor) as opened:
        found = opened.are_canaries(table, given, purpose=purpose, reason=reason, approval=approval)
    if as_json:
        print_json(found)
        return
    for one in found:
        print("canary" if one else "no canary")


def try_alarm(
    table: _Table,
    actor: ActorOption,
    purpose: PurposeOption,
    reason: ReasonOption,
    approval: ApprovalOption = None,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait for the webhook.", metavar="SECONDS")] = 60.0,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Test the alarm: find one canary as a thief would, and see that the log and the webhook have it."""
    with open_room(where(room, keys, passphrase_file), actor) as opened:
        found = opened.test_canary_alarm(table, purpose=purpose, reason=reason, approval=approval, wait_seconds=wait)
    if as_json:
        print_json(found.to_dict())
    else:
        print(f"found by {' and '.join(found.by)}: the log has the alarm, entry {found.leaf}")
        print(found.words)
    if not found.told:
        raise UnavailableError("nobody was told of the alarm", hint="`keymaster serve --notify` tells somebody")


def add_to(app: typer.Typer) -> None:
    """Add this group of verbs."""
    canaries_app.command("plant")(plant)
    canaries_app.command("list")(list_pools)
    canaries_app.command("ask")(ask)
    canaries_app.command("test")(try_alarm)
    app.add_typer(canaries_app, name="canaries")
