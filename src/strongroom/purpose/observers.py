"""The section `[witnesses]` of a policy: who cosigns checkpoints of the log, and how many of them must.

    [witnesses]
    quorum = 2
    north = { key = "north.example/w+1a2b3c4d+BA…", url = "https://north.example:8447" }
    …

Whether a key is one is left to the keymaster, which knows what keys of witnesses look like.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from strongroom.errors import PolicyError
from strongroom.purpose.model import Witness, WitnessRule
from strongroom.purpose.toml import Node

LOOPBACK = ("localhost", "127.0.0.1", "::1")
QUORUM = "quorum"
URL_LENGTH_MAX = 1024


def parse_witnesses(node: Node) -> WitnessRule:
    """Read the section.

    Raises:
        PolicyError: With the place as a TOML path.
    """
    quorum = node.count(QUORUM, 1)
    names = [name for name in node.names() if name != QUORUM]
    if quorum is None:
        raise PolicyError(f"{node.path} has no {QUORUM}", hint="say how many witnesses must cosign")
    if quorum > len(names):
        raise PolicyError(
            f"{node.place(QUORUM)} is {quorum}, and {node.path} names {len(names)}",
            hint='name a witness as north = { key = "…", url = "https://…" }',
        )
    return WitnessRule(quorum, tuple(_witness(node.table(name)) for name in names))


def _witness(node: Node) -> Witness:
    node.only("key", "url")
    key, url = node.text("key"), node.text("url")
    if key is None or url is None:
        missing = "key" if key is None else "url"
        raise PolicyError(f"{node.path} has no {missing}", hint="`strongroom witness key` prints the key")
    return Witness(key, _url(url, node.place("url")))


def _url(text: str, place: str) -> str:
    """The URL without a slash at its end: https, or http to this machine."""
    try:
        parts = urlsplit(text)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_one = urlsplit(""), False
    printable = text.isascii() and text.isprintable() and " " not in text and len(text) <= URL_LENGTH_MAX
    plain = port_is_one and "@" not in parts.netloc and not parts.query and not parts.fragment and printable
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
        raise PolicyError(f"{place} is no URL of a witness", hint="as https://north.example:8447")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise PolicyError(f"{place} must be https: a witness on another host is asked over TLS only")
    return text.rstrip("/")
