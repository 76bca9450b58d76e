"""Which URLs of issuers are taken: https, or http on this machine."""

from __future__ import annotations

from strongroom.errors import UsageError
from strongroom.webaddress import is_private, read_address


def check_issuer(url: str) -> str:
    """An issuer's URL as it stands; UsageError unless it is https, or http on this machine, and nothing more."""
    if not is_safe(url) or "?" in url or "#" in url or url.endswith("/.well-known"):
        raise UsageError("an issuer's URL looks like https://login.example, over https")
    return url


def is_safe(url: str, *, loopback: bool = True) -> bool:
    """Whether a URL is https, or, where that is let, http on this machine."""
    parts = read_address(url)
    return parts is not None and (parts.scheme == "https" or (loopback and is_private(parts)))
