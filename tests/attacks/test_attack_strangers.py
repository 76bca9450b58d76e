"""Strangers at the three listeners: they say nothing, come in crowds, or make up keys, and cost hardly anything."""

import contextlib
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import attack_kit  # noqa: F401  the folders of the kits below
import pytest
from audit_fixtures import ORIGIN, PUBLIC
from room_api import Api
from served_room import Served
from tls_kit import certificate
from witness_kit import Witness, post

from strongroom.audit.note import verifier_key
from strongroom.listener import connection, server
from strongroom.listener.address import Listen

LISTENERS = ("keymaster", "server", "witness")


@contextlib.contextmanager
def listening(which, room, folder):
    """One of the listeners behind TLS: its port, and a question that it answers somebody who greets."""
    tls = certificate(folder)
    listen = Listen("127.0.0.1", 0, *tls)
    if which == "keymaster":
        with Served(room.keymaster(), listen, tls[0]) as served:
            yield served._server.port, lambda: served.of("ada").head()
    elif which == "server":
        with Api(room, listen, tls[0]) as api:
            yield api.server.port, lambda: api.of("ada").whoami()
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(tls[0]))
            witness = Witness(folder / "w", "north.example/w", verifier_key(ORIGIN, PUBLIC), tls=tls).start()
            yield witness.port, lambda: post(witness.url, b"")
            witness.stop()


def opened(port, count, greeting=b""):
    """Connections to a TLS listener that send the beginning of a greeting, or nothing, and wait."""
    found = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port), timeout=20)
        one.sendall(greeting)
        found.append(one)
    return found


def let_go(connection, seconds):
    """Whether the other side ends a connection within some seconds."""
    connection.settimeout(seconds)
    try:
        while connection.recv(100):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    finally:
        connection.close()
    return True


def is_open(connection):
    """Whether the other side has not ended a connection."""
    connection.setblocking(False)
    try:
        return connection.recv(100) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def hello():
    """The first bytes of a TLS greeting, without the last one."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(into, out, server_hostname="x").do_handshake()
    return out.read()[:-1]


# -- greetings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("which", LISTENERS)
def test_who_does_not_greet_is_let_go(which, room, tmp_path, monkeypatch):
    """A connection that says nothing, or most of a greeting, ends soon; others are answered meanwhile."""
    monkeypatch.setattr(connection, "HEADER_SECONDS", 2.0)
    with listening(which, room, tmp_path) as (port, ask):
        silent = [*opened(port, 50), *opened(port, 5, hello()), *opened(port, 5, b"GET / HTTP/1.1\r\n\r\n")]
        began = time.monotonic()
        ask()
        assert time.monotonic() - began < 5
        assert all(let_go(one, 20.0) for one in silent)


@pytest.mark.parametrize("which", LISTENERS)
def test_control_with_a_minute_to_greet_they_stay(which, room, tmp_path, monkeypatch):
    """Control: with the time that most servers give, the same connection is open still."""
    monkeypatch.setattr(connection, "HEADER_SECONDS", 60.0)
    with listening(which, room, tmp_path) as (port, _ask):
        (silent,) = opened(port, 1)
        assert not let_go(silent, 2.0)


@pytest.mark.parametrize("which", LISTENERS)
def test_who_greets_and_asks_nothing_is_let_go(which, room, tmp_path, monkeypatch):
    """After its greeting a connection has a few seconds to ask, and nobody waits for its farewell."""
    monkeypatch.setattr(connection, "HEADER_SECONDS", 2.0)
    context = ssl._create_unverified_context()
    with listening(which, room, tmp_path) as (port, _ask):
        (one,) = opened(port, 1)
        assert let_go(context.wrap_socket(one), 20.0)


# -- crowds ------------------------------------------------------------------------------------


def crowd(room, folder, monkeypatch, most, count):
    """How many of a crowd that does not greet are held at once by a listener, and whether one who was in is answered."""
    monkeypatch.setattr(server, "CONNECTIONS_MOST", most)
    monkeypatch.setattr(connection, "HEADER_SECONDS", 30.0)
    with listening("keymaster", room, folder) as (port, ask):
        ask()
        silent = opened(port, count)
        end = time.monotonic() + 20
        while sum(map(is_open, silent)) >= most:  # some wait still, to be taken in or sent away
            assert time.monotonic() < end
            time.sleep(0.05)
        began = time.monotonic()
        ask()
        quick = time.monotonic() - began < 5
        held = sum(not let_go(one, 0.02) for one in silent)
        for _ in range(40):  # the crowd has gone: there is place again
            time.sleep(0.2)
            (late,) = opened(port, 1)
            if not let_go(late, 0.1):
                return held, quick
    raise AssertionError("nobody is taken in any more")


def test_those_who_greet_count_as_connections(room, tmp_path, monkeypatch):
    """A crowd holds no more than the limit; who is in stays in, and others are taken in when the crowd has gone."""
    held, quick = crowd(room, tmp_path, monkeypatch, 20, 60)
    assert quick
    assert 10 <= held < 20


def test_control_without_the_limit_all_of_a_crowd_is_held(room, tmp_path, monkeypatch):
    """Control: each of the same crowd holds a file of the keymaster's process."""
    held, quick = crowd(room, tmp_path, monkeypatch, 10_000, 60)
    assert quick
    assert held == 60


def test_a_listener_without_files_goes_on(room, tmp_path, monkeypatch):
    """When the process has no file left, it pauses, and takes connections in when it has."""
    real, broken, refused = socket.socket.accept, threading.Event(), threading.Event()

    def accept(self):
        if broken.is_set():
            refused.set()
            raise OSError(24, "too many open files")
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with listening("witness", room, tmp_path) as (_port, ask), ThreadPoolExecutor(1) as pool:
        broken.set()
        asked = pool.submit(ask)
        assert refused.wait(20)
        with pytest.raises(TimeoutError):
            asked.result(0.5)
        broken.clear()
        assert asked.result(20).status == 400
