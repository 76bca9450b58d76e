"""Replies whose body is made while it is sent: whole in whatever pieces, cut where it is cut, and never far ahead of who reads."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import UnavailableError
from strongroom.listener import poller, server, stream
from strongroom.listener.address import Listen
from strongroom.listener.message import Reply, Take
from strongroom.listener.server import Listener
from strongroom.listener.stream import Stream


class Streams:
    """Answers `/stream` with what `writes` writes to it, in a thread of its own; anything else with its path."""

    def __init__(self, writes):
        self.writes = writes
        self.errors = []
        self.threads = []

    def begin(self, request):
        return Take(5.0, lambda _body: self._then(request), lambda: Reply(408))

    def _then(self, request):
        if request.path != "/stream":
            return Reply(200, request.path.encode())
        made = Stream((b"x-end",))
        thread = threading.Thread(target=self._run, args=(made,), daemon=True)
        self.threads.append(thread)
        thread.start()
        return Reply(200, media=b"text/plain", stream=made)

    def _run(self, made):
        try:
            self.writes(made)
        except UnavailableError as error:
            self.errors.append(error)

    def close(self):
        """Nothing."""


@contextmanager
def listening(app):
    own = Listener(app, Listen("127.0.0.1", 0), 4)
    thread = threading.Thread(target=own.run)
    thread.start()
    end = time.monotonic() + 20
    while not own.started:
        assert time.monotonic() < end
        time.sleep(0.005)
    try:
        yield own
    finally:
        own.stop()
        thread.join(20)
        assert not thread.is_alive()
        for one in app.threads:
            one.join(20)
            assert not one.is_alive()


def asks(connection, path="/stream", method="POST"):
    connection.request(method, path, b"")
    return connection.getresponse()


def dial(own):
    return http.client.HTTPConnection("127.0.0.1", own.port, timeout=30)


@pytest.mark.parametrize("kind", ["epoll", "selector"])
def test_pieces_come_in_order_and_the_connection_goes_on(monkeypatch, kind):
    """Small and large ones, written at once or after a while; then another request on the same connection."""
    if kind == "selector":
        monkeypatch.setattr(server, "new_poller", poller.SelectorPoller)
    pieces = [b"a", b"", b"b" * 100_000, b"c" * (9 << 20), b"d"]

    def writes(made):
        for piece in pieces:
            time.sleep(0.05)
            made.write(piece)
        made.end((b"yes",))

    with listening(Streams(writes)) as own:
        connection = dial(own)
        for _ in range(2):
            answer = asks(connection)
            assert (answer.status, answer.headers["Transfer-Encoding"], answer.headers["Trailer"]) == (200, "chunked", "x-end")
            assert answer.read() == b"".join(pieces)
            assert asks(connection, "/other").read() == b"/other"
        connection.close()


@given(st.lists(st.tuples(st.integers(0, 70_000), st.booleans()), max_size=12))
def test_whatever_is_written_is_what_is_read(sizes):
    """Any pieces, some of them memory that is not bytes."""
    pieces = [bytes([at % 256]) * size for at, (size, _) in enumerate(sizes)]
    made = Stream()
    for piece, (_, view) in zip(pieces, sizes, strict=True):
        made.write(memoryview(piece) if view else piece)
    made.end()
    taken = b""
    while piece := made.take():
        taken += piece
    assert piece is None
    assert made.whole
    left, found = taken, b""
    while True:
        size, _, left = left.partition(b"\r\n")
        count = int(size, 16)
        found += left[:count]
        assert left[count : count + 2] == b"\r\n"
        left = left[count + 2 :]
        if not count:
            break
    assert (found, left) == (b"".join(pieces), b"")


def test_a_body_that_is_cut_has_no_end(monkeypatch):
    """Its reader sees that; who has read all of it does too."""
    def writes(made):
        made.write(b"x" * 1000)
        made.cut()

    with listening(Streams(writes)) as own:
        connection = dial(own)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            asks(connection).read()
        connection.close()


def test_who_reads_nothing_holds_the_writer_up_and_who_goes_away_tells_it():
    """A few MiB are written ahead; the connection's end is an error where the writer waits."""
    written = []

    def writes(made):
        for _ in range(500):
            made.write(b"x" * (1 << 20))
            written.append(1)
        made.end((b"",))

    app = Streams(writes)
    with listening(app) as own:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        raw.connect(("127.0.0.1", own.port))
        raw.sendall(b"POST /stream HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        assert raw.recv(12) == b"HTTP/1.1 200"
        before = -1
        while before != len(written):
            before = len(written)
            time.sleep(0.3)
        assert before < 24
        assert asks(dial(own), "/other").read() == b"/other"
        raw.close()
        app.threads[0].join(20)
        assert len(app.errors) == 1


def test_who_takes_nothing_for_its_time_is_cut_and_a_writer_may_take_as_long_as_it_wants(monkeypatch):
    """The time runs while there is something to take, and not while there is nothing."""
    monkeypatch.setattr(stream, "LEAST_SECONDS", 2.0)

    def slowly(made):
        made.write(b"a")
        time.sleep(3.5)
        made.write(b"b")
        made.end((b"",))

    with listening(Streams(slowly)) as own:
        connection = dial(own)
        assert asks(connection).read() == b"ab"
        connection.close()

    def much(made):
        while True:
            made.write(b"x" * (1 << 20))

    app = Streams(much)
    with listening(app) as own:
        raw = socket.create_connection(("127.0.0.1", own.port))
        raw.sendall(b"POST /stream HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        app_ended = time.monotonic() + 20
        while not app.errors:
            assert time.monotonic() < app_ended
            time.sleep(0.05)
        raw.close()


def test_a_head_alone_has_no_body_and_ends_the_writer():
    """HEAD: nothing is sent, and whoever writes is told."""
    def writes(made):
        while True:
            made.write(b"x" * 1000)

    app = Streams(writes)
    with listening(app) as own:
        connection = dial(own)
        assert asks(connection, method="HEAD").read() == b""
        app.threads[0].join(20)
        assert len(app.errors) == 1
        connection.close()
