"""Where the credential of a session lies on a person's machine."""

from __future__ import annotations

import os
from pathlib import Path

from strongroom.errors import UsageError


def session_file(room: bytes) -> Path | None:
    """Where `signin` keeps a credential, in memory as a rule; None where this machine has no such folder."""
    folder = os.environ.get("XDG_RUNTIME_DIR")
    return Path(folder) / "strongroom" / f"{room.hex()}.credential" if folder else None


def signed_in(room_id: str | None) -> str | None:
    """The file of who signed in to a room, if there is one; None where the settings name no room."""
    path = None if room_id is None else session_file(parse_room_id(room_id))
    return str(path) if path is not None and path.exists() else None


def parse_room_id(text: str) -> bytes:
    """A room's id (16 B) as it is typed; UsageError if it is none."""
    try:
        room = bytes.fromhex(text)
    except ValueError:
        room = b""
    if len(room) != 16:
        raise UsageError("a room's id has 32 hex digits")
    return room
