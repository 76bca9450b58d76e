"""`strongroom policy`: print the rules in force, or propose others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.common import (
    NOWHERE,
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    SinceOption,
    UntilOption,
    Where,
    check_bucket,
    counted,
    keys_only,
    open_keymaster,
    print_json,
    print_table,
    say,
    time_of,
)
from strongroom.cli.create import read_text
from strongroom.cli.reach import reach_room
from strongroom.errors import UsageError

if TYPE_CHECKING:
    from strongroom.keymaster.api import Keymaster, Receipt
    from strongroom.purpose.policy import Policy
    from strongroom.purpose.rehearse import WouldRefuse
    from strongroom.room import Room

HEADINGS = ("actor", "act", "purpose", "table", "rule", "reason", "requests", "first", "last")


def policy(
    actor: ActorOption,
    file: Annotated[Path | None, typer.Option("--set", help="Keep this policy from now on.", metavar="FILE")] = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="Say what this policy would have refused so far.", metavar="FILE")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the Cedar rules made from the policy in force; with --set keep a new version, with --test try one."""
    from strongroom.purpose.cedar import cedar_text
    from strongroom.purpose.policy import parse_policy
    from strongroom.purpose.rehearse import rehearse
    from strongroom.trace.canary.sizing import canary_warnings

    if test is not None and file is not None:
        raise UsageError("a policy is tried or kept")
    place, path = keys_only(keys, passphrase_file, room), test or file
    if place.behind_server and place.keys == NOWHERE and path is None:
        with reach_room(place, actor) as served:
            _print(served.policy, served.cedar(), as_json=as_json)
        return
    with _opened(place, actor) as (keymaster, opened):
        text = None if path is None else read_text(path)  # once: it may be a pipe
        for warning in canary_warnings(keymaster, actor, text):
            say(f"warning: {warning}")
        if text is None:
            rules = keymaster.policy()
            _print(rules, cedar_text(rules, keymaster.schema()), as_json=as_json)
        elif test is None:
            _keep(keymaster.set_policy(actor, text) if opened is None else opened.set_policy(text), opened)
        else:
            entries = keymaster.log_entries(actor, since=time_of(since), until=time_of(until))
            schema = keymaster.schema()
            _print_refused(rehearse(parse_policy(text, schema), schema, entries), as_json=as_json)


@contextmanager
def _opened(place: Where, actor: str) -> Iterator[tuple[Keymaster, Room | None]]:
    """The keymaster, which keeps the policy, and the room where its bucket is named: changes are noted there too."""
    import strongroom

    bucket = place.room != NOWHERE and not place.behind_server
    if bucket:
        check_bucket(place)
    with open_keymaster(place, actor) as keymaster:
        if not bucket:
            yield keymaster, None
            return
        with strongroom.open(place.room, keys=keymaster, actor=actor) as room:
            yield keymaster, room


def _print(rules: Policy, cedar: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"policy": json.loads(rules.to_json()), "cedar": cedar})
    else:
        print(cedar, end="")


def _keep(receipt: Receipt, room: Room | None) -> None:
    if receipt.asked:
        say(f"asked: another person who may `policy` runs `strongroom approve {receipt.asked}`")
        return
    say(f"a new policy is in force, log entry {receipt.leaf}")
    if room is None:
        say("no bucket is named: the next put, erasure or change of the room notes it beside the objects")


def _print_refused(found: list[WouldRefuse], *, as_json: bool) -> None:
    if as_json:
        print_json([one.to_dict() for one in found])
    else:
        print_table(HEADINGS, [tuple(one.to_dict().values()) for one in found])
    say(f"{counted(sum(one.requests for one in found), 'request')} of the log would have been refused")


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("policy")(policy)
