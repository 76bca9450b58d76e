"""Which web addresses are taken: https, or http to this machine; without a user, spaces or anything unprintable."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
URL_LENGTH_MAX = 1000


def read_address(url: str) -> SplitResult | None:
    """The parts of a web address; None for what is none."""
    if len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or port == 0:
        return None
    return parts


def is_private(parts: SplitResult) -> bool:
    """Whether nobody on the way reads what is sent there: over https, or to this machine."""
    return parts.scheme == "https" or parts.hostname in LOOPBACK
