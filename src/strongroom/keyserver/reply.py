"""What goes back to whoever asked a listener."""

from __future__ import annotations

from typing import NamedTuple


class Reply(NamedTuple):
    """Status, body, media type, and headers besides."""

    status: int
    body: bytes
    media: bytes = b"application/msgpack"
    headers: tuple[tuple[bytes, bytes], ...] = ()
