"""Where a server listens: loopback, or elsewhere with a certificate."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from strongroom.errors import UnavailableError, UsageError

BACKLOG = 4096
_FORM = "listen on an address and a port, as 127.0.0.1:8446 or [::1]:8446"


@dataclass(frozen=True)
class Listen:
    """Where to listen, and with which certificate and key (PEM files); None for plain http on loopback.

    Raises:
        UsageError: The host is no address; or it is not loopback, and there is no certificate.
    """

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        try:
            loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            raise UsageError(_FORM) from None
        if self.certificate is None and not loopback:
            raise UsageError(
                "without a certificate only loopback is listened on", hint="--certificate FILE and --key FILE"
            )


def parse_listen(text: str, certificate: Path | None = None, key: Path | None = None) -> Listen:
    """`address:port`, or `[address]:port`.

    Raises:
        UsageError: It is none; or it is not loopback, and there is no certificate.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        number = int(port)
        if not 0 <= number < 65_536:
            raise ValueError
    except ValueError:
        raise UsageError(_FORM) from None
    if (certificate is None) != (key is None):
        raise UsageError("a certificate and its key go together")
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise UsageError(f"there is no file {path}")
    return Listen(host, number, certificate, key)


def bound(listen: Listen) -> socket.socket:
    """A socket that listens there; from then on callers wait, and are not refused."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((listen.host, listen.port))
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError as error:
        made.close()
        raise UnavailableError(
            f"cannot listen on {listen.host}, port {listen.port}: {os.strerror(error.errno or 0).lower()}"
        ) from None
    return made
