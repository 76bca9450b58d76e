"""`strongroom keymaster`: the keymaster as a server, sealed until it is opened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli.common import (
    KeysOption,
    PassphraseOption,
    Token,
    Where,
    ask_passphrase,
    can_ask,
    counted,
    keys_only,
    open_keys,
    say,
    secret_of,
)
from strongroom.cli.listening import CertificateKeyOption, CertificateOption, ListenOption, address_of
from strongroom.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from strongroom.keymaster.embedded import EmbeddedKeymaster
    from strongroom.keys.slots import Keeper
    from strongroom.keyserver.serving import Server
    from strongroom.listener.address import Listen

keymaster_app = typer.Typer(
    name="keymaster", help="The keymaster on a host of its own.", no_args_is_help=True, rich_markup_mode=None
)

SocketOption = Annotated[
    Path | None,
    typer.Option("--socket", help="Where it is opened; in the keymaster's folder when not given.", metavar="PATH"),
]


def serve(
    listen: ListenOption = None,
    certificate: CertificateOption = None,
    key: CertificateKeyOption = None,
    sealed: Annotated[
        bool, typer.Option("--sealed", help="Start without keys, until `keymaster open` or a token opens it.")
    ] = False,
    socket: SocketOption = None,
    notify: Annotated[
        str | None,
        typer.Option(
            "--notify", help="Address or command told of alarms, freezes, what waits.", metavar="URL|COMMAND"
        ),
    ] = None,
    notify_key: Annotated[
        Path | None,
        typer.Option("--notify-key", help="Credential file that signs what goes to the address.", metavar="FILE"),
    ] = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Serve the keymaster of a folder until it is interrupted. Elsewhere than on loopback a certificate is needed.

    Without --listen it is at 127.0.0.1:8446. Where nothing opens it and nobody can be asked, it starts sealed.
    """
    from strongroom.identity.credential import read_credential
    from strongroom.keyserver.listen import LISTEN_DEFAULT
    from strongroom.keyserver.notifying import target_of
    from strongroom.keyserver.serving import Server
    from strongroom.listener.address import parse_listen

    where = parse_listen(listen or LISTEN_DEFAULT, certificate, key)
    place = keys_only(keys, passphrase_file)
    if notify_key is not None and notify is None:
        raise UsageError("a key for notices without --notify")
    target = None if notify is None else target_of(notify, None if notify_key is None else read_credential(notify_key))
    if sealed or not (_opens_itself(place) or place.passphrase_file is not None or can_ask()):
        _serve_sealed(place, where, socket, target)
    else:
        with open_keys(place) as (keymaster, _):
            server = Server(keymaster, where)
            say(f"room {keymaster.room_id.hex()}: serving at {address_of(where, server.port)}")
            with _notified(keymaster, target):
                _run(server)
    say("stopped: what was noted is published")


def _run(server: Server) -> None:
    """Serve; what the first decision and the first large call would stop for is loaded meanwhile."""
    threading.Thread(target=_load, name="strongroom-load").start()
    server.run()


def _load() -> None:
    from strongroom.seal.scatter import load_kernels

    with suppress(ImportError):  # it is told where they are used
        import_module("cedarpy")
        load_kernels()


@contextmanager
def _notified(keymaster: EmbeddedKeymaster, target: Any) -> Iterator[None]:
    """Tell a target what happens, where there is one."""
    from strongroom.keyserver.notifying import Notifier

    if target is None:
        yield
        return
    notifier = Notifier(keymaster.notices, keymaster.room_id, target)
    notifier.start()
    try:
        yield
    finally:
        notifier.stop()


def _opens_itself(place: Where) -> bool:
    return place.kms_key is not None or (place.token is not None and place.token.pin_file is not None)


def _serve_sealed(place: Where, where: Listen, socket: Path | None, target: Any) -> None:
    from strongroom.keymaster.create import holds_keymaster
    from strongroom.keyserver.control import SOCKET, Control
    from strongroom.keyserver.gate import Gate
    from strongroom.keyserver.serving import Server

    folder = Path(place.keys)
    if place.served or not holds_keymaster(folder):
        raise NotFoundError(f"there is no keymaster at {place.keys}", hint="`strongroom create` makes one")
    server = Server(None, where)
    token = None if place.token is None else _with_pin(place.token)
    itself = _itself(place)
    gate = Gate(folder, server, token=token, itself=itself, tell=say, beside=lambda made: _notified(made, target))
    try:
        with Control(socket or folder / SOCKET, gate):
            say(f"sealed: serving at {address_of(where, server.port)}; `strongroom keymaster open` opens it")
            gate.begin()
            _run(server)
    finally:
        gate.close()


def _with_pin(token: Token) -> Callable[[str], Keeper]:
    """What makes a keeper of a token's PIN."""
    from strongroom.keys.slot_pkcs11 import TokenKeeper

    return lambda pin: TokenKeeper(token.module, token.label, pin)


def _itself(place: Where) -> Callable[[], Keeper] | None:
    """What makes a keeper that needs nobody."""
    if place.kms_key is not None:
        from strongroom.keys.slot_kms import KmsKeeper

        key = place.kms_key
        return lambda: KmsKeeper(key)
    token = place.token
    if token is None or token.pin_file is None:
        return None

    def keeper() -> Keeper:
        made = token.keeper()
        made.look_again()
        return made

    return keeper


def open_(
    share: Annotated[
        list[Path] | None, typer.Option("--share", help="File with a share; `-` for stdin.", metavar="FILE")
    ] = None,
    shares: Annotated[
        bool, typer.Option("--shares", help="Ask for shares, one after the other; an empty line ends it.")
    ] = False,
    pin: Annotated[bool, typer.Option("--pin", help="Ask for the PIN of the token that the settings name.")] = False,
    pin_file: Annotated[Path | None, typer.Option("--pin-file", help="File with that PIN.", metavar="FILE")] = None,
    socket: SocketOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Open a sealed keymaster on its own host: by its passphrase, by shares one by one, or by a token's PIN."""
    from strongroom.keyserver.control import ask_control

    place = keys_only(keys, passphrase_file)
    path = _socket(place, socket)
    if sum((share is not None, shares, pin, pin_file is not None)) > 1:
        raise UsageError("a keymaster is opened by one thing at a time")
    if share is not None or shares:
        said = _by_shares(path, map(secret_of, share or ()) if share else iter(lambda: ask_passphrase("share: "), ""))
    elif pin or pin_file is not None:
        text = ask_passphrase("PIN: ") if pin_file is None else secret_of(pin_file)
        said = ask_control(path, do="open", pin=text)
    else:
        said = ask_control(path, do="open", passphrase=place.passphrase())
    if said["done"] == "open":
        say(f"room {said['room']} is open")


def _by_shares(path: Path, texts: Iterable[str]) -> dict[str, Any]:
    """Give shares until it is open; what the last of them did."""
    from strongroom.keyserver.control import ask_control

    said: dict[str, Any] = {"done": "nothing"}
    for text in texts:
        said = ask_control(path, do="open", share=text)
        if said["done"] == "open":
            break
        say(f"{counted(said['shares'], 'share')} of {said['threshold']}: still sealed")
    return said


def seal(socket: SocketOption = None, keys: KeysOption = None) -> None:
    """Seal a keymaster that was opened so: its keys are forgotten, and its readings closed."""
    from strongroom.keyserver.control import ask_control

    ask_control(_socket(keys_only(keys, None), socket), do="seal")
    say("sealed")


def _socket(place: Where, socket: Path | None) -> Path:
    from strongroom.keyserver.control import SOCKET

    if socket is None and place.served:
        raise UsageError("this is done where the keymaster's folder is", hint="run it on the keymaster's own host")
    return socket or Path(place.keys) / SOCKET


def add_to(app: typer.Typer) -> None:
    """Add this group of verbs."""
    keymaster_app.command("serve")(serve)
    keymaster_app.command("open")(open_)
    keymaster_app.command("seal")(seal)
    app.add_typer(keymaster_app, name="keymaster")
