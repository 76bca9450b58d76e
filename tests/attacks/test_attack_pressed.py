"""The keymaster's server and the room's, pressed: 10,000 connections that stay open, and bodies of a gigabyte."""

import contextlib
import re
import resource
import socket
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import attack_kit  # noqa: F401  the folders of the kits below
import pytest
from room_api import Api
from served_room import Served
from small_room import PASSPHRASE

from strongroom.errors import UnavailableError
from strongroom.identity import asked
from strongroom.identity.credential import new_credential
from strongroom.identity.signing import sign_request
from strongroom.keymaster.wanted import Wanted
from strongroom.keyserver import listen
from strongroom.keyserver.client import connect
from strongroom.listener.message import Reply, Take
from strongroom.server.client import RoomClient

SERVERS = ("keymaster", "server")
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc, which says what a process has open")


# -- a crowd -----------------------------------------------------------------------------------

CROWD = 10_000
PROCESSES = 5
FILES_AT_FIRST = 1_024
"""What most systems let a process open; it may raise that itself, up to its hard limit."""
FEW_FILES = 1_500

SERVE = """
import resource, sys
from strongroom.listener import connection, server
connection.HEADER_SECONDS = {seconds}
{off}
from strongroom.cli import main
main(sys.argv[1:])
"""
OFF = """
resource.setrlimit = lambda *_: None
resource.getrlimit = lambda *_: (1 << 20, 1 << 20)
"""
"""The defence switched off: it believes that it may open a million files, and keeps none for itself."""

CLIENT = """
import errno, socket, sys, time
port, count, from_address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
held = []
for number in range(count):
    one = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(from_address, 0))
    try:
        if number % 2:
            one.sendall(b"POST /v1/rooms/")
    except OSError:
        pass  # it was let go
    time.sleep(0.001)  # a queue that is full makes who comes wait for seconds
    one.setblocking(False)
    held.append(one)
print(count, flush=True)

def is_open(one):
    try:
        return bool(one.recv(1))
    except OSError as error:
        return error.errno == errno.EAGAIN

for line in sys.stdin:
    print(sum(map(is_open, held)), flush=True)
"""


def _files(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Pressed:
    """One of the servers as a process of its own, which began with few files, and callers of it."""

    def __init__(self, which, room, folder, *, hard, seconds=600.0, off=False):
        self.which, self._ends = which, contextlib.ExitStack()
        with contextlib.ExitStack() as made:
            words = self._keymaster(room, folder) if which == "keymaster" else self._server(room, folder, made)
            program = SERVE.format(seconds=seconds, off=OFF if off else "")
            self.process = subprocess.Popen(
                [sys.executable, "-c", program, *words, "--listen", "127.0.0.1:0"],
                cwd=folder, stderr=subprocess.PIPE, preexec_fn=_files(FILES_AT_FIRST, hard),  # noqa: PLW1509
            )  # fmt: skip
            made.callback(self._end)
            told = self.process.stderr.readline().decode()
            found = re.match(r"room [0-9a-f]{32}: serving at (http://127\.0\.0\.1:([1-9][0-9]*))$", told.strip())
            assert found, told
            self.url, self.port = found[1], int(found[2])
            self._ends = made.pop_all()

    def _keymaster(self, room, folder):
        with room.keymaster() as keymaster:
            self.credential = new_credential(keymaster.room_id, "ada")
            keymaster.credentials.add("kit", Wanted("ada", self.credential.public_key, 1.0, server=True))
        (folder / "passphrase").write_text(PASSPHRASE)
        return ["keymaster", "serve", "--keys", str(room.keys), "--passphrase-file", "passphrase"]

    def _server(self, room, folder, made):
        keys = made.enter_context(Served(room.keymaster()))
        self.credential = keys.credential("ada")
        keys.credential("front", server=True).write(folder / "front.credential")
        settings = f'room = "{room.bucket}"\nkeys = "{keys.url}"\ncredential = "front.credential"\n'
        (folder / "strongroom.toml").write_text(settings)
        return ["serve", "--metrics-port", "0"]

    def caller(self):
        """Who has a credential, over a connection of their own: what asks."""
        if self.which == "keymaster":
            keys = self._ends.enter_context(contextlib.closing(connect(self.url, credential=self.credential)))
            return keys.head
        room = self._ends.enter_context(contextlib.closing(RoomClient(self.url, self.credential)))
        return room.whoami

    @contextlib.contextmanager
    def crowd(self, count=CROWD):
        """Connections of other processes, each from an address of its own; a call says how many are open."""
        share, crowd = count // PROCESSES, []
        try:
            for number in range(PROCESSES):
                words = [sys.executable, "-c", CLIENT, str(self.port), str(share), f"127.0.0.{2 + number}"]
                pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
                crowd.append(subprocess.Popen(words, preexec_fn=_files(share + 100, share + 100), **pipes))  # noqa: PLW1509
            assert sum(int(one.stdout.readline()) for one in crowd) == count

            def held():
                for one in crowd:
                    one.stdin.write(b"?\n")
                return sum(int(one.stdout.readline()) for one in crowd)

            yield held
        finally:
            for one in crowd:
                one.kill()
                one.communicate(timeout=30)

    def files(self):
        """How many files the process has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def _end(self):
        self.process.terminate()
        self.process.communicate(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._ends.close()


def _hard_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CROWD + 1_000
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"a process may open {hard:,} files here, and one that holds {CROWD:,} connections needs {needed:,}")
    return needed


@needs_proc
@pytest.mark.parametrize("which", SERVERS)
def test_ten_thousand_connections_leave_the_server_up(which, room, tmp_path):
    """All are held at once, by a process that began with a thousand files; who has a credential comes and is answered."""
    with Pressed(which, room, tmp_path, hard=_hard_limit()) as pressed:
        before, own = pressed.caller(), pressed.files()
        before()
        with pressed.crowd() as held:
            pressed.caller()()
            before()
            assert held() == CROWD
            until(lambda: pressed.files() >= CROWD + own)  # of a full queue some are taken in later
        pressed.caller()()
        assert pressed.process.poll() is None


@needs_proc
@pytest.mark.parametrize("which", SERVERS)
def test_ten_thousand_where_few_files_are_allowed(which, room, tmp_path):
    """Those for whom there is no place are let go at once; who was in is answered, and when the crowd's time is over anybody."""
    with Pressed(which, room, tmp_path, hard=FEW_FILES, seconds=5.0) as pressed:
        before = pressed.caller()
        before()
        with pressed.crowd() as held:
            before()
            until(lambda: held() < FEW_FILES, 10)  # were they kept waiting for places, it would take half a minute
            assert pressed.files() < FEW_FILES
            until(lambda: _answered(pressed.caller))
            before()


@needs_proc
@pytest.mark.parametrize("which", SERVERS)
def test_control_without_its_bound_the_crowd_has_all_files(which, room, tmp_path):
    """Control: a quarter of the crowd, and a server that takes in whoever comes: it has no file left, and answers nobody."""
    with Pressed(which, room, tmp_path, hard=FEW_FILES, off=True) as pressed, pressed.crowd(CROWD // 4) as held:
        until(lambda: pressed.files() == FILES_AT_FIRST)  # it still takes in
        assert held() == CROWD // 4  # the others wait to be taken in
        with contextlib.closing(socket.create_connection(("127.0.0.1", pressed.port), timeout=3)) as one:
            one.sendall(b"POST /v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            with pytest.raises(TimeoutError):
                one.recv(10)


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _answered(caller):
    try:
        caller()()
    except UnavailableError:
        return False
    return True


# -- bodies ------------------------------------------------------------------------------------

GIGABYTE = 1 << 30
PART = bytes(1 << 20)
HELD = 300 << 20
"""So much of a body that is held tells; the rest of the gigabyte is not sent."""
KEPT_MOST = 16 << 20


@contextlib.contextmanager
def served(which, room):
    """One of the servers in this process: its port, its application, a path, who may ask for it, and what another asks."""
    if which == "keymaster":
        with Served(room.keymaster()) as keys:
            app, path = keys._server._app.inner, f"/v1/{keys.room_id.hex()}/hello"
            yield keys._server.port, app, path, keys.credential("ada"), keys.of("ada").head
    else:
        with Api(room) as api:
            path = asked.path_of(api.keys.room_id, "put")
            yield api.server.port, api.server._listener._app, path, api.keys.credential("kit"), api.of("ada").whoami


def offer(port, path, headers, most, patience=20):
    """Offer a body of a gigabyte and send up to `most` of it: the answer, what was sent, and the most memory that it took.

    It is not sent before an answer has come, or the patience is over.
    """
    head = {"Host": "x", "Content-Length": str(GIGABYTE)} | headers
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    sent, answer = 0, b""
    tracemalloc.start()
    try:
        with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as one:
            one.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            one.settimeout(patience)
            with contextlib.suppress(TimeoutError):
                answer = one.recv(4096)
            one.settimeout(20)
            with contextlib.suppress(OSError):
                while sent < most:
                    one.sendall(PART)
                    sent += len(PART)
            time.sleep(0.5)  # what is on its way is read
            return answer, sent, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _signed(credential, path, name):
    """The headers of a request that its caller signed, whatever its body will be."""
    now = int(time.time())
    return sign_request(credential.seed, credential.id, "POST", path, b"", created=now, expires=now + 60, nonce=name * 16)


@pytest.mark.parametrize("which", SERVERS)
@pytest.mark.parametrize("length", [{}, {"Content-Length": "-1"}, {"Transfer-Encoding": "chunked"}])
def test_a_body_of_a_gigabyte_from_nobody_is_not_kept(which, length, room):
    """Refused by its signature before a byte of the body is kept, whatever it says of its length; the server goes on."""
    with served(which, room) as (port, _app, path, _credential, ask):
        ask()
        answer, sent, held = offer(port, path, length, GIGABYTE)
        assert re.match(rb"HTTP/1\.1 40[01] ", answer)
        assert sent < 200 << 20
        assert held < KEPT_MOST
        ask()


@pytest.mark.parametrize("which", SERVERS)
def test_a_body_of_a_gigabyte_from_a_caller_is_not_kept(which, room):
    """A credential gives no more memory than a call may have: refused by its length, before the body."""
    with served(which, room) as (port, _app, path, credential, ask):
        ask()
        answer, sent, held = offer(port, path, _signed(credential, path, b"a"), GIGABYTE)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert sent < 200 << 20
        assert held < KEPT_MOST
        ask()


@pytest.mark.parametrize("which", SERVERS)
def test_control_a_server_that_judges_when_it_has_read_holds_what_is_sent(which, room, monkeypatch):
    """Control: where the signature is looked at after the body, as most servers do, nobody's body is in memory."""
    late = Reply(401)
    monkeypatch.setattr(listen.App, "_large", lambda *_: Take(60.0, lambda _body: late, lambda: late))
    with served(which, room) as (port, _app, path, _credential, _ask):
        answer, sent, held = offer(port, path, {}, HELD, patience=0.5)
        assert (answer, sent) == (b"", HELD)
        assert held > 0.8 * HELD


@pytest.mark.parametrize("which", SERVERS)
def test_control_without_the_bound_of_a_call_a_callers_body_is_held(which, room, monkeypatch):
    """Control: where a body may be of any length, what a caller signed for is in memory."""
    monkeypatch.setattr(listen, "BODIES_MOST", 4 * GIGABYTE)
    with served(which, room) as (port, app, path, credential, _ask):
        monkeypatch.setattr(app._service, "most", lambda _path: 2 * GIGABYTE)
        answer, sent, held = offer(port, path, _signed(credential, path, b"b"), HELD, patience=0.5)
        assert (answer, sent) == (b"", HELD)
        assert held > 0.8 * HELD
