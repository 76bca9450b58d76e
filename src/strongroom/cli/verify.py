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
    file: Annotated[Path, typer.Argument(help="Receipt of an erasure.")],
    key: Annotated[
        str, typer.Option("--key", help="The log's public key, or a file that holds it.", metavar="KEY|FILE")
    ],
    witness: WitnessOption = None,
    quorum: QuorumOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a receipt offline: no room, no keymaster. `strongroom log --public-key` prints the key."""
    from strongroom.audit.note import parse_verifier_key
    from strongroom.erase.receipt import RECEIPT_BYTES_MAX, verify_receipt

    line = _read(Path(key), KEY_FILE_BYTES_MAX) if Path(key).is_file() else key
    _name, public_key = parse_verifier_key(line)
    found = verify_receipt(_read(file, RECEIPT_BYTES_MAX), public_key, quorum_of(witness, quorum))
    if as_json:
        print_json(asdict(found))
        return
    when = datetime.fromtimestamp(found.time / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    say(
        f"good: {counted(found.persons, 'subject')} erased at {when} UTC, log entry {found.leaves[0]} of "
        f"{found.log_size:,}: {found.state}"
    )
    for line in found.waits:
        say(f"final waits for: {line}")


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
