"""What the verbs that serve have in common: where to listen, with which certificate, and how the place is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from strongroom.listener.address import Listen

ListenOption = Annotated[
    str | None, typer.Option("--listen", help="Address and port; on loopback when not given.", metavar="PLACE")
]
CertificateOption = Annotated[
    Path | None, typer.Option("--certificate", help="PEM file with the server's certificates.", metavar="FILE")
]
CertificateKeyOption = Annotated[
    Path | None, typer.Option("--key", help="PEM file with the certificate's key.", metavar="FILE")
]


def address_of(where: Listen, port: int) -> str:
    """The URL of a listener, with the port that it has."""
    host = f"[{where.host}]" if ":" in where.host else where.host
    return f"{'http' if where.certificate is None else 'https'}://{host}:{port}"
