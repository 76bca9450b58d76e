"""Which URLs of issuers are taken: https, or http on this machine."""

from __future__ import annotations

from urllib.parse import urlsplit

from strongroom.errors import UsageError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
URL_LENGTH_MAX = 1000


def check_issuer(url: str) -> str:
    """An issuer's URL as it stands; UsageError unless it is https, or http on this machine, and nothing more."""
    if not is_safe(url) or "?" in url or "#" in url or url.endswith("/.well-known"):
        raise UsageError("an issuer's URL looks like https://login.example, over https")
    return url


def is_safe(url: str, *, loopback: bool = True) -> bool:
    """Whether a URL is https, or, where that is let, http on this machine."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return False
    plain = url.isascii() and not any(letter <= " " for letter in url) and "@" not in parts.netloc
    if len(url) > URL_LENGTH_MAX or not host or not plain:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and loopback and host in LOOPBACK)
