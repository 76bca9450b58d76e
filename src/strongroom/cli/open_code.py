"""`strongroom open-code`: what proves whose copy a sample is, to a court; and what `strongroom verify` says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    KeysOption,
    PassphraseOption,
    keys_only,
    open_keymaster,
    print_json,
    say,
)
from strongroom.cli.moments import second
from strongroom.cli.person import say_own_key
from strongroom.cli.showing import harmless
from strongroom.durable import write_new
from strongroom.errors import ConflictError, IntegrityError, UsageError

if TYPE_CHECKING:
    from strongroom.audit.cosign import Quorum
    from strongroom.audit.note import PublicKey
    from strongroom.evidence.rowfile import VerifiedRow


def open_code(
    actor: ActorOption,
    export: Annotated[str, typer.Argument(help="Id of the export.", metavar="EXPORT")],
    reason: Annotated[str, typer.Option("--reason", help="Ask for it: why.", metavar="TEXT")] = "",
    to: Annotated[
        Path | None, typer.Option("--to", help="Write it to a new file, once another person agreed.", metavar="FILE")
    ] = None,
    trace: Annotated[
        int | None,
        typer.Option("--trace", help="With --to: the entry by which a trace noted its finds.", metavar="ENTRY"),
    ] = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Ask to open the code row of an export, or write one that was opened to a file with what proves it."""
    from strongroom.audit.note import parse_verifier_key
    from strongroom.evidence.rowfile import verify_row_file

    if bool(reason) == (to is not None):
        raise UsageError("give --reason to ask for it, or --to to have it", hint="another person agrees in between")
    if trace is not None and (to is None or trace < 0):
        raise UsageError("--trace is the number of an entry, with --to", hint="`strongroom trace` names it")
    if to is not None and to.exists():
        raise ConflictError(f"{to} exists already", hint="name another")
    with open_keymaster(keys_only(keys, passphrase_file), actor) as keymaster:
        if to is None:
            asked = keymaster.exports.ask_open(actor, export, reason)
            say(f"asked: another person who may `disclose` runs `strongroom approve {asked.id}`")
            print(asked.id)
            return
        made = keymaster.exports.open_code(actor, export, trace)
        key = parse_verifier_key(keymaster.log_key())[1]
    text = json.dumps(made.to_dict(), ensure_ascii=False, indent=1) + "\n"
    found = verify_row_file(text, key)
    if found.export != made.export:
        raise IntegrityError("the keymaster gave the code row of another export")
    if (None if found.finds is None else found.finds.leaf) != trace:
        raise IntegrityError("the keymaster gave another entry of a trace than was asked for")
    _write(to, text)
    say(f"opened by log entry {found.opened}: from there on this code row alone accuses nobody")
    say(f"`strongroom verify {to}` checks it, without keymaster or room")


def _write(path: Path, text: str) -> None:
    try:
        write_new(path, text)
    except OSError as error:
        hint = "what was opened stays open: name another file"
        raise UsageError(f"cannot write {path} ({type(error).__name__})", hint=hint) from None


# -- verifying --------------------------------------------------------------------------------------


def verify_row(text: str, public_key: PublicKey | None, quorum: Quorum | None, *, as_json: bool) -> None:
    """Verify the code row of an export and print what is proved."""
    from strongroom.evidence.rowfile import verify_row_file

    found = verify_row_file(text, public_key, quorum)
    if as_json:
        print_json(found.to_dict() | {"key_compared": public_key is not None})
    else:
        for name, value in _lines(found):
            print(f"{name + ':':<18}{harmless(value)}")
        say("good: the log committed to this code row when the export began, and two people opened it")
    if public_key is None:
        say_own_key(found.key)


def _lines(found: VerifiedRow) -> list[tuple[str, str]]:
    offers = [f"{one.count:,} of pool {one.pool}, 1 in {2**32 / one.bias:.4g} held by lot" for one in found.row.offers]
    noted = found.finds
    finds = [] if noted is None else [
        ("finds noted by", f"entry {noted.leaf:,} of the log, {second(noted.time)} UTC: {noted.finds}"),
        ("of the sample", noted.sample),
    ]  # fmt: skip
    return [
        ("export", found.export),
        ("recipient", found.recipient),
        ("purpose", found.purpose),
        ("legal basis", found.legal_basis),
        ("exported by", found.actor),
        ("at", f"{second(found.time)} UTC by the keymaster's clock"),
        ("persons", f"{found.persons:,}"),
        ("tables", ", ".join(found.tables)),
        ("canaries offered", "; ".join(offers)),
        ("committed to by", f"entry {found.leaf:,} of the log: {found.commitment}"),
        *finds,
        ("opened by", f"entry {found.opened:,} of the log, {second(found.opened_time)} UTC"),
        ("asked for by", found.asked),
        ("agreed to by", found.agreed),
        ("log", found.checkpoint.origin),
        ("checkpoint", f"{found.checkpoint.size:,} entries, root {found.root}"),
        *(("cosigned by", f"{name}, {second(1000 * seconds)} UTC by its clock") for name, seconds in found.cosigned),
    ]  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("open-code")(open_code)
