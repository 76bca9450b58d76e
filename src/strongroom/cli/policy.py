"""`strongroom policy`: print the rules in force, or propose others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    SinceOption,
    UntilOption,
    counted,
    open_room,
    print_json,
    print_table,
    say,
    time_of,
    where,
)
from strongroom.cli.create import read_text
from strongroom.errors import UsageError

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
    if test is not None and file is not None:
        raise UsageError("a policy is tried or kept")
    with open_room(where(room, keys, passphrase_file), actor) as opened:
        path = test or file
        text = None if path is None else read_text(path)  # once: it may be a pipe
        for warning in opened.canary_warnings(text):
            say(f"warning: {warning}")
        if text is not None and test is not None:
            found = opened.rehearse_policy(text, since=time_of(since), until=time_of(until))
            if as_json:
                print_json([one.to_dict() for one in found])
            else:
                print_table(HEADINGS, [tuple(one.to_dict().values()) for one in found])
            say(f"{counted(sum(one.requests for one in found), 'request')} of the log would have been refused")
        elif text is not None:
            receipt = opened.set_policy(text)
            if receipt.asked:
                say(f"asked: another person who may `policy` runs `strongroom approve {receipt.asked}`")
            else:
                say(f"a new policy is in force, log entry {receipt.leaf}")
        elif as_json:
            print_json({"policy": json.loads(opened.policy.to_json()), "cedar": opened.cedar()})
        else:
            print(opened.cedar(), end="")


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("policy")(policy)
