"""Somebody reads what proxies, logs and process lists show of requests: paths, headers, output and options, not bodies."""

import base64
import contextlib
import logging
import re

import pytest
import typer
from room_api import Api
from small_room import person

from strongroom.cli.app import app
from strongroom.listener import connection
from strongroom.server.client import RoomClient

REASON = "the matter of the seventh person"
ACTORS = ("ada", "mei", "kit")


@pytest.fixture
def overheard(room, monkeypatch, caplog, capfd):
    """Paths and headers of every request, at the room's server and at the keymaster's, its bodies, and all output."""
    lines, bodies = [], []
    real_request, real_body = connection.Request, connection.Connection.on_body

    def request(method, path, headers, *more):
        lines.append(f"{method} {path} {dict(headers)}")
        return real_request(method, path, headers, *more)

    def on_body(self, data):
        bodies.append(bytes(data))
        real_body(self, data)

    monkeypatch.setattr(connection, "Request", request)
    monkeypatch.setattr(connection.Connection, "on_body", on_body)
    with caplog.at_level(logging.DEBUG), Api(room) as api:
        seeds = every_verb(api)
        out, err = capfd.readouterr()
    return lines, b"".join(bodies), caplog.text + out + err, seeds


def every_verb(api):
    """Each verb that has persons in it, answered and refused; the secrets of those who asked."""
    own = {actor: api.keys.credential(actor) for actor in ACTORS}
    with contextlib.ExitStack() as stack:
        ada, mei, kit = (stack.enter_context(RoomClient(api.url, own[actor])) for actor in ACTORS)
        with ada.read(purpose="case-work", reason=REASON) as desk:
            desk.get("persons", "P-000007")
            desk.each("persons", ["P-000007", "P-nobody-7"])
            desk.find("persons", {"mobile": person(7)["mobile"]})
            with contextlib.suppress(Exception):
                desk.find("persons", {"address": person(7)["address"]})
            with contextlib.suppress(Exception):
                desk.log("P-000007", table="persons")
        with mei.read(purpose="delivery", reason=REASON) as desk:
            desk.records("parcels", "P-000007")
        kit.put("persons", [person(9_007)], records=1, idempotency_key="put 1")
        kit.erase("P-000007", reason=REASON)
        for client in (ada, mei, kit):
            client.log(actor=client.actor)
            client.explain("persons")
            client.whoami()
    return [one.seed for one in own.values()]


def personal():
    """Texts that would tell of somebody."""
    values = [person(n)[name] for n in (7, 9_007) for name in ("person_id", "name", "mobile", "id_number", "address")]
    return [*values, "P-nobody-7", REASON]


def test_attack_paths_headers_and_output_tell_of_nobody(overheard):
    """Of every verb, at both servers: no subject, value or reason, as it is, in base64 or for a URL; and no secret."""
    lines, _, printed, seeds = overheard
    heard = "\n".join(lines) + printed
    assert len({line.split()[1].rpartition("/")[2] for line in lines}) > 12
    assert not any("?" in line.split()[1] for line in lines)
    for text in personal():
        data = text.encode()
        forms = {text, base64.b64encode(data)[:-4].decode(), data.hex(), "".join(f"%{byte:02X}" for byte in data)}
        assert not [form for form in forms if form and form in heard], text
    for seed in seeds:
        assert not [form for form in (seed.hex(), base64.b64encode(seed).decode().rstrip("=")) if form in heard]


def test_control_bodies_tell_of_everybody_and_of_no_secret(overheard):
    """Control: whatever was asked for or put stands in the bodies of the same requests; a secret is not there either."""
    _, bodies, _, seeds = overheard
    for text in (person(7)["mobile"], *personal()[5:], "P-000007"):
        assert text.encode() in bodies, text
    for seed in seeds:
        assert not [form for form in (seed, seed.hex().encode(), base64.b64encode(seed).rstrip(b"=")) if form in bodies]


SECRET = re.compile(r"passphrase|pin\b|secret|share\b|seed|private")


def options(command, words=()):
    """(command, option names, type) of every option of the command line."""
    for name, one in getattr(command, "commands", {}).items():
        yield from options(one, (*words, name))
    yield from ((" ".join(words), option.opts, option) for option in command.params)


def test_attack_no_option_takes_a_secret(monkeypatch):
    """A command line is in the process list and the shell's history: what opens something is named by a file, or asked for."""
    seen = []
    for command, names, option in options(typer.main.get_command(app)):
        if any(SECRET.search(name) for name in names):
            seen.append(names[0])
            assert option.is_flag or "file" in " ".join(names) or option.metavar in {"FILE", "FOLDER"}, (command, names)
    assert {"--passphrase-file", "--pin-file", "--client-secret-file", "--share"} <= set(seen)
