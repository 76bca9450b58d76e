"""`strongroom policy`: print the rules in force, or propose others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli.common import ActorOption, KeysOption, PassphraseOption, RoomOption, open_room, say, where
from strongroom.cli.create import read_text


def policy(
    actor: ActorOption,
    file: Annotated[Path | None, typer.Option("--set", help="Keep this policy from now on.", metavar="FILE")] = None,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Print the Cedar rules made from the policy in force; with --set keep a new version."""
    with open_room(where(room, keys, passphrase_file), actor) as opened:
        if file is not None:
            receipt = opened.set_policy(read_text(file))
            if receipt.asked:
                say(f"asked: another person who may `policy` runs `strongroom approve {receipt.asked}`")
            else:
                say(f"a new policy is in force, log entry {receipt.leaf}")
        else:
            print(opened.cedar(), end="")


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("policy")(policy)
