"""`strongroom verify`: check what was handed out with nothing but the public keys of the log and its witnesses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli.common import JsonOption, counted, print_json, say
from strongroom.cli.moments import second
from strongroom.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from strongroom.audit.cosign import Quorum
    from strongroom.audit.note import PublicKey

KEY_FILE_BYTES_MAX = 4096
KINDS = "what is: the receipt of an erasure, a person's log, the code row of an export"

WitnessOption = Annotated[
    list[str] | None,
    typer.Option("--witness", help="Public key of a witness that must have cosigned.", metavar="LINE"),
]
QuorumOption = Annotated[
    int | None, typer.Option("--quorum", help="How many of them; all when not given.", metavar="K")
]


def verify(
    file: Annotated[Path, typer.Argument(help="Receipt of an erasure, a person's log, or a code row.")],
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            help="The log's public key, or a file that holds it. All but receipts have their own, to be compared.",
            metavar="KEY|FILE",
        ),
    ] = None,
    witness: WitnessOption = None,
    quorum: QuorumOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify what was handed out, offline, without room or keymaster. `log --public-key` prints the key."""
    from strongroom.audit.note import parse_verifier_key
    from strongroom.cli.open_code import verify_row
    from strongroom.cli.person import verify_person
    from strongroom.erase.receipt import KIND as RECEIPT
    from strongroom.evidence.rowfile import KIND as CODE_ROW
    from strongroom.read.personlog import KIND as PERSON_LOG
    from strongroom.read.personlog import PERSON_LOG_BYTES_MAX

    text = _read(file, PERSON_LOG_BYTES_MAX)
    kind = _kind(file, text)
    public_key = None if key is None else parse_verifier_key(_key_line(key))[1]
    rule = quorum_of(witness, quorum)
    if kind == PERSON_LOG:
        verify_person(text, public_key, rule, as_json=as_json)
    elif kind == CODE_ROW:
        verify_row(text, public_key, rule, as_json=as_json)
    elif kind != RECEIPT:
        raise IntegrityError(f"{file} is of no kind that is verified here", hint=KINDS)
    elif public_key is None:
        raise UsageError("a receipt is verified with the log's public key", hint="--key: `strongroom log --public-key`")
    else:
        _verify_receipt(text, public_key, rule, as_json=as_json)


def _kind(file: Path, text: str) -> object:
    """What a file says that it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise IntegrityError(f"{file} is no JSON: it was cut short, or is of another kind", hint=KINDS) from None
    return value.get("kind") if isinstance(value, dict) else None


def _verify_receipt(text: str, public_key: PublicKey, quorum: Quorum | None, *, as_json: bool) -> None:
    from strongroom.erase.receipt import verify_receipt

    found = verify_receipt(text, public_key, quorum)
    if as_json:
        print_json(asdict(found))
        return
    say(
        f"good: {counted(found.persons, 'subject')} erased at {second(found.time)} UTC, log entry {found.leaves[0]} of "
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
