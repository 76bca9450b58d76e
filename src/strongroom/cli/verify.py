"""`strongroom verify`: check a receipt with nothing but the public keys of the log and its witnesses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.common import JsonOption, counted, print_json, say
from strongroom.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from strongroom.audit.cosign import Quorum

KEY_FILE_BYTES_MAX = 4096

WitnessOption = Annotated[
    list[str] | None,
    typer.Option("--witness", help="Public key of a witness that must have cosigned.", metavar="LINE"),
]
QuorumOption = Annotated[
    int | None, typer.Option("--quorum", help="How many of them; all when not given.", metavar="K")
]


def verify(
    file: Annotated[Path, typer.Argument(help="Receipt of an erasure, or a person's log.")],
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            help="The log's public key, or a file that holds it. A person's log has its own, to be compared.",
            metavar="KEY|FILE",
        ),
    ] = None,
    witness: WitnessOption = None,
    quorum: QuorumOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a receipt or a person's log offline, without room or keymaster. `log --public-key` prints the key."""
    from strongroom.audit.note import parse_verifier_key
    from strongroom.cli.person import is_person_log, verify_person
    from strongroom.erase.receipt import RECEIPT_BYTES_MAX, verify_receipt
    from strongroom.read.personlog import PERSON_LOG_BYTES_MAX

    text = _read(file, PERSON_LOG_BYTES_MAX)
    public_key = None if key is None else parse_verifier_key(_key_line(key))[1]
    if is_person_log(text):
        verify_person(text, public_key, quorum_of(witness, quorum), as_json=as_json)
        return
    if public_key is None:
        raise UsageError("a receipt is verified with the log's public key", hint="--key: `strongroom log --public-key`")
    if len(text) > RECEIPT_BYTES_MAX:
        raise IntegrityError(f"{file} is too long")
    found = verify_receipt(text, public_key, quorum_of(witness, quorum))
    if as_json:
        print_json(asdict(found))
        return
    when = datetime.fromtimestamp(found.time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    say(
        f"good: {counted(found.persons, 'subject')} erased at {when} UTC, log entry {found.leaves[0]} of "
        f"{found.log_size:,}: {found.state}"
    )
    for wait in found.waits:
        say(f"final waits for: {wait}")


def _key_line(key: str) -> str:
    """A public key as it was given, or from the file of that name."""
    if Path(key).is_file():
        return _read(Path(key), KEY_FILE_BYTES_MAX)
    if "+" not in key:  # a key has two: name+hash+key
        hint = "`strongroom log --public-key` prints it"
        raise UsageError(f"{key} is no file, and no public key of a log", hint=hint)
    return key


def quorum_of(witnesses: Sequence[str] | None, least: int | None) -> Quorum | None:
    """The rule that `--witness` and `--quorum` state: all of the witnesses named, if no number is given."""
    if not witnesses:
        if least is not None:
            raise UsageError("--quorum counts witnesses, and none is named", hint="--witness LINE, once for each")
        return None
    from strongroom.audit.cosign import make_quorum, parse_cosigner

    return make_quorum(len(witnesses) if least is None else least, [parse_cosigner(line) for line in witnesses])


def _read(path: Path, most: int) -> str:
    try:
        if path.stat().st_size > most:
            raise IntegrityError(f"{path} is too long")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"cannot read {path}") from None


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("verify")(verify)
