"""`strongroom keymaster`: the keymaster as a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli.common import KeysOption, PassphraseOption, keys_only, open_keys, say
from strongroom.errors import UsageError

keymaster_app = typer.Typer(
    name="keymaster", help="The keymaster on a host of its own.", no_args_is_help=True, rich_markup_mode=None
)


def serve(
    listen: Annotated[
        str | None, typer.Option("--listen", help="Address and port; 127.0.0.1:8446 when not given.", metavar="PLACE")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="PEM file with the server's certificates.", metavar="FILE")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="PEM file with the certificate's key.", metavar="FILE")
    ] = None,
    notify: Annotated[
        str | None,
        typer.Option(
            "--notify", help="Address or command told of broken glass, freezes, what waits.", metavar="URL|COMMAND"
        ),
    ] = None,
    notify_key: Annotated[
        Path | None,
        typer.Option("--notify-key", help="Credential file that signs what goes to the address.", metavar="FILE"),
    ] = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Serve the keymaster of a folder until it is interrupted. Elsewhere than on loopback a certificate is needed."""
    from strongroom.identity.credential import read_credential
    from strongroom.keyserver.listen import LISTEN_DEFAULT, Server, parse_listen
    from strongroom.keyserver.notifying import Notifier, target_of

    where = parse_listen(listen or LISTEN_DEFAULT, certificate, key)
    if notify_key is not None and notify is None:
        raise UsageError("a key for notices without --notify")
    target = None if notify is None else target_of(notify, None if notify_key is None else read_credential(notify_key))
    with open_keys(keys_only(keys, passphrase_file)) as (keymaster, _):
        server = Server(keymaster, where)
        scheme = "http" if certificate is None else "https"
        host = f"[{where.host}]" if ":" in where.host else where.host
        say(f"room {keymaster.room_id.hex()}: serving at {scheme}://{host}:{server.port}")
        notifier = None if target is None else Notifier(keymaster.notices, keymaster.room_id, target)
        if notifier is not None:
            notifier.start()
        try:
            server.run()
        finally:
            if notifier is not None:
                notifier.stop()
    say("stopped: what was noted is published")


def add_to(app: typer.Typer) -> None:
    """Add this group of verbs."""
    keymaster_app.command("serve")(serve)
    app.add_typer(keymaster_app, name="keymaster")
