"""`strongroom signin` and `strongroom signout`: a key pair of one's own for some hours, from an issuer or a passkey."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli.common import (
    ActorArgument,
    KeysOption,
    Where,
    keys_only,
    minute,
    say,
    secret_of,
    setting,
)
from strongroom.cli.sessionfile import parse_room_id, session_file
from strongroom.errors import ConflictError, NotFoundError, StrongroomError, UsageError

if TYPE_CHECKING:
    from strongroom.identity.credential import Credential
    from strongroom.identity.flows import Client
    from strongroom.keyserver.newcomers import SignedIn
    from strongroom.keyserver.signing_in import Newcomer

RoomIdOption = Annotated[
    str | None, typer.Option("--room-id", help="32 hex digits; `keymaster serve` prints them.", metavar="ID")
]
NoBrowserOption = Annotated[
    bool, typer.Option("--no-browser", help="Print the address instead of opening the browser.")
]
PortOption = Annotated[
    int, typer.Option("--port", help="Port of the passkey's page on this machine.", metavar="N")
]


def signin(
    issuer: Annotated[str | None, typer.Option("--issuer", help="Who signs people in.", metavar="URL")] = None,
    client_id: Annotated[
        str | None, typer.Option("--client-id", help="Under which name the issuer knows Strongroom.", metavar="ID")
    ] = None,
    scope: Annotated[str, typer.Option("--scope", help="What the issuer is asked to say.", metavar="WORDS")] = "openid",
    client_secret_file: Annotated[
        Path | None, typer.Option("--client-secret-file", help="Where the issuer insists on one.", metavar="FILE")
    ] = None,
    device: Annotated[bool, typer.Option("--device", help="Sign in on another device, by a code.")] = False,
    passkey: Annotated[bool, typer.Option("--passkey", help="Sign in with a passkey, in the browser.")] = False,
    no_browser: NoBrowserOption = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="File for the credential; else where all verbs look.", metavar="FILE")
    ] = None,
    port: PortOption = 8449,
    room_id: RoomIdOption = None,
    keys: KeysOption = None,
) -> None:
    """Sign in to a keymaster behind its server: a credential of one's own, for some hours."""
    from strongroom.identity.flows import client_of
    from strongroom.keyserver.signing_in import Newcomer
    from strongroom.seal.entropy import random_bytes

    place, room = keys_only(keys, None), parse_room_id(setting("room_id", room_id))
    if not place.served:
        raise UsageError("people sign in to a keymaster behind its server", hint="keys = https://… names one")
    if passkey and (device or issuer):
        raise UsageError("either a passkey, or an issuer")
    path = out or session_file(room)
    if path is None:
        raise UsageError("where to: this machine has no folder for it (XDG_RUNTIME_DIR)", hint="--out FILE")
    _check_place(path, own=out is None)
    new = Newcomer(place.keys, room, place.authorities, time.time, random_bytes)
    try:
        if passkey:
            own, told = _by_passkey(new, port, no_browser=no_browser)
        else:
            secret = None if client_secret_file is None else secret_of(client_secret_file)
            client = client_of(setting("issuer", issuer), setting("client_id", client_id), scope, secret)
            token = _token_of(client, new.nonce, device=device, no_browser=no_browser)
            own, told = new.by_token(token)
    finally:
        new.close()
    _keep(path, own, told)


def _check_place(path: Path, *, own: bool) -> None:
    """Raise where a credential could not be kept, before anybody signs in; in its own place the last one gives way."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path.parent} cannot be made: {error.strerror}", hint="--out FILE") from None
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"nothing can be written to {path.parent}", hint="--out FILE")
    if path.exists() and not own:
        raise ConflictError(f"{path} exists", hint="a credential never takes the place of another file")


def _keep(path: Path, own: Credential, told: SignedIn) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    own.write(beside)
    beside.replace(path)
    say(f"signed in as {told.actor} until {minute(told.expires)} UTC: {path}")


def _token_of(client: Client, nonce: str, *, device: bool, no_browser: bool) -> str:
    from strongroom.cli.loopback import browser_at, redirected
    from strongroom.identity.flows import InBrowser, OnDevice
    from strongroom.seal.entropy import random_bytes

    if device:
        asked = OnDevice.begin(client, nonce)
        say(f"open {asked.where} on any device and enter {asked.user_code}")
        return asked.token(time.sleep)
    flows: list[InBrowser] = []
    with redirected(lambda said: bool(flows) and flows[0].is_answer(said)) as (address, awaited):
        flows.append(InBrowser.begin(client, address, nonce, random_bytes))
        with browser_at(flows[0].url, wanted=not no_browser) as opened:
            say("sign in in the browser" if opened else f"open in a browser on this machine: {flows[0].url}")
            return flows[0].token(awaited.wait())


def _by_passkey(new: Newcomer, port: int, *, no_browser: bool) -> tuple[Credential, SignedIn]:
    from strongroom.identity.commitment import assertion_challenge
    from strongroom.identity.passkey import RP_ID

    found = new.challenge()
    signed = assertion_challenge(new.room_id, new.public_key, found.challenge, found.expires)
    options = {"kind": "get", "rpId": RP_ID, "challenge": _text(signed)}
    return new.by_passkey(found, ask_browser(port, options, no_browser=no_browser))


def ask_browser(port: int, options: Mapping[str, Any], *, no_browser: bool) -> str:
    """What the browser answers on a page of this machine, as JSON."""
    from strongroom.cli.loopback import browser_at, passkey_page
    from strongroom.seal.entropy import random_bytes

    with (
        passkey_page(port, options, _text(random_bytes(32))) as (address, awaited),
        browser_at(address, wanted=not no_browser) as opened,
    ):
        say("the browser asks for your passkey" if opened else f"open in a browser on this machine: {address}")
        return str(awaited.wait())


def new_passkey(
    name: ActorArgument,
    attestation: Annotated[
        str, typer.Option("--attestation", help="What the authenticator tells of itself: none, direct.", metavar="WORD")
    ] = "none",
    no_browser: NoBrowserOption = False,
    port: PortOption = 8449,
    room_id: RoomIdOption = None,
) -> None:
    """Make a passkey in this machine's browser. It prints the public line that `actor add --line` takes."""
    from strongroom.identity.commitment import registration_challenge
    from strongroom.identity.passkey import ALGORITHMS, RP_ID, origin_of, parse_passkey_line, passkey_line

    room = parse_room_id(setting("room_id", room_id))
    if attestation not in {"none", "direct"}:
        raise UsageError("an authenticator tells nothing of itself (none), or its model (direct)")
    options = {
        "kind": "create",
        "rpId": RP_ID,
        "challenge": _text(registration_challenge(room, name)),
        "userId": _text(hashlib.sha256(room + name.encode()).digest()[:16]),
        "actor": name,
        "algorithms": ALGORITHMS,
        "attestation": attestation,
    }
    answer = ask_browser(port, options, no_browser=no_browser)
    line = passkey_line(name, origin_of(port), answer)
    parse_passkey_line(line, room)
    print(line)


def signout(
    out: Annotated[
        Path | None, typer.Option("--out", help="File of the credential that `signin` wrote.", metavar="FILE")
    ] = None,
    room_id: RoomIdOption = None,
    keys: KeysOption = None,
) -> None:
    """End what `signin` began: the credential is revoked, and its file removed."""
    path = out or session_file(parse_room_id(setting("room_id", room_id)))
    if path is None or not path.exists():
        raise NotFoundError("nobody is signed in here")
    known = keys_only(keys, None)
    place = Where(known.room, known.keys, None, credential=path, authorities=known.authorities)
    try:
        with place.connect() as keymaster:
            keymaster.credentials.sign_out()
    except StrongroomError as error:
        if error.exit_code != 3:  # one that is ended already needs no revoking
            raise
    path.unlink()
    say("signed out")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def add_to(app: typer.Typer) -> None:
    """Add these verbs."""
    app.command("signin")(signin)
    app.command("signout")(signout)
