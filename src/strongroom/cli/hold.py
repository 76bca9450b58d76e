"""`strongroom hold` and `strongroom unhold`: legal holds, lifted by a second person."""

from __future__ import annotations

import typer

from strongroom.cli.common import (
    ActorOption,
    KeysOption,
    PassphraseOption,
    ReasonOption,
    RoomOption,
    SubjectArgument,
    say,
    where,
)
from strongroom.cli.get import from_stdin
from strongroom.cli.reach import reach_room


def hold(
    subject: SubjectArgument,
    actor: ActorOption,
    reason: ReasonOption,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Put a subject under a legal hold: it cannot be erased until another person lifts the hold."""
    identifier = from_stdin(subject, "subject")
    with reach_room(where(room, keys, passphrase_file), actor) as opened:
        say(f"the subject is held, log entry {opened.hold(identifier, reason=reason).leaf}")


def unhold(
    subject: SubjectArgument,
    actor: ActorOption,
    reason: ReasonOption,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Lift a legal hold. Who set it cannot."""
    identifier = from_stdin(subject, "subject")
    with reach_room(where(room, keys, passphrase_file), actor) as opened:
        say(f"the hold is lifted, log entry {opened.unhold(identifier, reason=reason).leaf}")


def add_to(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("hold")(hold)
    app.command("unhold")(unhold)
