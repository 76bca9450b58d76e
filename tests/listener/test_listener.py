"""The listener: what comes over a connection in whatever pieces, whole, late, wrong or too long."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom import turns
from strongroom.errors import UnavailableError
from strongroom.listener import connection, poller, server
from strongroom.listener.address import Listen
from strongroom.listener.message import Reply, Take
from strongroom.listener.server import Listener
from strongroom.loop import elsewhere

MOST = 100_000
LATE = ("/slow", "/gone")


class Echo:
    """Answers with method, path and body; `/later` from another thread, `/raise` not at all, `/no` before the body.

    A body has a minute to come, and a second after a path of LATE: for who is to wait until it is over.
    """

    def __init__(self):
        self.ended = 0
        self.closed = False
        self.later = threading.Event()

    def begin(self, request):
        if request.path == "/no" or not 0 <= request.size <= MOST:
            return Reply(401, b"no", close=True)
        seconds = 1.0 if request.path in LATE else 60.0
        return Take(seconds, lambda body: self._then(request, body), lambda: Reply(408, b"late"), self._ended)

    def _then(self, request, body):
        if request.path == "/raise":
            raise RuntimeError("a defect")
        reply = Reply(200, f"{request.method} {request.path} ".encode() + body)
        if request.path != "/later":
            return reply
        found = Future()
        threading.Timer(0.05, found.set_result, (reply,)).start()
        self.later.set()
        return found

    def _ended(self):
        self.ended += 1

    def close(self):
        self.closed = True


@contextmanager
def listening(app=None, *, looped=False):
    app = app or Echo()
    own = Listener(app, Listen("127.0.0.1", 0), 4, looped=looped)
    thread = threading.Thread(target=own.run)
    thread.start()
    try:
        yield own, app
    finally:
        own.stop()
        thread.join()
    assert app.closed


@pytest.fixture(scope="module", params=["threads", "loop"])
def echo(request):
    with listening(looped=request.param == "loop") as (own, _):
        yield own


@pytest.fixture(params=["epoll", "selector", "loop", "loop without epoll"])
def either(request, monkeypatch):
    """A listener by epoll, one as on systems that have none, and the same asked to answer in a loop."""
    if request.param in {"selector", "loop without epoll"}:
        monkeypatch.setattr(server, "new_poller", poller.SelectorPoller)
    with listening(looped="loop" in request.param) as found:
        yield found


def dial(own):
    return socket.create_connection(("127.0.0.1", own.port), timeout=10)


def request(path, body=b"", *more, method="POST"):
    head = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def answer(one):
    """Status and body of the next answer."""
    with one.makefile("rb", buffering=0) as file:
        status = int(file.readline().split()[1])
        size = 0
        while (line := file.readline()) not in {b"\r\n", b""}:
            name, _, value = line.partition(b":")
            size = int(value) if name.lower() == b"content-length" else size
        body = b""
        while len(body) < size and (more := file.read(size - len(body))):
            body += more
    return status, body


def test_one_connection_carries_many_requests(either):
    """Small and large bodies, one after the other, an answer each; and one that comes later from another thread."""
    own, app = either
    with dial(own) as one:
        for size in (0, 1, 70_000, 100_000, 3):
            one.sendall(request("/a", b"x" * size))
            assert answer(one) == (200, b"POST /a " + b"x" * size)
        one.sendall(request("/later", b"z"))
        assert answer(one) == (200, b"POST /later z")
        one.sendall(request("/b"))
        assert answer(one) == (200, b"POST /b ")
    assert app.ended == 7


def test_many_connections_at_once(either):
    """Sixty connections on four threads: each gets its own answers."""
    own, _ = either
    wrong = []

    def talk(number):
        with dial(own) as one:
            for turn in range(20):
                one.sendall(request(f"/{number}", str(turn).encode()))
                if answer(one) != (200, f"POST /{number} {turn}".encode()):
                    wrong.append(number)

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_requests_sent_ahead_are_answered_in_order(echo):
    """Three requests in one piece: three answers, also where the first is late to be made."""
    with dial(echo) as one:
        one.sendall(request("/later", b"1") + request("/b", b"2") + request("/c", b"3"))
        assert [answer(one)[1] for _ in range(3)] == [b"POST /later 1", b"POST /b 2", b"POST /c 3"]


@given(cuts=st.lists(st.integers(1, 400), max_size=6), size=st.integers(0, 300))
def test_in_whatever_pieces_a_request_comes_it_is_the_same(echo, cuts, size):
    """Cut anywhere, headers too."""
    data = request("/cut", b"y" * size, "X-More: 1")
    with dial(echo) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = 0
        for cut in cuts:
            one.sendall(data[start : start + cut])
            start += cut
        one.sendall(data[start:])
        assert answer(one) == (200, b"POST /cut " + b"y" * size)


@given(data=st.binary(min_size=1, max_size=300))
def test_whatever_is_sent_the_listener_goes_on(echo, data):
    """Bytes that are no HTTP: an error or the end for their sender, an answer for the next."""
    with dial(echo) as one:
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        rest = b""
        while more := one.recv(4096):
            rest += more
        assert rest == b"" or rest.startswith(b"HTTP/1.1 ")
    with dial(echo) as one:
        one.sendall(request("/after"))
        assert answer(one)[0] == 200


def test_who_is_refused_before_the_body_gets_the_answer(echo):
    """The body is under way and nobody reads it: the answer arrives, and then the end."""
    with dial(echo) as one:
        one.sendall(request("/no", b"x" * 50_000)[:20_000])
        assert answer(one) == (401, b"no")
        assert one.recv(10) == b""


def test_a_body_that_stays_away_is_told_and_counted(echo):
    """Its time is the application's to give; what was held for it is given back."""
    with listening() as (own, app), dial(own) as one:
        one.sendall(request("/slow", b"x" * 100)[:-50])
        assert answer(one) == (408, b"late")
        assert one.recv(10) == b""
        assert app.ended == 1
        with dial(own) as gone:
            gone.sendall(request("/gone", b"x" * 100)[:-50])
        end = time.monotonic() + 20
        while app.ended < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert app.ended == 2


def test_a_defect_of_an_application_ends_one_request_only(echo):
    """It is answered with 500, and nothing of the defect; the thread lives on."""
    for _ in range(6):
        with dial(echo) as one:
            one.sendall(request("/raise"))
            status, body = answer(one)
            assert (status, body) == (500, b"")


def test_headers_without_end_and_greetings_that_do_not_come(monkeypatch):
    """Too many bytes of headers, and none at all: the end, in time."""
    with listening() as (own, _):
        monkeypatch.setattr(connection, "HEADER_SECONDS", 60.0)
        with dial(own) as one:
            one.sendall(b"POST / HTTP/1.1\r\n")
            end = time.monotonic() + 20
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                while time.monotonic() < end:
                    one.sendall(b"X-A: " + b"a" * 10_000 + b"\r\n")
                    time.sleep(0.005)
        monkeypatch.setattr(connection, "HEADER_SECONDS", 0.5)
        with dial(own) as one:
            assert one.recv(10) == b""


def test_old_and_odd_forms_of_http(echo):
    """HEAD has no body, HTTP/1.0 ends, 100-continue is said, an upgrade is not done."""
    with dial(echo) as one:
        one.sendall(request("/h", method="HEAD") + request("/after"))
        with one.makefile("rb") as file:
            assert file.readline().split()[1] == b"200"
            while file.readline() != b"\r\n":
                pass
            assert file.readline().startswith(b"HTTP/1.1 200")
    with dial(echo) as one:
        one.sendall(b"POST /old HTTP/1.0\r\nContent-Length: 1\r\n\r\nx")
        assert answer(one) == (200, b"POST /old x")
        assert one.recv(10) == b""
    with dial(echo) as one:
        head, body = request("/wait", b"abc", "Expect: 100-continue").split(b"\r\n\r\n")
        one.sendall(head + b"\r\n\r\n")
        assert one.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(body)
        assert answer(one) == (200, b"POST /wait abc")
    with dial(echo) as one:
        one.sendall(request("/up", b"", "Connection: Upgrade", "Upgrade: h2c"))
        assert answer(one)[0] == 200


def test_what_is_under_way_is_answered_at_the_end():
    """Told to stop while an answer is being made: it is sent, and nobody new is let in."""
    with listening() as (own, app):
        one = dial(own)
        one.sendall(request("/later", b"q"))
        assert app.later.wait(20)
        own.stop()
        assert answer(one) == (200, b"POST /later q")
        one.close()
    with pytest.raises(ConnectionRefusedError):
        dial(own)


def test_what_goes_wrong_at_one_connection_is_no_end_of_a_loop(monkeypatch):
    """The system watches no more sockets: that one is closed, and the next is answered."""
    with listening(looped=True) as (own, _):
        while not own.started:
            time.sleep(0.001)
        real = own._poller.add

        def full(fd):
            monkeypatch.setattr(own._poller, "add", real)
            raise OSError(28, "no more")

        monkeypatch.setattr(own._poller, "add", full)
        with dial(own) as one:
            assert one.recv(10) == b""
        with dial(own) as one:
            one.sendall(request("/x", b"q"))
            assert answer(one) == (200, b"POST /x q")


def test_a_loop_that_has_ended_ends_the_listener(monkeypatch):
    """Whatever ended it: nobody would be answered any more, and whoever watches starts it again."""
    own = Listener(Echo(), Listen("127.0.0.1", 0), 4, looped=True)
    monkeypatch.setattr(own._loop, "run", lambda *_: None)
    with pytest.raises(UnavailableError, match="answers nobody"):
        own.run()


def test_more_at_once_than_go_on_beside_each_other_are_answered_all(monkeypatch):
    """Two works at most: ten connections at once have an answer each."""
    monkeypatch.setattr(server, "WORKS_MOST", 2)

    class Slow(Echo):
        def _then(self, request, body):
            elsewhere(lambda: time.sleep(0.02))
            return super()._then(request, body)

    with listening(Slow(), looped=True) as (own, _):
        every = [dial(own) for _ in range(10)]
        for number, one in enumerate(every):
            one.sendall(request(f"/{number}", b"q"))
        for number, one in enumerate(every):
            assert answer(one) == (200, b"POST /%d q" % number)
            one.close()


class Parts(Echo):
    """Answers in parts, and says whether who answers had a turn."""

    def _then(self, request, body):
        had = turns._TURNS.give_up()
        return Reply(200, b"turn " if had else b"none ", parts=(memoryview(body), b"", b"." * int(request.path[1:])))


@pytest.mark.parametrize("size", [0, 5, 70_000])
@pytest.mark.parametrize("more", [0, 90_000])
def test_a_reply_in_parts_is_one(size, more):
    """Whatever their sizes; a HEAD is told how long it would be."""
    with listening(Parts()) as (own, _), dial(own) as one:
        for _ in range(2):
            one.sendall(request(f"/{more}", b"x" * size))
            status, body = answer(one)
            assert (status, body[5:]) == (200, b"x" * size + b"." * more)
        one.sendall(request(f"/{more}", b"x" * size, method="HEAD"))
        head = one.recv(1000)
        assert b"content-length: %d\r\n" % (5 + size + more) in head
        assert head.endswith(b"\r\n\r\n")


def test_a_large_request_is_worked_on_without_a_turn():
    """Small ones have theirs meanwhile; the one after it on its connection has one again."""
    with listening(Parts()) as (own, _), dial(own) as one:
        for size, turn in ((10, b"turn"), (70_000, b"none"), (10, b"turn")):
            one.sendall(request("/0", b"x" * size))
            assert answer(one)[1][:4] == turn


STOPPED = """
import random, signal, sys
from strongroom.listener import server
from strongroom.listener.address import Listen

server.TICK_SECONDS = 0.00002
listener = server.Listener(None, Listen("127.0.0.1", 0), threads=1)
signal.signal(signal.SIGALRM, lambda *_: listener.stop())
chance = random.Random(5)
for _ in range(int(sys.argv[1])):
    signal.setitimer(signal.ITIMER_REAL, 0.00002 + chance.random() * 0.0001)
    while not listener._is_told():
        pass
"""


def test_a_signal_ends_it_whatever_its_thread_is_within():
    """A signal comes at any moment of the wait for it, ten thousand times: none is lost, and none waits for its own lock."""
    subprocess.run([sys.executable, "-c", STOPPED, "10000"], timeout=120, check=True)
