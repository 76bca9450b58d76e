"""A keymaster that starts sealed: what it says then, how it is opened, by whom not, and how it is sealed again."""

import contextlib
import json
import os
import socket
import tempfile
import threading
import time
from pathlib import Path

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from small_room import PASSPHRASE, person
from token_kit import delete_token, make_token, needs_tokens

import strongroom
from strongroom.errors import ConflictError, KeysError, NotFoundError, StrongroomError, UnavailableError, UsageError
from strongroom.identity.credential import new_credential
from strongroom.keymaster.wanted import Wanted
from strongroom.keys.shares import split_passphrase
from strongroom.keys.slot_passphrase import PassphraseKeeper
from strongroom.keyserver import control, gate
from strongroom.keyserver.control import Control, ask_control
from strongroom.keyserver.gate import Gate
from strongroom.keyserver.serving import Server
from strongroom.listener.address import Listen
from strongroom.seal.passphrase import Argon2Params

CHEAP = Argon2Params(memory_kib=19 * 1024, passes=2, lanes=1)


class Sealed:
    """A server that starts sealed, with its socket, in threads; and a credential of ada's that it will know."""

    def __init__(self, room, **how):
        with room.keymaster() as keys:
            self.own = new_credential(keys.room_id, "ada")
            keys.credentials.add("kit", Wanted("ada", self.own.public_key, 1))
        self.room, self.told = room, []
        self.path = room.keys / "open.sock"
        self.server = Server(None, Listen("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.gate = Gate(room.keys, self.server, tell=self.told.append, **how)
        self.control = Control(self.path, self.gate)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.005)

    def connect(self):
        return strongroom.connect(self.url, credential=self.own)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.control.__exit__(None, None, None)
        self.server.stop()
        self.thread.join(20)
        self.gate.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(gate, "OPEN_SECONDS", 0.3)
    monkeypatch.setattr(gate, "LOOK_SECONDS", 0.05)


@pytest.fixture
def sealed(room):
    with Sealed(room) as made:
        yield made


def acts(room, *wanted):
    with room.keymaster() as keys:
        return [e for e in keys.log_entries("kit") if e["act"] in wanted]


def test_sealed_it_says_one_thing_to_everybody(sealed):
    """Known callers, strangers, newcomers, any path and method: the same bytes; nothing of a body is read."""
    pool = urllib3.PoolManager(retries=False)
    room_id = sealed.own.room.hex()
    paths = ("/", "/v1", f"/v1/{room_id}/hello", f"/v1/{room_id}/signin.begin", "/v1/x/y?z=1")
    answers = {
        (a.status, a.data, a.headers.get("connection"))
        for path in paths
        for method in ("GET", "POST", "PUT")
        for a in [pool.request(method, sealed.url + path, body=b"x" * 100)]
    }
    ((status, data, connection),) = answers
    assert (status, connection) == (503, "close")
    assert room_id.encode() not in data
    with pytest.raises(UnavailableError, match="is sealed"):
        sealed.connect()


def test_from_sealed_to_open_to_sealed(room, sealed):
    """An operator opens it, a record is read, an operator seals it: the reading is closed, and after opening again too."""
    opened = ask_control(sealed.path, do="open", passphrase=PASSPHRASE)
    assert (opened["done"], opened["room"]) == ("open", sealed.own.room.hex())
    with pytest.raises(ConflictError, match="is open"):
        ask_control(sealed.path, do="open", passphrase=PASSPHRASE)
    with sealed.connect() as keys, strongroom.open(str(room.bucket), keys=keys, actor="ada") as there:
        desk = there.read(purpose="case-work", reason="case 1")
        assert dict(desk.get("persons", "P-000007")) == person(7)
        held = sealed.gate._keymaster
        assert ask_control(sealed.path, do="seal") == {"done": "sealed"}
        with pytest.raises(UnavailableError, match="is sealed"):
            desk.get("persons", "P-000008")
        with pytest.raises(ConflictError, match="is sealed"):
            ask_control(sealed.path, do="seal")
        with pytest.raises(RuntimeError, match="was closed"):
            held.ring.epoch_key()
        ask_control(sealed.path, do="open", passphrase=PASSPHRASE)
        with pytest.raises(NotFoundError, match="closed or has expired"):
            desk.get("persons", "P-000008")
        assert keys.head().number > 0
    noted = acts(room, "unseal", "seal")
    assert [e["act"] for e in noted] == ["unseal", "seal", "unseal"]
    assert noted[0]["extras"] == {"by": "passphrase", "refused": 0, "uid": os.geteuid()}


def test_sealing_lets_calls_under_way_end(room, sealed, monkeypatch):
    """A call that is being answered gets its answer; nobody else does."""
    ask_control(sealed.path, do="open", passphrase=PASSPHRASE)
    keymaster = sealed.gate._keymaster
    real, began, go_on = keymaster.head, threading.Event(), threading.Event()

    def slow():
        began.set()
        go_on.wait(20)
        return real()

    monkeypatch.setattr(keymaster, "head", slow)
    found = []
    with sealed.connect() as keys:
        asker = threading.Thread(target=lambda: found.append(keys.head()))
        asker.start()
        assert began.wait(20)
        sealer = threading.Thread(target=lambda: ask_control(sealed.path, do="seal"))
        sealer.start()
        while sealed.server._app.inner is not None:
            time.sleep(0.005)
        with pytest.raises(UnavailableError, match="is sealed"):
            sealed.connect()
        go_on.set()
        asker.join(20)
        sealer.join(20)
    assert found[0].number > 0


def test_whatever_does_not_open_is_slow_and_the_same(room, sealed):
    """A wrong passphrase, an empty one, a share that is none, one of another slot: the same words, after the same time."""
    _, (other, *_) = split_passphrase(2, 3)
    _, (first, *_) = split_passphrase(2, 3)
    ask_control(sealed.path, do="open", share=first)
    said = set()
    for asked in ({"passphrase": "wrong"}, {"passphrase": ""}, {"passphrase": PASSPHRASE + " "}, {"share": "horse"}, {"share": other}):
        began = time.monotonic()
        with pytest.raises(KeysError) as refused:
            ask_control(sealed.path, do="open", **asked)
        assert time.monotonic() - began >= 0.3
        said.add((str(refused.value), refused.value.hint))
    assert len(said) == 1
    ask_control(sealed.path, do="open", passphrase=PASSPHRASE)
    assert acts(room, "unseal")[0]["extras"]["refused"] == 5


def test_shares_open_it_one_by_one(room, sealed, monkeypatch):
    """Any two of three, given by whoever holds them; a wrong set of them, or one that is too old, begins anew."""
    secret, texts = split_passphrase(2, 3)
    with room.keymaster() as keys:
        keys.slots.add("kit", "board", PassphraseKeeper(secret, CHEAP))
    assert ask_control(sealed.path, do="open", share=texts[0])["threshold"] == 2
    assert ask_control(sealed.path, do="open", share=texts[0])["shares"] == 1
    monkeypatch.setattr(gate, "SHARES_SECONDS", 0.0)
    assert ask_control(sealed.path, do="open", share=texts[1])["shares"] == 1
    monkeypatch.setattr(gate, "SHARES_SECONDS", 3600.0)
    assert ask_control(sealed.path, do="open", share=texts[2])["done"] == "open"
    assert acts(room, "unseal")[0]["extras"]["by"] == "shares"


def test_others_of_the_machine_are_hung_up_on(sealed, monkeypatch):
    """The socket is its owner's, and who connects is asked of the system."""
    assert sealed.path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(control.os, "geteuid", lambda: 54_321)
    with pytest.raises(UnavailableError, match="hung up"):
        ask_control(sealed.path, do="open", passphrase=PASSPHRASE)
    monkeypatch.undo()
    assert sealed.gate._keymaster is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user of the machine")
def test_another_user_who_reaches_the_socket_is_hung_up_on(sealed):
    """Were folder and socket open to everybody, the system would still say who connects."""
    words = json.dumps({"do": "open", "passphrase": PASSPHRASE}).encode() + b"\n"
    with tempfile.TemporaryDirectory(prefix="open") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Control(folder / "open.sock", sealed.gate):
            (folder / "open.sock").chmod(0o777)
            assert as_nobody(folder / "open.sock", words) == 0
    assert sealed.gate._keymaster is None


def as_nobody(path, words):
    """0 when another user of the machine was hung up on by a socket."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setuid(65_534)
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(str(path))
                with contextlib.suppress(OSError):
                    one.sendall(words)
                code = 0 if one.recv(10) == b"" else 2
        except ConnectionResetError:
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_is_no_request_is_told(sealed):
    """Other words, too many, none, not JSON, not a line: an error, and the next is answered."""
    for asked in ({"do": "dance"}, {"do": "open"}, {"do": "open", "passphrase": "x", "pin": "y"}, {"do": "seal", "now": "1"}):
        with pytest.raises(UsageError):
            ask_control(sealed.path, **asked)
    with pytest.raises(UsageError, match="no token is named"):
        ask_control(sealed.path, do="open", pin="1234")
    for sent in (b"\n", b"[]\n", b"{\n", b"[" * 50_000 + b"\n", b"x" * 70_000):
        with socket.socket(socket.AF_UNIX) as one, control._short(sealed.path) as place:
            one.connect(place)
            with contextlib.suppress(OSError):
                one.sendall(sent)
                one.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert b"not a line" in one.recv(1000)
    assert ask_control(sealed.path, do="open", passphrase=PASSPHRASE)["done"] == "open"


@given(st.binary(max_size=200))
def test_any_line_is_read_or_refused(data):
    """No line raises anything but an error of this library."""
    one, two = socket.socketpair()
    with one, two:
        one.sendall(data + b"\n")
        one.shutdown(socket.SHUT_WR)
        with contextlib.suppress(StrongroomError):
            assert isinstance(control._read(two), dict)


def test_a_socket_that_is_in_use_or_was_left_behind(room, sealed, tmp_path):
    """Another process there is a conflict, a file that is no socket too; what a killed one left is taken away."""
    with pytest.raises(ConflictError, match="another process"):
        Control(sealed.path, sealed.gate)
    plain = tmp_path / "plain"
    plain.write_text("x")
    with pytest.raises(ConflictError, match="no socket"):
        Control(plain, sealed.gate)
    with pytest.raises(UsageError, match="cannot be made"):
        Control(tmp_path / "none" / "open.sock", sealed.gate)
    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as dead, control._short(left) as place:
        dead.bind(place)
    with Control(left, sealed.gate):
        assert ask_control(left, do="open", passphrase=PASSPHRASE)["done"] == "open"
    assert not left.exists()
    with pytest.raises(UnavailableError, match="no sealed keymaster"):
        ask_control(left, do="seal")


@needs_tokens
def test_a_token_opens_it_by_itself_when_it_is_there(room):
    """Not before it is there; after an operator sealed it not again, but by its PIN; a wrong PIN is as a wrong passphrase."""
    keeper = make_token()
    with room.keymaster() as keys:
        keys.slots.add("kit", "hsm", keeper)
    absent = [True]

    def itself():
        if absent:
            raise UnavailableError("token x is not there")
        return keeper

    def with_pin(pin):
        return type(keeper)(keeper.module, keeper.token, pin)

    with Sealed(room, token=with_pin, itself=itself) as sealed:
        sealed.gate.begin()
        wait_for(lambda: sealed.told)
        time.sleep(0.3)  # it looks several times
        with pytest.raises(UnavailableError, match="is sealed"):
            sealed.connect()
        assert sealed.told == ["sealed: token x is not there"]
        absent.clear()
        wait_for(lambda: any("opened by the token" in line for line in sealed.told))
        with sealed.connect() as keys:
            assert keys.head().number > 0
        ask_control(sealed.path, do="seal")
        time.sleep(0.3)
        with pytest.raises(UnavailableError, match="is sealed"):
            sealed.connect()
        with pytest.raises(KeysError, match="this does not open"):
            ask_control(sealed.path, do="open", pin="9999")
        assert ask_control(sealed.path, do="open", pin=keeper.pin)["done"] == "open"
    assert [e["extras"]["by"] for e in acts(room, "unseal")] == ["the token", "the token"]
    delete_token(keeper)


@needs_tokens
def test_a_token_is_not_asked_again_with_a_wrong_pin(room):
    """It would lock itself: one attempt, told to the operator, and then it waits for them."""
    keeper = make_token()
    with room.keymaster() as keys:
        keys.slots.add("kit", "hsm", keeper)
    tried = []

    def itself():
        tried.append(1)
        return type(keeper)(keeper.module, keeper.token, "9999")

    with Sealed(room, itself=itself) as sealed:
        sealed.gate.begin()
        wait_for(lambda: sealed.told)
        time.sleep(0.3)
        assert len(tried) == 1
        assert "PIN does not open" in sealed.told[0]
        assert ask_control(sealed.path, do="open", passphrase=PASSPHRASE)["done"] == "open"
    delete_token(keeper)


@needs_tokens
def test_a_typed_pin_where_the_token_is_not_there(room):
    """That is told: an operator can do something about it."""
    keeper = make_token()
    with room.keymaster() as keys:
        keys.slots.add("kit", "hsm", keeper)
    delete_token(keeper)
    with Sealed(room, token=lambda pin: type(keeper)(keeper.module, keeper.token, pin)) as sealed:
        with pytest.raises(UnavailableError, match="is not there"):
            ask_control(sealed.path, do="open", pin="1234")


def wait_for(what, seconds=20):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_path_that_is_too_long_for_a_socket_is_none(room, tmp_path):
    """Folders may lie deep: the system's limit for names of sockets is not theirs."""
    deep = Path(tmp_path / ("d" * 100) / ("e" * 100))
    deep.mkdir(parents=True)
    server = Server(None, Listen("127.0.0.1", 0))
    own = Gate(room.keys, server)
    with Control(deep / "open.sock", own):
        assert ask_control(deep / "open.sock", do="open", passphrase=PASSPHRASE)["done"] == "open"
    own.close()
    server._socket.close()
