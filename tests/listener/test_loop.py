"""The loop: works go on beside each other in one thread, what takes long goes elsewhere, and the end waits for them."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from queue import SimpleQueue

import pytest
from tls_kit import certificate

from strongroom.keyserver import together, wire
from strongroom.keyserver.frames import Unpacker, pack
from strongroom.keyserver.together import COMPANY_LOOPED, TOGETHER, Together
from strongroom.listener.poller import EpollPoller, new_poller
from strongroom.loop import Loop, elsewhere, here, work_here

pytestmark = pytest.mark.skipif(not isinstance(new_poller(), EpollPoller), reason="a loop needs epoll")


class Running:
    """A loop in a thread of its own; `do` has something done in it and gives what came of it."""

    def __init__(self):
        self.poller = EpollPoller()
        self.loop = Loop(self.poller, lambda call: threading.Thread(target=call, daemon=True).start())
        self.wanted = []
        self.woken, self._waker = os.pipe()
        self.ended = False
        self.poller.add(self.woken)
        self.thread = threading.Thread(target=self.loop.run, args=(self._event, lambda: self.ended), daemon=True)
        self.thread.start()

    def _event(self, fd):
        if fd != self.woken:
            return
        os.read(fd, 1)
        self.poller.arm(fd, 1)
        while self.wanted:
            self.loop.spawn(self.wanted.pop(0))

    def start(self, *works):
        """Have works done; for each an event that is set when it is over, and what it gave or raised."""
        given = [(threading.Event(), []) for _ in works]

        def make(work, over, found):
            def done():
                try:
                    found.append(work())
                except Exception as error:  # noqa: BLE001
                    found.append(error)
                over.set()

            return done

        self.wanted += [make(work, *one) for work, one in zip(works, given, strict=True)]
        os.write(self._waker, b"\0")
        return given

    def do(self, *works):
        given = self.start(*works)
        assert all(over.wait(20) for over, _ in given)
        return [found[0] for _, found in given]

    def end(self):
        self.ended = True
        os.write(self._waker, b"\0")
        self.thread.join(20)
        return not self.thread.is_alive()


@pytest.fixture
def running():
    one = Running()
    yield one
    assert one.end()
    one.poller.close()


def test_whoever_waits_lets_the_others_go_on(running):
    """Two works, in one thread: the first waits for bytes that the second sends."""
    near, far = socket.socketpair()
    order = []

    def reader():
        order.append("waits")
        assert running.loop.readable(near.fileno(), 20)
        order.append("reads")
        return near.recv(10), threading.current_thread()

    def writer():
        order.append("writes")
        far.send(b"now")
        return threading.current_thread()

    read, wrote = running.do(reader, writer)
    assert order == ["waits", "writes", "reads"]
    assert read == (b"now", wrote)
    assert wrote is running.thread
    near.close()
    far.close()


def test_a_file_that_cannot_be_read_in_time_is_given_up(running, monkeypatch):
    """The work goes on and is told so; the next to wait for the file hears of it."""
    monkeypatch.setattr("strongroom.loop.TICK_SECONDS", 0.01)
    near, far = socket.socketpair()
    assert running.do(lambda: running.loop.readable(near.fileno(), 0.05)) == [False]
    far.send(b"x")  # too late for that one; the next hears of it
    assert running.do(lambda: running.loop.readable(near.fileno(), 20)) == [True]
    near.close()
    far.close()


def test_what_takes_long_is_done_elsewhere_and_the_others_go_on(running):
    """Its value comes back, its error is raised where it was called; out of a loop it is called as it is."""
    go_on = threading.Event()

    def slow():
        assert here() is None
        assert go_on.wait(20)
        return threading.current_thread()

    def fails():
        raise ValueError("of its own")

    (slowly,) = running.start(lambda: elsewhere(slow))
    assert running.do(lambda: here() is running.loop, lambda: 7) == [True, 7]
    assert not slowly[0].is_set()
    go_on.set()
    assert slowly[0].wait(20)
    assert slowly[1][0] is not running.thread
    (raised,) = running.do(lambda: elsewhere(fails))
    assert isinstance(raised, ValueError)
    assert here() is None
    assert elsewhere(threading.current_thread) is threading.current_thread()


def test_what_goes_apart_waits_for_no_thread_that_does_elsewhere():
    """All threads for `elsewhere` wait for a work, and the work for a thread of its own: it has one."""
    jobs, poller = SimpleQueue(), EpollPoller()
    threading.Thread(target=lambda: [job() for job in iter(jobs.get, None)], daemon=True).start()
    loop, over, brought = Loop(poller, jobs.put), threading.Event(), threading.Event()

    def first():
        assert loop.apart(lambda: 5) == 5
        brought.set()

    def idle():
        while works:
            loop.spawn(works.pop())
        return 1.0

    def second():
        assert loop.elsewhere(lambda: brought.wait(20))
        over.set()

    works = [first, second]
    loop.idle.append(idle)
    thread = threading.Thread(target=loop.run, args=(lambda _fd: None, over.is_set), daemon=True)
    thread.start()
    assert over.wait(20)
    thread.join(20)
    assert not thread.is_alive()
    jobs.put(None)
    poller.close()


def test_a_loop_ends_when_its_works_have():
    """Told to end while one waits: what it waits for comes, it ends, and then the loop does."""
    one, go_on = Running(), threading.Event()
    (waits,) = one.start(lambda: elsewhere(lambda: go_on.wait(20)))
    one.do(lambda: None)
    one.ended = True
    one.loop.stir()
    one.thread.join(0.2)
    assert one.thread.is_alive()
    go_on.set()
    one.thread.join(20)
    assert not one.thread.is_alive()
    assert waits[1] == [True]
    one.poller.close()


def test_none_is_lost_of_many_that_threads_resume(running):
    """Twenty works pause, again and again, and another thread resumes each: every one goes on as often as it paused."""
    times, paused = 300, []

    def work():
        for _ in range(times):
            paused.append(work_here())
            running.loop.pause()
        return times

    def resumes():
        for _ in range(20 * times):
            while not paused:
                time.sleep(0)
            running.loop.resume(paused.pop())

    thread = threading.Thread(target=resumes, daemon=True)
    thread.start()
    assert running.do(*[work] * 20) == [times] * 20
    thread.join(20)


# -- calls that go together -------------------------------------------------------------------------
CALLS = Unpacker(list[tuple[str, bytes]])


class Far:
    """The other side: answers each call with its own body when it is told to, in another thread."""

    def __init__(self):
        self.seen, self.go_on = [], threading.Event()

    def __call__(self, name, body):
        calls = CALLS(body) if name == TOGETHER else [(name, body)]
        self.seen.append([own for _, own in calls])
        elsewhere(lambda: self.go_on.wait(20))
        if b"broken" in self.seen[-1]:
            raise OSError
        replies = [(403 if own == b"bad" else 200, own) for _, own in calls]
        return (200, pack(replies)) if name == TOGETHER else replies[0]


def ask(sender, body):
    return lambda: sender.ask("release", body)


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_calls_of_a_loop_go_together_when_nobody_can_go_on(running, monkeypatch):
    """All that came in one go are one request; what comes meanwhile is the next, and a refusal is its caller's."""
    monkeypatch.setattr(together, "PATIENCE_SECONDS", 60.0)
    far = Far()
    sender = Together(far)
    first = running.start(*[ask(sender, b"%d" % number) for number in range(5)])
    until(lambda: far.seen)
    second = running.start(ask(sender, b"bad"), ask(sender, b"good"))
    until(lambda: len(sender._waiting) == 2)
    assert far.seen == [[b"0", b"1", b"2", b"3", b"4"]]
    far.go_on.set()
    assert all(over.wait(20) for over, _ in first + second)
    assert far.seen[1:] == [[b"bad", b"good"]]
    assert [found[0] for _, found in first] == [(200, b"%d" % number) for number in range(5)]
    assert [found[0] for _, found in second] == [(403, b"bad"), (200, b"good")]
    assert (sender._under_way, sender._waiting) == (0, [])


def test_a_second_request_of_a_loop_goes_in_company(running, monkeypatch):
    """One less than that many calls wait; with one more they go beside what is under way."""
    monkeypatch.setattr(together, "PATIENCE_SECONDS", 60.0)
    far = Far()
    sender = Together(far)
    (first,) = running.start(ask(sender, b"first"))
    until(lambda: far.seen)
    fewer = running.start(*[ask(sender, b"%d" % number) for number in range(COMPANY_LOOPED - 1)])
    until(lambda: len(sender._waiting) == COMPANY_LOOPED - 1)
    running.do(lambda: None)
    assert len(far.seen) == 1
    last = running.start(ask(sender, b"last"))
    until(lambda: len(far.seen) == 2)
    assert len(far.seen[1]) == COMPANY_LOOPED
    far.go_on.set()
    assert all(over.wait(20) for over, _ in [first, *fewer, *last])


def test_behind_a_request_that_takes_long_a_loop_goes_past(running):
    """A call waits behind it for its patience, and then no longer."""
    far = Far()
    sender = Together(far)
    given = running.start(ask(sender, b"long"))
    until(lambda: far.seen)
    given += running.start(ask(sender, b"past"))
    until(lambda: len(far.seen) == 2)
    far.go_on.set()
    assert all(over.wait(20) for over, _ in given)


def test_threads_and_a_loop_take_each_others_calls_along(running, monkeypatch):
    """A thread leads, works of a loop wait; then the other way round: everybody is answered, once."""
    monkeypatch.setattr(together, "PATIENCE_SECONDS", 60.0)
    far = Far()
    sender = Together(far)
    answers = {}

    def thread(body):
        one = threading.Thread(target=lambda: answers.update({body: sender.ask("release", body)}), daemon=True)
        one.start()
        return one

    leads = thread(b"leads")
    until(lambda: far.seen)
    looped = running.start(ask(sender, b"work"))
    until(lambda: len(sender._waiting) == 1)
    waits = thread(b"waits")
    until(lambda: len(sender._waiting) == 2)
    far.go_on.set()
    for one in (leads, waits):
        one.join(20)
    assert all(over.wait(20) for over, _ in looped)
    assert answers == {b"leads": (200, b"leads"), b"waits": (200, b"waits")}
    assert looped[0][1] == [(200, b"work")]

    far.go_on.clear()
    looped = running.start(ask(sender, b"first"))
    until(lambda: len(far.seen) >= 2 and far.seen[-1] == [b"first"])
    behind = thread(b"behind")
    until(lambda: len(sender._waiting) == 1)
    far.go_on.set()
    behind.join(20)
    assert all(over.wait(20) for over, _ in looped)
    assert answers[b"behind"] == (200, b"behind")
    assert sorted(own for some in far.seen for own in some) == sorted([b"leads", b"work", b"waits", b"first", b"behind"])
    assert (sender._under_way, sender._waiting) == (0, [])


def test_a_defect_in_sending_fails_those_calls_and_no_loop(running, caplog):
    """Who asked is told that it failed, the operator where; the next call is sent."""
    far = Far()
    far.go_on.set()
    sender = Together(far)
    (broken,) = running.do(ask(sender, b"broken"))
    assert "a call failed" in str(broken)
    assert running.do(ask(sender, b"fine")) == [(200, b"fine")]
    assert "OSError" in caplog.text


# -- answers from afar --------------------------------------------------------------------------------
@contextmanager
def dribbling(tls):
    """A server that sends the parts of an answer one by one, each when it is let; gives its URL and what lets it."""
    parts = [b"HTTP/1.1 200 OK\r\ncontent-le", b"ngth: 6\r\n\r\nab", b"cdef"]
    listening = socket.create_server(("127.0.0.1", 0))
    lets = [threading.Event() for _ in parts]

    def serve():
        one, _ = listening.accept()
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            one = context.wrap_socket(one, server_side=True)
        one.recv(1 << 16)
        for let, part in zip(lets, parts, strict=True):
            assert let.wait(20)
            one.sendall(part)
        one.recv(1)
        one.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"{'https' if tls else 'http'}://127.0.0.1:{listening.getsockname()[1]}", lets
    listening.close()


@pytest.mark.parametrize("secure", [False, True])
def test_an_answer_in_pieces_holds_nobody_up(running, tmp_path, secure):
    """Between any two pieces another work goes on; in TLS a piece is a record of its own."""
    tls = certificate(tmp_path) if secure else None
    with dribbling(tls) as (url, lets):
        own = wire.Wire(url, "keymaster", None if tls is None else tls[0])
        (answered,) = running.start(lambda: own.post("/x", b"body", {}))
        for let in lets:
            assert running.do(lambda: 5) == [5]
            assert not answered[0].is_set()
            let.set()
        assert answered[0].wait(20)
        assert answered[1] == [(200, b"abcdef")]
        own.close()


def test_a_large_answer_and_a_large_request_are_for_a_thread(running):
    """Neither is received, or sent, in the loop: half of it has come, and another work goes on."""
    listening = socket.create_server(("127.0.0.1", 0))
    go_on, size = threading.Event(), 3 << 20

    def serve():
        one, _ = listening.accept()
        got = 0
        while got < size:
            got += len(one.recv(1 << 16))
            if got > 100_000:
                assert go_on.wait(20)
        one.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"y" * (size // 2))
        assert go_on.wait(20)
        one.sendall(b"y" * (size - size // 2))
        one.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    own = wire.Wire(f"http://127.0.0.1:{listening.getsockname()[1]}", "keymaster", None)
    (answered,) = running.start(lambda: own.post("/x", b"x" * size, {}))
    assert running.do(lambda: 5) == [5]
    go_on.set()
    assert answered[0].wait(20)
    assert answered[1] == [(200, b"y" * size)]
    own.close()
    listening.close()


def test_a_peer_that_reads_nothing_holds_nobody_up(running, monkeypatch):
    """More is to be sent than the system takes at once: another work goes on."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    real = socket.create_connection

    def small(*args, **more):
        made = real(*args, **more)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 23_040)
        return made

    monkeypatch.setattr(wire.socket, "create_connection", small)
    own = wire.Wire(f"http://127.0.0.1:{listening.getsockname()[1]}", "keymaster", None)
    (answered,) = running.start(lambda: own.post("/x", bytes(63_000), {}))
    one, _ = listening.accept()
    for _ in range(20):
        assert running.do(lambda: 5) == [5]
        time.sleep(0.01)
    assert not answered[0].is_set()
    got = 0
    while got < 63_000:
        got += len(one.recv(1 << 16))
    one.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert answered[0].wait(20)
    assert answered[1] == [(200, b"ok")]
    one.close()
    own.close()
    listening.close()


def test_threads_that_wait_for_a_loops_request_leave_it_one_to_dial(running):
    """As many threads as there are wait for what one request brings, and that needs a new connection: all are answered."""
    listening, jobs, held = socket.create_server(("127.0.0.1", 0)), SimpleQueue(), threading.Event()
    running.loop._submit = jobs.put
    for _ in range(4):
        threading.Thread(target=lambda: [job() for job in iter(jobs.get, None)], daemon=True).start()

    def serve(one, ends):
        with one.makefile("rb") as file:
            while line := file.readline():
                name, size = line.split()[1].decode().strip("/"), 0
                while header := file.readline().strip():
                    size = int(header.split(b":")[1]) if header.lower().startswith(b"content-length") else size
                calls = CALLS(file.read(size)) if name == TOGETHER else None
                if ends:
                    assert held.wait(20)
                said = b"" if calls is None else pack([(200, b"") for _ in calls])
                close = b"connection: close\r\n" if ends else b""
                one.sendall(b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n" % (close, len(said)) + said)
                if ends:
                    break
        one.close()

    def accept():
        for number in range(8):
            threading.Thread(target=serve, args=(listening.accept()[0], number < 2), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    own = wire.Wire(f"http://127.0.0.1:{listening.getsockname()[1]}", "keymaster", None)
    sender = Together(lambda name, body: own.post("/" + name, body, {}))
    given = running.start(ask(sender, b"one"))
    until(lambda: sender._under_way == 1)
    given += running.start(*[ask(sender, b"%d" % number) for number in range(COMPANY_LOOPED)])
    until(lambda: sender._under_way == 2)
    found = []
    for _ in range(4):
        jobs.put(lambda: found.append(sender.ask("release", b"x")))
    held.set()
    assert all(over.wait(20) for over, _ in given)
    until(lambda: len(found) == 4)
    assert running.do(lambda: elsewhere(lambda: 1)) == [1]
    for _ in range(4):
        jobs.put(None)
    own.close()
    listening.close()
