"""`strongroom witness`: sees that logs only grow, on a host of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strongroom.cli.common import counted, say
from strongroom.cli.listening import CertificateKeyOption, CertificateOption, ListenOption, address_of

witness_app = typer.Typer(
    name="witness", help="A witness of logs, on a host of its own.", no_args_is_help=True, rich_markup_mode=None
)

FolderArgument = Annotated[Path, typer.Argument(help="Folder of the witness.", metavar="FOLDER")]


def key(
    folder: FolderArgument,
    name: Annotated[
        str, typer.Option("--name", help="Its name in cosignatures, as witness.example/north.", metavar="NAME")
    ],
) -> None:
    """Make a witness: a key pair, and an empty record of what it cosigned. It prints the line for the policy."""
    from strongroom.witness.folder import make_witness

    print(make_witness(folder, name).line())


def serve(
    folder: FolderArgument,
    log: Annotated[
        list[str] | None,
        typer.Option("--log", help="Public key of a log; `strongroom log --public-key` prints it.", metavar="LINE"),
    ] = None,
    logs: Annotated[
        Path | None, typer.Option("--logs", help="File with such keys, one a line.", metavar="FILE")
    ] = None,
    listen: ListenOption = None,
    certificate: CertificateOption = None,
    key: CertificateKeyOption = None,
) -> None:
    """Cosign what the logs named sign, until it is interrupted. Elsewhere than on loopback a certificate is needed.

    Without --listen it is at 127.0.0.1:8448.
    """
    from strongroom.listener.address import parse_listen
    from strongroom.witness.folder import logs_of, open_witness, read_lines
    from strongroom.witness.serve import LISTEN_DEFAULT, WitnessServer

    where = parse_listen(listen or LISTEN_DEFAULT, certificate, key)
    known = logs_of([*(log or ()), *([] if logs is None else read_lines(logs))])
    own, state = open_witness(folder)
    try:
        server = WitnessServer(own, state, known, where)
        address = address_of(where, server.port)
        say(f"witness {own.name} of {counted(len(known), 'log')}: serving at {address}")
        server.run()
    finally:
        state.close()
    say("stopped")


def add_to(app: typer.Typer) -> None:
    """Add this group of verbs."""
    witness_app.command("key")(key)
    witness_app.command("serve")(serve)
    app.add_typer(witness_app, name="witness")
