"""The section `[witnesses]` of a policy: who cosigns checkpoints of the log, and how many of them must.

    [witnesses]
    quorum = 2
    north = { key = "north.example/w+1a2b3c4d+BA…", url = "https://north.example:8447" }
    …

Whether a key is one is left to the keymaster, which knows what keys of witnesses look like.
"""

from __future__ import annotations

from strongroom.errors import PolicyError
from strongroom.purpose.model import Witness, WitnessRule
from strongroom.purpose.toml import Node
from strongroom.webaddress import is_private, read_address

QUORUM = "quorum"


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
    parts = read_address(text)
    if parts is None or parts.query or parts.fragment:
        raise PolicyError(f"{place} is no URL of a witness", hint="as https://north.example:8447")
    if not is_private(parts):
        raise PolicyError(f"{place} must be https: a witness on another host is asked over TLS only")
    return text.rstrip("/")
