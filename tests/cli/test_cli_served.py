"""A keymaster behind `keymaster serve`, from the command line: credentials made, used, limited and revoked."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import time

import pytest
from cli_kit import CASE, KIT, ended, first_line
from small_room import POLICY, person


@pytest.fixture
def serving(shell):
    """A shell whose keymaster is served by a process of its own; its url and the room's id."""
    process = shell.start("keymaster", "serve", "--listen", "127.0.0.1:0")
    told = first_line(process)
    found = re.match(r"room ([0-9a-f]{32}): serving at (http://127\.0\.0\.1:[1-9][0-9]*)$", told)
    assert found, told
    yield shell, process, found[2], found[1]
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


def settings(shell, url, credential):
    (shell.folder / "strongroom.toml").write_text(
        f'room = "{shell.room.bucket}"\nkeys = "{url}"\ncredential = "{credential}"\n'
    )


def test_from_a_key_pair_to_a_record_and_to_its_end(serving):
    """A caller makes a key pair, is let in by its public line, reads, and is revoked; the server ends clean."""
    shell, process, url, room_id = serving
    made = shell.run("actor", "key", "ada", "--room-id", room_id, "--out", "ada.credential")
    assert made.code == 0
    line = made.out.strip()
    secret = json.loads((shell.folder / "ada.credential").read_text())["seed"]
    assert secret not in made.out + made.err
    added = shell.run("actor", "add", "ada", "--line", line, "--days", "2", "--network", "127.0.0.0/8", *KIT)
    assert added.code == 0, added.err
    own = shell.run("actor", "add", "kit", "--out", "kit.credential", *KIT)
    assert own.code == 0, own.err
    settings(shell, url, "ada.credential")
    found = shell.run("get", "persons", "-", *CASE, "--json", stdin=b"P-000007\n")
    assert found.code == 0, found.err
    (record,) = json.loads(found.out)
    record.pop("_withheld")
    assert record == json.loads(json.dumps(person(7), default=str))
    assert shell.run("check", *KIT).code == 2  # the credential is ada's
    settings(shell, url, "kit.credential")
    assert shell.run("check", *KIT).code == 0
    for words in (("actor", "list"), ("approve",), ("freeze",)):
        other = shell.run(*words, "--actor", "ada")
        assert (other.code, "the credential is kit's, and this is asked for ada" in other.err) == (2, True)
    limits = ("--server", "--network", "10.0.0.0/8", "--purpose", "delivery", "--budget", "day=7")
    waits = json.loads(shell.run("actor", "add", "mei", "--out", "mei.credential", *limits, *KIT, "--json").out)["asked"]
    (line,) = [line for line in shell.run("approve", *KIT).out.splitlines() if line.startswith(waits)]
    assert "a server's credential of mei, " in line
    assert line.endswith("; for 90 days; from 10.0.0.0/8; delivery; persons day=7; look-ups day=70")
    listed = json.loads(shell.run("actor", "list", *KIT, "--json").out)
    (ident,) = [one["id"] for one in listed if one["actor"] == "ada"]
    assert "127.0.0.0/8" in shell.run("actor", "list", *KIT).out
    notes = len(list((shell.room.bucket / "notes").iterdir()))
    assert shell.run("actor", "revoke", ident, *KIT).code == 0
    assert len(list((shell.room.bucket / "notes").iterdir())) == notes + 1  # a keymaster set back would know
    assert shell.run("actor", "revoke", ident, *KIT).code == 7
    settings(shell, url, "ada.credential")
    refused = shell.run("get", "persons", "-", *CASE, stdin=b"P-000007\n")
    assert refused.code == 3
    assert "revoked" in refused.err
    process.send_signal(signal.SIGTERM)
    done = ended(process)
    assert done.code == 0
    assert "stopped" in done.err
    assert secret not in done.err + done.out


def test_a_policy_needs_no_bucket(serving):
    """Printed, tried and asked for where only the keymaster is named, or the room behind its server besides."""
    shell, _process, url, _ = serving
    before = shell.run("policy", *KIT).out
    assert shell.run("actor", "add", "kit", "--out", "kit.credential", *KIT).code == 0
    (shell.folder / "new.toml").write_text(POLICY + "# another\n")
    for room in ("", 'room = "https://room.example"\n'):
        (shell.folder / "strongroom.toml").write_text(f'{room}keys = "{url}"\ncredential = "kit.credential"\n')
        assert shell.run("policy", *KIT).out == before
        assert "0 requests of the log" in shell.run("policy", "--test", "new.toml", *KIT).err
        asked = shell.run("policy", "--set", "new.toml", *KIT)
        assert (asked.code, asked.err[:21]) == (0, "asked: another person"), asked.err
    (shell.folder / "strongroom.toml").write_text('room = "https://room.example"\ncredential = "kit.credential"\n')
    alone = shell.run("policy", "--test", "new.toml", *KIT)
    assert (alone.code, "asked of the keymaster itself" in alone.err) == (2, True)
    alone = shell.run("policy", *KIT)  # the rules in force are asked of the room's server, and there is none
    assert (alone.code, "the server does not answer" in alone.err) == (6, True), alone.err


def test_a_policy_that_is_kept_without_a_bucket_says_so(shell):
    """In the keymaster's own folder: in force at once, beside the objects by the next change that knows them."""
    (shell.folder / "new.toml").write_text(POLICY + "# another\n")
    notes = shell.room.bucket / "notes"
    before, settings = len(list(notes.iterdir())), (shell.folder / "strongroom.toml").read_text()
    (shell.folder / "strongroom.toml").write_text(f'keys = "{shell.room.keys}"\npassphrase_file = "passphrase"\n')
    kept = shell.run("policy", "--set", "new.toml", *KIT)
    assert kept.code == 0, kept.err
    assert "no bucket is named" in kept.err
    assert len(list(notes.iterdir())) == before
    (shell.folder / "strongroom.toml").write_text(settings)
    kept = shell.run("policy", "--set", "new.toml", *KIT)
    assert (kept.code, "no bucket" in kept.err) == (0, False)
    assert len(list(notes.iterdir())) > before
    missing = shell.run("policy", "--set", "new.toml", *KIT, "--room", "elsewhere", "--passphrase-file", "nowhere")
    assert (missing.code, "there is no room at elsewhere" in missing.err) == (5, True)


def test_wrong_ways_to_a_served_keymaster(serving, monkeypatch):
    """No credential, somebody else's folder, one that others may read, nobody there, a verb for the folder: clear errors."""
    shell, process, url, room_id = serving
    settings(shell, url, "none.credential")
    assert shell.run("check", *KIT).code == 5
    (shell.folder / "strongroom.toml").write_text(f'room = "{shell.room.bucket}"\nkeys = "{url}"\n')
    missing = shell.run("check", *KIT)
    assert missing.code == 2
    assert "STRONGROOM_CREDENTIAL" in missing.err
    shell.run("actor", "key", "kit", "--room-id", room_id, "--out", "kit.credential")
    monkeypatch.setenv("STRONGROOM_CREDENTIAL", str(shell.folder / "kit.credential"))
    stranger = shell.run("check", *KIT)
    assert stranger.code == 3
    assert "not signed in" in stranger.err
    (shell.folder / "kit.credential").chmod(0o644)
    assert "chmod 600" in shell.run("check", *KIT).err
    (shell.folder / "kit.credential").chmod(0o600)
    assert shell.run("key", "slots", *KIT).code == 2
    assert shell.run("actor", "key", "kit", "--room-id", "xyz", "--out", "x.credential").code == 2
    assert shell.run("actor", "key", "kit", "--room-id", room_id, "--out", "kit.credential").code == 7
    assert shell.run("actor", "add", "kit", *KIT).code == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    gone = shell.run("check", *KIT)
    assert gone.code == 6
    assert "does not answer" in gone.err


def test_a_server_that_cannot_listen_says_why(shell, tmp_path):
    """An address that needs a certificate, a certificate that is none, a port that is taken."""
    assert "only loopback" in shell.run("keymaster", "serve", "--listen", "0.0.0.0:8446").err
    assert "address and a port" in shell.run("keymaster", "serve", "--listen", "home").err
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    words = ("--certificate", str(wrong), "--key", str(wrong))
    result = shell.run("keymaster", "serve", "--listen", "127.0.0.1:0", *words)
    assert result.code == 2
    assert "cannot be used" in result.err
    first = shell.start("keymaster", "serve", "--listen", "127.0.0.1:0")
    port = first_line(first).rpartition(":")[2]
    second = ended(shell.start("keymaster", "serve", "--listen", f"127.0.0.1:{port}"))
    assert second.code == 6
    assert "in use" in second.err
    os.kill(first.pid, signal.SIGINT)
    assert ended(first).code in {0, 130}


def test_a_room_comes_home_and_is_mended_with_a_served_keymaster(serving):
    """copy, restore and check --repair ask the server as they ask a folder."""
    shell, _, url, _ = serving
    assert shell.run("actor", "add", "kit", "--out", "kit.credential", *KIT).code == 0
    settings(shell, url, "kit.credential")
    assert shell.run("copy", "--to", "copy", *KIT).code == 0
    home = shell.run("restore", "--from", "copy", *KIT, "--room", "home")
    assert home.code == 0, home.err
    victim = next(path for path in (shell.folder / "home").rglob("*") if path.is_file() and path.stat().st_size > 4000)
    victim.write_bytes(victim.read_bytes()[:-1])
    assert shell.run("check", *KIT, "--room", "home").code == 4
    assert shell.run("check", "--repair", "--from", "copy", *KIT, "--room", "home").code == 0


def counter_of(keys, name):
    with contextlib.closing(sqlite3.connect(keys / "keymaster.db")) as rows:
        return rows.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()[0]


def until(check, seconds=30.0):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_freeze_from_another_process_is_told_by_the_server(shell, tmp_path):
    """`--notify` with a command: a freeze on the folder reaches it; what is no target is said at the start."""
    script = tmp_path / "page.sh"
    script.write_text(f"#!/bin/sh\ncat >> {tmp_path}/got\n")
    script.chmod(0o700)
    process = shell.start("keymaster", "serve", "--listen", "127.0.0.1:0", "--notify", str(script))
    first_line(process)
    # what was noted before the first start is not told
    until(lambda: counter_of(shell.room.keys, "told") >= 0)
    assert shell.run("freeze", "actor", "mei", "--reason", "laptop", *KIT).code == 0
    until(lambda: (tmp_path / "got").exists() and (tmp_path / "got").read_text().endswith("\n"))
    process.send_signal(signal.SIGTERM)
    assert ended(process).code == 0
    told = json.loads((tmp_path / "got").read_text())
    assert (told["event"], told["actor"], told["about"]) == ("freeze", "kit", {"kind": "actor", "name": "mei"})
    for words in (("--notify", "http://alerts.example/"), ("--notify-key", "none"), ("--notify", "no-such-program")):
        assert shell.run("keymaster", "serve", "--listen", "127.0.0.1:0", *words).code == 2
