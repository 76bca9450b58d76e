"""`strongroom serve`: the HTTP API in front of a room."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Annotated

import typer

from strongroom.cli.common import KeysOption, RoomOption, say, where
from strongroom.cli.listening import CertificateKeyOption, CertificateOption, ListenOption, address_of
from strongroom.errors import UsageError


def serve(
    listen: ListenOption = None,
    certificate: CertificateOption = None,
    key: CertificateKeyOption = None,
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", help="On loopback, for /metrics and /healthz; 0 for any.", metavar="PORT")
    ] = 9447,
    openapi: Annotated[bool, typer.Option("--openapi", help="Print the OpenAPI document and end.")] = False,
    room: RoomOption = None,
    keys: KeysOption = None,
) -> None:
    """Serve a room over HTTP until it is interrupted. Elsewhere than on loopback a certificate is needed.

    Without --listen it is at 127.0.0.1:8447.
    """
    if openapi:
        from strongroom.server.openapi import document

        print(json.dumps(document(), indent=1))
        return
    from strongroom.listener.address import parse_listen
    from strongroom.server.serving import LISTEN_DEFAULT, RoomServer

    listened = parse_listen(listen or LISTEN_DEFAULT, certificate, key)
    place = where(room, keys, None)
    if not place.served:
        raise UsageError(
            "a room is served with its keymaster behind a server of its own",
            hint='`strongroom keymaster serve`, then keys = "https://…" and the credential of a server',
        )
    with place.connect() as connection, closing(RoomServer(place.room, connection, listened, metrics_port)) as server:
        say(f"room {connection.room_id.hex()}: serving at {address_of(listened, server.port)}")
        say(f"metrics at http://127.0.0.1:{server.metrics_port}/metrics")
        server.run()
    say("stopped")


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("serve")(serve)
