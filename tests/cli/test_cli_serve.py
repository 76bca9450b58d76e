"""`strongroom serve`, from the command line: a room with its keymaster behind a server, and callers of both."""

import json
import re
import signal

import pytest
from cli_kit import CASE, KIT, first_line
from small_room import person

import strongroom
from strongroom.errors import DeniedError, UnavailableError


def started(shell, *words):
    """A process that serves; its URL and itself."""
    process = shell.start(*words)
    told = first_line(process)
    found = re.match(r"room [0-9a-f]{32}: serving at (http://127\.0\.0\.1:[1-9][0-9]*)$", told)
    assert found, told
    return found[1], process


def ended(process):
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 0
    return told.decode()


def test_a_room_is_served_to_who_signs(shell):
    """Credentials from the command line, both servers as processes, a record through the client; both end clean."""
    for actor, more in (("front", ["--server"]), ("ada", [])):
        made = shell.run("actor", "add", actor, "--out", f"{actor}.credential", *more, *KIT)
        assert made.code == 0, made.err
    keys_url, keys = started(shell, "keymaster", "serve", "--listen", "127.0.0.1:0")
    (shell.folder / "strongroom.toml").write_text(
        f'room = "{shell.room.bucket}"\nkeys = "{keys_url}"\ncredential = "front.credential"\n'
    )
    url, server = started(shell, "serve", "--listen", "127.0.0.1:0", "--metrics-port", "0")
    with strongroom.connect_room(url, credential=shell.folder / "ada.credential") as room:
        with room.read(purpose="case-work", reason="case 1") as desk:
            assert dict(desk.get("persons", "P-000007")) == person(7)
        assert [e["act"] for e in room.log(actor="ada")][-1] == "get"
    (shell.folder / "strongroom.toml").write_text(f'room = "{url}"\ncredential = "ada.credential"\n')
    told = shell.run("get", "persons", "-", *CASE, "--json", stdin=b"P-000008\n")
    assert told.code == 0, told.err
    assert json.loads(told.out)[0]["mobile"] == person(8)["mobile"]
    told = shell.run("find", "persons", "--where", "mobile=-", *CASE, "--json", stdin=person(9)["mobile"].encode())
    assert json.loads(told.out)[0]["person_id"] == "P-000009"
    assert shell.run("explain", "persons", "--actor", "ada", "--purpose", "case-work").code == 0
    told = shell.run("get", "persons", "-", "--actor", "kit", "--purpose", "x", "--reason", "r", stdin=b"P-1\n")
    assert (told.code, "credential is ada's" in told.err) == (2, True)
    told = shell.run("log", "--mine", "--actor", "ada", "--json")
    assert {e["actor"] for e in json.loads(told.out)["entries"]} == {"ada"}
    told = shell.run("log", "--actor", "ada")
    assert (told.code, "behind its server" in told.err) == (2, True)
    told = shell.run("check", "--actor", "ada")
    assert (told.code, "behind its server" in told.err) == (2, True)
    with pytest.raises(DeniedError, match="nobody's name"):
        strongroom.connect_room(url, credential=shell.folder / "front.credential")
    assert "stopped" in ended(server)
    assert "stopped" in ended(keys)


def test_who_keeps_a_room_asks_its_server(shell):
    """Holds, rejects, retention, exports, rules and receipts from the command line, with nothing but the server's address."""
    for actor, more in (("front", ["--server"]), ("kit", []), ("nan", []), ("ada", [])):
        assert shell.run("actor", "add", actor, "--out", f"{actor}.credential", *more, *KIT).code == 0
    bad = shell.folder / "bad.csv"
    bad.write_text("person_id,name,birth_year\nP-000700,甲,1980\n,乙,1981\n", encoding="utf-8")
    assert shell.run("put", "persons", str(bad), *KIT).code == 0
    assert shell.run("erase", "P-000009", "--confirm", "P-000009", "--reason", "asked", *KIT, "--json").code == 0
    (leaf,) = [e["leaf"] for e in json.loads(shell.run("log", "--json", *KIT).out)["entries"] if e["act"] == "erase"]
    rules = shell.run("policy", *KIT).out
    keys_url, keys = started(shell, "keymaster", "serve", "--listen", "127.0.0.1:0")
    (shell.folder / "strongroom.toml").write_text(
        f'room = "{shell.room.bucket}"\nkeys = "{keys_url}"\ncredential = "front.credential"\n'
    )
    url, server = started(shell, "serve", "--listen", "127.0.0.1:0", "--metrics-port", "0")

    def asked(actor, *words, stdin=b""):
        (shell.folder / "strongroom.toml").write_text(f'room = "{url}"\ncredential = "{actor}.credential"\n')
        told = shell.run(*words, "--actor", actor, stdin=stdin)
        assert told.code == 0, told.err
        return told

    assert "the subject is held, log entry" in asked("kit", "hold", "-", "--reason", "suit 4", stdin=b"P-000007\n").err
    assert "the hold is lifted" in asked("nan", "unhold", "-", "--reason", "over", stdin=b"P-000007\n").err
    (group,) = json.loads(asked("kit", "rejects", "--json").out)
    assert (group["field"], group["records"]) == ("person_id", 1)
    (one,) = json.loads(asked("ada", "rejects", "--purpose", "case-work", "--reason", "load 7", "--json").out)
    assert one["record"]["name"] == "乙"
    assert json.loads(asked("kit", "rejects", "--re-put", "--json").out)["rejected"] == 1
    assert "no table has a retention" in asked("kit", "retention").err
    assert json.loads(asked("kit", "exports", "--json").out) == []
    assert asked("kit", "policy").out == rules
    assert json.loads(asked("kit", "policy", "--json").out)["cedar"] == rules
    assert json.loads(asked("kit", "erase", "--receipt", str(leaf), "--json").out)["persons"] == 1
    told = shell.run("policy", "--test", "policy.toml", *KIT)
    assert (told.code, "only the room's server is named" in told.err) == (2, True)
    ended(server)
    ended(keys)


def test_a_keymaster_that_is_killed_and_comes_back_is_asked_on(shell):
    """Kill -9 of the keymaster: 503 meanwhile; when it is there again the server and its callers go on, nothing twice."""
    for actor, more in (("front", ["--server"]), ("ada", [])):
        assert shell.run("actor", "add", actor, "--out", f"{actor}.credential", *more, *KIT).code == 0
    before = (shell.folder / "strongroom.toml").read_text()
    keys_url, keys = started(shell, "keymaster", "serve", "--listen", "127.0.0.1:0")
    (shell.folder / "strongroom.toml").write_text(
        f'room = "{shell.room.bucket}"\nkeys = "{keys_url}"\ncredential = "front.credential"\n'
    )
    url, server = started(shell, "serve", "--listen", "127.0.0.1:0", "--metrics-port", "0")
    with strongroom.connect_room(url, credential=shell.folder / "ada.credential") as room:
        desk = room.read(purpose="case-work", reason="case 1")
        assert dict(desk.get("persons", "P-000007")) == person(7)
        keys.kill()
        keys.communicate(timeout=30)
        with pytest.raises(UnavailableError):
            desk.get("persons", "P-000008")
        port = keys_url.rpartition(":")[2]
        (shell.folder / "strongroom.toml").write_text(before)
        _, keys = started(shell, "keymaster", "serve", "--listen", f"127.0.0.1:{port}")
        assert dict(desk.get("persons", "P-000008")) == person(8)
        entries = [e for e in room.log(actor="ada") if e["act"] == "get"]
        assert [e["count"] for e in entries] == [1, 1]
    ended(server)
    ended(keys)


def test_what_is_not_served(shell):
    """A keymaster in a folder, an address without a certificate, a credential that is no server's: said before it listens."""
    told = shell.run("serve")
    assert (told.code, "server of its own" in told.err) == (2, True)
    told = shell.run("serve", "--listen", "0.0.0.0:8447")
    assert (told.code, "only loopback" in told.err) == (2, True)
    assert shell.run("actor", "add", "ada", "--out", "ada.credential", *KIT).code == 0
    keys_url, keys = started(shell, "keymaster", "serve", "--listen", "127.0.0.1:0")
    (shell.folder / "strongroom.toml").write_text(
        f'room = "{shell.room.bucket}"\nkeys = "{keys_url}"\ncredential = "ada.credential"\n'
    )
    told = shell.run("serve", "--listen", "127.0.0.1:0")
    assert (told.code, "--server" in told.err) == (3, True)
    ended(keys)


def test_the_document_is_printed_without_a_room(shell):
    """`--openapi` needs nothing."""
    told = shell.run("serve", "--openapi")
    assert told.code == 0
    assert json.loads(told.out)["openapi"] == "3.1.0"
