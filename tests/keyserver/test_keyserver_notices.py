"""Notices: what is told, to whom, signed, again when it fails, and never in the way of an answer."""

import http.server
import json
import os
import threading
import time
from pathlib import Path

import pytest
from served_room import Served
from small_room import PASSPHRASE, POLICY

import strongroom
from strongroom.errors import BudgetError, ConflictError, UsageError
from strongroom.identity.credential import new_credential
from strongroom.identity.signing import read_signature
from strongroom.keymaster.notices import OLDEST_MS, REFUSALS_TOLD
from strongroom.keyserver import notifying
from strongroom.keyserver.notifying import Command, Notifier, Webhook, target_of

WAITS = POLICY.replace("[purposes.case-work]", '[purposes.case-work]\napproval = { roles = ["clerk"], over = 200 }')


class Kept:
    """A target that keeps what it gets, after so many failures."""

    def __init__(self, failures=0):
        self.failures = failures
        self.got = []

    def send(self, body):
        if self.failures:
            self.failures -= 1
            return "down"
        self.got.append(json.loads(body))
        return None


class Receiver:
    """A web server that keeps requests, and answers with a status."""

    def __init__(self, status=204):
        got = self.got = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_words):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(notifying, "FOLLOW_SECONDS", 0.02)
    monkeypatch.setattr(notifying, "WAITS_SECONDS", (0.01, 0.01, 0.01))
    monkeypatch.setattr(notifying, "OTHER_SECONDS", 0.05)


def until(check, seconds=20.0):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)


def waiting(keymaster):
    keymaster.set_policy("kit", WAITS)
    return keymaster.approvals.ask_read("ada", "case-work", 7, "the very secret case")


def test_what_is_told(room, either_keymaster):
    """From the first start on, in order: what waits, a freeze; no reason, no person. What went before is not told."""
    with room.keymaster() as keymaster:
        keymaster.freezing.freeze("kit", "purpose", "delivery", "before")
        keymaster.notices.begin()
        asked = waiting(keymaster)
        keymaster.freezing.freeze("kit", "actor", "mei", "the very secret case")
        first, second = keymaster.notices.next()
        assert first.to_dict(keymaster.room_id) == {
            "strongroom": "notice", "version": 1, "room": keymaster.room_id.hex(), "event": "waiting",
            "leaf": first.leaf, "time": first.time, "actor": "ada", "purpose": "case-work",
            "about": {"approval": asked.id, "for": "read", "persons": 7},
        }  # fmt: skip
        assert (second.event, second.about) == ("freeze", {"kind": "actor", "name": "mei"})
        assert "secret" not in repr((first, second))
        assert list(keymaster.notices.next()) == []


def test_what_was_not_told_is_told_after_a_restart_and_old_things_are_not(room):
    """The counter is in the database; a day later it is too late."""
    with room.keymaster() as keymaster:
        keymaster.notices.begin()
        waiting(keymaster)
    with room.keymaster() as keymaster:
        (told,) = keymaster.notices.next()
    with room.keymaster() as keymaster:
        assert list(keymaster.notices.next()) == [told]
        keymaster.notices.told(told.leaf + 1)
    with room.keymaster() as keymaster:
        assert list(keymaster.notices.next()) == []
        keymaster.freezing.freeze("kit", "actor", "mei", "r")
        clock = keymaster._core.clock
        keymaster._core.clock = keymaster._core.journal._clock = lambda: clock() + OLDEST_MS / 1000 + 1
        assert list(keymaster.notices.next()) == []


def test_many_refusals_by_a_budget_are_told_once(room):
    """The tenth of an actor within an hour; further ones of that hour are not."""
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="mei") as opened:
        keymaster.notices.begin()
        with opened.read(purpose="delivery", reason="r") as desk:
            refused, number = 0, 0
            while refused < REFUSALS_TOLD + 3:
                try:
                    desk.get("persons", f"P-{number % 290:06d}")
                except BudgetError:
                    refused += 1
                number += 1
        (told,) = keymaster.notices.next()
        assert (told.event, told.actor, told.purpose) == ("budget", "mei", "delivery")
        assert told.about["refusals"] == REFUSALS_TOLD
        assert "/mei/" in told.about["rule"]


def test_an_address_gets_it_signed(room, receiver):
    """By the key given, over path and body; told again after failures, in order, each once delivered."""
    with room.keymaster() as keymaster:
        keymaster.notices.begin()
        key = new_credential(keymaster.room_id, "alerts")
        notifier = Notifier(keymaster.notices, keymaster.room_id, Webhook(receiver.url, key))
        notifier.start()
        waiting(keymaster)
        keymaster.freezing.freeze("kit", "actor", "mei", "r")
        until(lambda: len(receiver.got) == 2)
        notifier.stop()
    for path, headers, body in receiver.got:
        signed = read_signature("POST", path, headers)
        signed.verify(key.public_key)
        signed.check_body(body)
        assert signed.key_id == key.id
        assert headers["content-type"] == "application/json"
    assert [json.loads(body)["event"] for _, _, body in receiver.got] == ["waiting", "freeze"]


def test_what_fails_is_tried_again_then_passed_over_and_said(room, caplog):
    """Three failures are mended by the fourth try; four are not, and the next notice is told all the same."""
    with room.keymaster() as keymaster:
        keymaster.notices.begin()
        target = Kept(failures=3)
        notifier = Notifier(keymaster.notices, keymaster.room_id, target)
        notifier.start()
        keymaster.freezing.freeze("kit", "actor", "mei", "r")
        until(lambda: len(target.got) == 1)
        target.failures = 4
        keymaster.freezing.freeze("kit", "purpose", "delivery", "r")
        until(lambda: "was not delivered: down" in caplog.text)
        keymaster.freezing.freeze("kit", "purpose", "case-work", "r")
        until(lambda: len(target.got) == 2)
        notifier.stop()
    assert [one["about"]["name"] for one in target.got] == ["mei", "case-work"]


@pytest.mark.parametrize("status", [301, 404, 500])
def test_an_address_that_answers_otherwise_has_not_got_it(status):
    """A redirect is not followed."""
    receiver = Receiver(status)
    assert Webhook(receiver.url).send(b"{}") == f"status {status}"
    assert len(receiver.got) == 1
    receiver.server.shutdown()
    receiver.server.server_close()
    assert Webhook(receiver.url).send(b"{}") in {"NewConnectionError", "ProtocolError", "MaxRetryError"}


def test_a_command_gets_it_on_its_input_and_nothing_else(tmp_path, monkeypatch):
    """Not the keymaster's environment; its exit code counts; with its children it is ended in time."""
    monkeypatch.setenv("STRONGROOM_CREDENTIAL", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    script = tmp_path / "page.sh"
    script.write_text(f"#!/bin/sh\ncat > {tmp_path}/got\nenv > {tmp_path}/env\n")
    script.chmod(0o700)
    assert Command(str(script)).send(b'{"a": 1}') is None
    assert (tmp_path / "got").read_bytes() == b'{"a": 1}\n'
    assert "secret" not in (tmp_path / "env").read_text()
    assert Command("false").send(b"{}") == "exit code 1"
    monkeypatch.setattr(notifying, "ATTEMPT_SECONDS", 0.3)
    slow = tmp_path / "slow.sh"
    slow.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/child\nwait\n")
    slow.chmod(0o700)
    assert "more than" in Command(str(slow)).send(b"{}")
    child = int((tmp_path / "child").read_text())
    until(lambda: not _runs(child))


def _runs(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_target_that_hangs_stops_no_answer(room):
    """Releases go on while nobody takes the notice; what waits is told when it is taken."""
    gate = threading.Event()

    class Hanging(Kept):
        def send(self, body):
            gate.wait(20)
            return super().send(body)

    with Served(room.keymaster()) as served:
        served.notices.begin()
        target = Hanging()
        notifier = Notifier(served.notices, served.room_id, target)
        notifier.start()
        served.freezing.freeze("kit", "actor", "mei", "r")
        keys = served.of("ada")
        with strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened, opened.read(purpose="case-work", reason="r") as desk:
            for number in range(20):
                desk.get("persons", f"P-{number:06d}")
        assert target.got == []
        gate.set()
        until(lambda: len(target.got) == 1)
        notifier.stop()


def test_one_process_tells(room):
    """Two servers of one keymaster: the second waits until the first has ended, and goes on from there."""
    with room.keymaster() as one, strongroom.open_keymaster(str(room.keys), passphrase=PASSPHRASE) as two:
        with one.notices.alone():
            with pytest.raises(ConflictError), two.notices.alone():
                pass
            target = Kept()
            notifier = Notifier(two.notices, two.room_id, target)
            one.notices.begin()
            notifier.start()
            one.freezing.freeze("kit", "actor", "mei", "r")
            time.sleep(0.2)
            assert target.got == []
        until(lambda: len(target.got) == 1)
        notifier.stop()


@pytest.mark.parametrize(
    "text",
    ["http://alerts.example/x", "https://user:secret@alerts.example/", "https://alerts.example/?token=secret", "https:///x",
     "no-such-program-anywhere", "", "'open"],
)  # fmt: skip
def test_targets_that_are_none(text):
    """Plain http elsewhere, secrets in an address, a program that is not there; the error does not repeat them."""
    with pytest.raises(UsageError) as refused:
        target_of(text)
    assert "secret" not in str(refused.value)


def test_a_key_signs_only_what_goes_to_an_address():
    """A command has no use for it."""
    with pytest.raises(UsageError):
        target_of("true", new_credential(os.urandom(16), "alerts"))
