"""A keymaster behind its server: TLS, credentials and their limits, several rooms of callers, and servers that come back."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from served_room import Served
from small_room import PASSPHRASE, SmallRoom, fill, person, persons
from tls_kit import certificate

import strongroom
from strongroom.errors import (
    ConflictError,
    DeniedError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from strongroom.identity.credential import Credential, new_credential
from strongroom.keymaster.wanted import Wanted
from strongroom.keyserver import service
from strongroom.keyserver.asking import Asking, check_url
from strongroom.keyserver.calls import VERSION
from strongroom.keyserver.serving import Server
from strongroom.listener.address import Listen, parse_listen


@pytest.fixture
def served(room):
    with Served(room.keymaster()) as made:
        yield made


def read_one(room, keys, number=7):
    with (
        strongroom.open(str(room.bucket), keys=keys, actor=keys.actor) as opened,
        opened.read(purpose="case-work", reason="case 1") as desk,
    ):
        return dict(desk.get("persons", f"P-{number:06d}"))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate for 127.0.0.1 that vouches for itself, its key, and one that has expired."""
    folder = tmp_path_factory.mktemp("certificates")
    certificate(folder, "good")
    certificate(folder, "expired", -10, -1)
    return folder


def test_over_tls_with_a_certificate_that_holds(room, certificates, monkeypatch):
    """TLS 1.3 with the named authorities; without them, or when the certificate has expired, nothing is said."""
    good = Listen("127.0.0.1", 0, certificates / "good.pem", certificates / "good.key")
    with Served(room.keymaster(), good, certificates / "good.pem") as served:
        own = served.credential("ada")
        with served.connect(own) as keys:
            assert read_one(room, keys) == person(7)
        with pytest.raises(UnavailableError, match="certificate"):
            strongroom.connect(served.url, credential=own)
    old = Listen("127.0.0.1", 0, certificates / "expired.pem", certificates / "expired.key")
    with room.keymaster() as keymaster, pytest.raises(UsageError, match="has expired"):
        Server(keymaster, old)
    monkeypatch.setattr("strongroom.listener.certificate.refuse_expired", lambda *_: None)  # one that expires while it is served
    with Served(room.keymaster(), old, certificates / "expired.pem") as served:
        with pytest.raises(UnavailableError, match="certificate has expired"):
            served.connect(served.credential("ada"))


def test_where_a_server_listens(certificates):
    """Loopback by itself; anything else with a certificate and its key only."""
    pem, key = certificates / "good.pem", certificates / "good.key"
    assert parse_listen("127.0.0.1:8446") == Listen("127.0.0.1", 8446)
    assert parse_listen("[::1]:1").host == "::1"
    assert parse_listen("0.0.0.0:8446", pem, key).certificate == pem
    for text in ("0.0.0.0:8446", "[::]:8446", "10.0.0.1:1", "8.8.8.8:443"):
        with pytest.raises(UsageError, match="only loopback"):
            parse_listen(text)
    for text in ("", ":8446", "localhost:1", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "127.0.0.1:-1"):
        with pytest.raises(UsageError, match="address and a port"):
            parse_listen(text)
    for files in ((pem, None), (None, key)):
        with pytest.raises(UsageError, match="go together"):
            parse_listen("127.0.0.1:1", *files)
    with pytest.raises(UsageError, match="there is no file"):
        parse_listen("127.0.0.1:1", pem, certificates / "none.key")
    with pytest.raises(UsageError, match="cannot be used"):
        Server(SimpleNamespace(credentials=None, room_id=b"r" * 16), Listen("127.0.0.1", 0, key, pem))


def test_urls_of_a_keymaster():
    """https, or http to this machine; no path, no password."""
    assert check_url("https://keys.example:8443/") == "https://keys.example:8443"
    assert check_url("http://127.0.0.1:1") == "http://127.0.0.1:1"
    for wrong in ("http://keys.example", "ftp://x", "https://", "https://a:b@keys.example", "https://keys.example/x", "keys"):
        with pytest.raises(UsageError):
            check_url(wrong)


def test_who_is_let_in_and_who_is_not(room, served):
    """A key the keymaster does not know, another room's, another actor's name: refused, with nothing to learn from it."""
    own = served.credential("ada")
    with served.connect(own) as keys:
        assert read_one(room, keys) == person(7)
        with pytest.raises(UsageError, match="credential is ada's"):
            strongroom.open(str(room.bucket), keys=keys, actor="kit").put("persons", persons(1, 900))
    with pytest.raises(DeniedError, match="not signed in"):
        served.connect(new_credential(served.room_id, "ada"))
    with pytest.raises(NotFoundError, match="another room"):
        served.connect(Credential(b"x" * 16, "ada", own.seed))
    with pytest.raises(IntegrityError, match="another room"):
        served.connect(Credential(own.room, "kit", own.seed))


def test_revoking_holds_at_once_and_is_in_the_log(room, served):
    """The next call of a revoked credential is refused, readings that are open too; a second revoking is a conflict."""
    own = served.credential("ada")
    with served.connect(own) as keys, strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
        desk = opened.read(purpose="case-work", reason="case 1")
        assert dict(desk.get("persons", "P-000007")) == person(7)
        with served.of("kit") as kit:
            kit.credentials.revoke("kit", own.id)
            with pytest.raises(ConflictError):
                kit.credentials.revoke("kit", own.id)
            with pytest.raises(NotFoundError):
                kit.credentials.revoke("kit", "0" * 32)
        with pytest.raises(DeniedError, match="revoked"):
            desk.get("persons", "P-000008")
    said = [e for e in served.log_entries("kit") if e["act"] == "actors"]
    assert [(e["extras"]["change"], e["extras"]["of"]) for e in said][-1] == ("revoke", "ada")
    with pytest.raises(ConflictError, match="is or was a credential"):
        served.credentials.add("kit", Wanted("ada", own.public_key, 1))


def test_limits_of_a_credential(room, served):
    """Purposes, networks and an end; who may not `actors` makes none; wrong limits are refused."""
    narrow = served.credential("mei", purposes=["delivery"], server=True)
    with served.connect(narrow) as keys, strongroom.open(str(room.bucket), keys=keys, actor="mei") as opened:
        opened.read(purpose="delivery", reason="r")
        with pytest.raises(DeniedError, match="not for this purpose"):
            opened.read(purpose="case-work", reason="r")
    with pytest.raises(DeniedError, match="networks"):
        served.connect(served.credential("ada", networks=["10.0.0.0/8", "192.168.1.7"]))
    with served.connect(served.credential("ada", networks=["127.0.0.0/8"])) as keys:
        assert read_one(room, keys) == person(7)
    short = served.credential("ada", days=1 / 86400)
    time.sleep(1.1)
    with pytest.raises(DeniedError, match="expired"):
        served.connect(short)
    with pytest.raises(DeniedError):
        served.credential("ada", by="ada")
    for wrong in ({"networks": ["10.0.0.1/8"]}, {"networks": ["home"]}, {"purposes": ["none"]}, {"days": 0}):
        with pytest.raises(UsageError):
            served.credential("ada", **wrong)
    with pytest.raises(UsageError, match="no actor"):
        served.credential("nobody")


def test_a_server_that_was_started_again_is_asked_anew(room):
    """Its clients sign for the new process by themselves; a reading of before is gone, and says so."""
    first = Served(room.keymaster())
    own = first.credential("ada")
    keys = first.connect(own)
    opened = strongroom.open(str(room.bucket), keys=keys, actor="ada")
    desk = opened.read(purpose="case-work", reason="case 1")
    assert dict(desk.get("persons", "P-000007")) == person(7)
    port = first._server.port
    first._server.stop()
    first._thread.join()
    with pytest.raises(UnavailableError, match="does not answer"):
        desk.get("persons", "P-000008")
    second = Served(first.keymaster, Listen("127.0.0.1", port))
    try:
        assert keys.head().number == second.head().number
        assert read_one(room, keys) == person(7)
    finally:
        keys.close()
        second.close()


SERVE = """
import sys, threading
import strongroom
from strongroom.listener.address import Listen
from strongroom.keyserver.serving import Server
keys = strongroom.open_keymaster(sys.argv[1], passphrase=sys.argv[2])
server = Server(keys, Listen("127.0.0.1", int(sys.argv[3])))
def told():
    while not server.started:
        pass
    print(server.port, flush=True)
threading.Thread(target=told, daemon=True).start()
server.run()
"""


def test_killed_in_the_middle_nothing_that_was_answered_is_lost(room, tmp_path):
    """Kill -9 while records are read: every read that was answered is spent and in the log when it is back."""
    with room.keymaster() as keys:
        own = new_credential(keys.room_id, "ada")
        keys.credentials.add("kit", Wanted("ada", own.public_key, 1))
        before = len([e for e in keys.log_entries("kit") if e["act"] == "get"])

    def started(port):
        child = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(room.keys), PASSPHRASE, str(port)], stdout=subprocess.PIPE
        )
        return child, int(child.stdout.readline())

    child, port = started(0)
    answered = 0
    with strongroom.connect(f"http://127.0.0.1:{port}", credential=own) as keys:
        with strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
            desk = opened.read(purpose="case-work", reason="r")
            for n in range(12):
                assert dict(desk.get("persons", f"P-{n:06d}")) == person(n)
                answered += 1
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            with pytest.raises(UnavailableError):
                desk.get("persons", "P-000012")
        child.stdout.close()
        child, _ = started(port)
        assert read_one(room, keys) == person(7)
    child.terminate()
    assert child.wait(20) == 0
    child.stdout.close()
    with room.keymaster() as keys:
        said = [e for e in keys.log_entries("kit") if e["act"] == "get" and e["decision"] == "allowed"]
        assert len(said) - before == answered + 1
        assert keys.verify_log()["entries"] > len(said)


def test_an_error_is_raised_as_if_it_had_happened_here(room, served):
    """Kinds, rules, hints and what is left of a budget come over whole."""
    with served.of("mei") as keys, strongroom.open(str(room.bucket), keys=keys, actor="mei") as opened:
        with pytest.raises(DeniedError) as denied:
            opened.read(purpose="no-such-purpose", reason="r")
        assert denied.value.rule
        with pytest.raises(strongroom.BudgetError) as spent:
            with opened.read(purpose="delivery", reason="r") as desk:
                for n in range(300):
                    desk.get("persons", f"P-{n:06d}")
        assert spent.value.resets_at is not None
    with pytest.raises(NotFoundError):
        served.of("ada").head_at(99)


def test_a_keymaster_of_another_version_or_room_is_told(room, served, tmp_path, monkeypatch):
    """A server that speaks another version; one that keeps another room than the bucket's: nothing is read or written."""
    own = served.credential("kit", server=True)
    with monkeypatch.context() as patch:
        patch.setattr(service, "VERSION", VERSION + 1)
        with pytest.raises(IntegrityError, match=f"speaks version {VERSION + 1}, and this is version {VERSION}"):
            served.connect(own)
    other = SmallRoom(tmp_path / "other")
    other.create()
    fill(other)
    names = sorted(path.name for path in other.bucket.rglob("*"))
    with served.connect(own) as keys, pytest.raises(IntegrityError, match="of another room than the bucket"):
        with strongroom.open(str(other.bucket), keys=keys, actor="kit") as opened:
            opened.put("persons", persons(1, 900))
    assert sorted(path.name for path in other.bucket.rglob("*")) == names


def test_a_message_that_no_call_takes_is_told_as_such(served):
    """A newer or a foreign client gets an error of this library, and the server goes on."""
    own = served.credential("ada")
    asking = Asking(served.url, own, None, time.time, os.urandom)
    asking.greet()
    for name, body, status in (("head", b"\xc1", 400), ("no-such-call", b"\x80", 404), ("head", b"", 400)):
        found, _ = asking._post(f"{asking._instance}/{name}", body)
        assert found == status
    assert asking.ask("head").number > 0
    asking.close()


def test_answers_are_sent_at_once(served):
    """No answer waits for more to come (TCP_NODELAY): with it each call would take forty milliseconds longer."""
    import socket

    with served.connect(served.credential("ada")) as keys:
        keys.head()
        connections = list(served._server._connections.values())
        assert connections
        for one in connections:
            assert one.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_connections_that_went_stale_are_not_taken_for_a_keymaster_that_is_down(served):
    """Several kept connections that the other side has closed: the next call dials."""
    with served.connect(served.credential("ada")) as keys:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: keys.head(), range(16)))
        idle = keys.asking._wire._idle
        assert idle
        while len(idle) < 3:
            idle.append(keys.asking._wire._dialled())
        for one in idle:
            one._socket.shutdown(socket.SHUT_RDWR)
        assert keys.head().number > 0
