"""`strongroom open-code`: what proves whose copy a sample was taken from, to a court; two people open it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    KeysOption,
    PassphraseOption,
    keys_only,
    open_keymaster,
    say,
)
from strongroom.durable import write_new
from strongroom.errors import ConflictError, UsageError


def open_code(
    actor: ActorOption,
    export: Annotated[str, typer.Argument(help="Id of the export.", metavar="EXPORT")],
    reason: Annotated[str, typer.Option("--reason", help="Ask for it: why.", metavar="TEXT")] = "",
    to: Annotated[
        Path | None, typer.Option("--to", help="Write it to a new file, once another person agreed.", metavar="FILE")
    ] = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Ask to open the code row of an export, or write one that was opened to a file."""
    if bool(reason) == (to is not None):
        raise UsageError("give --reason to ask for it, or --to to have it", hint="another person agrees in between")
    if to is not None and to.exists():
        raise ConflictError(f"{to} exists already", hint="name another")
    with open_keymaster(keys_only(keys, passphrase_file), actor) as keymaster:
        if to is None:
            asked = keymaster.exports.ask_open(actor, export, reason)
            say(f"asked: another person who may `disclose` runs `strongroom approve {asked.id}`")
            print(asked.id)
            return
        found = keymaster.exports.open_code(actor, export)
    _write(to, json.dumps(found.to_dict(), ensure_ascii=False, indent=1))
    say(f"opened by log entry {found.opened}: from there on this code row alone accuses nobody")


def _write(path: Path, text: str) -> None:
    try:
        write_new(path, text)
    except OSError as error:
        hint = "what was opened stays open: name another file"
        raise UsageError(f"cannot write {path} ({type(error).__name__})", hint=hint) from None


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("open-code")(open_code)
