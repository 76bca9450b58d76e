"""Calls that come together are sent together: who leads, who waits, and what becomes of an error."""

import gc
import threading
import time

import pytest
from served_room import Served

from strongroom.errors import IntegrityError, NotFoundError, UnavailableError
from strongroom.identity.credential import new_credential
from strongroom.keyserver import together
from strongroom.keyserver.asking import Asking
from strongroom.keyserver.calls import VERSION, Hello, Said, Trouble
from strongroom.keyserver.frames import Unpacker, pack
from strongroom.keyserver.together import CALLS_MOST, TOGETHER, UNDER_WAY_MOST, Together

CALLS = Unpacker(list[tuple[str, bytes]])


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Whoever waits here waits for what the test lets go on, and not for a time or for others."""
    monkeypatch.setattr(together, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(together, "COMPANY", 10_000)


class Far:
    """The other side: answers each call with its own body, and holds answers back until it is told."""

    def __init__(self):
        self.seen = []
        self.go_on = threading.Event()
        self.under_way = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, name, body):
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            calls = CALLS(body) if name == TOGETHER else [(name, body)]
            self.seen.append([own for _, own in calls])
        self.go_on.wait(20)
        with self._lock:
            self.under_way -= 1
        return self.answer(name, calls)

    def answer(self, name, calls):
        replies = [(200 if own != b"bad" else 403, own) for _, own in calls]
        return (200, pack(replies)) if name == TOGETHER else replies[0]


def ask_all(sender, bodies):
    """Each body asked by a thread of its own; what each was answered, or the error it raised."""
    found = {}

    def one(body):
        try:
            found[body] = sender.ask("end_reading", body)
        except Exception as error:  # noqa: BLE001
            found[body] = error

    threads = [threading.Thread(target=one, args=(body,), daemon=True) for body in bodies]
    return threads, found


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def held_up(far, sender, bodies):
    """Ask all at once while the other side holds back the first answers; then let it go on."""
    threads, found = ask_all(sender, bodies)
    for number, thread in enumerate(threads):
        thread.start()
        if not number:
            until(lambda: far.seen)  # this one goes alone, the others wait for it
    until(lambda: len(sender._waiting) == len(bodies) - 1)
    far.go_on.set()
    for thread in threads:
        thread.join(20)
    return found


def test_what_comes_while_requests_are_under_way_goes_together():
    """Each caller has the answer to their own call, a refusal too, and nobody is sent twice."""
    far = Far()
    bodies = [b"%d" % number for number in range(20)] + [b"bad"]
    found = held_up(far, Together(far), bodies)
    assert found == {body: (403 if body == b"bad" else 200, body) for body in bodies}
    assert sorted(own for some in far.seen for own in some) == sorted(bodies)
    assert list(map(len, far.seen)) == [1, len(bodies) - 1]
    assert far.most == 1


def test_no_message_has_more_calls_than_it_may():
    """Three times as many as one message holds: they go in several."""
    far = Far()
    bodies = [b"%d" % number for number in range(3 * CALLS_MOST)]
    found = held_up(far, Together(far), bodies)
    assert found == {body: (200, body) for body in bodies}
    assert max(map(len, far.seen)) == CALLS_MOST


def test_a_second_request_goes_when_it_has_company(monkeypatch):
    """One call is under way; three wait, the fourth takes them along, and the fifth waits for either."""
    monkeypatch.setattr(together, "COMPANY", 4)
    far = Far()
    sender = Together(far)
    threads, found = ask_all(sender, [b"%d" % number for number in range(6)])
    for number, thread in enumerate(threads):
        thread.start()
        until(lambda number=number: len(far.seen) + len(sender._waiting) == (1, 2, 3, 4, 2, 3)[number])
    assert list(map(len, far.seen)) == [1, 4]
    far.go_on.set()
    for thread in threads:
        thread.join(20)
    assert found == {b"%d" % number: (200, b"%d" % number) for number in range(6)}
    assert (far.most, sender._under_way, sender._waiting) == (2, 0, [])


def test_behind_a_request_that_takes_long_others_go_past(monkeypatch):
    """So many at most, the rest along with them; and when they are answered one request is under way again, or none."""
    monkeypatch.setattr(together, "PATIENCE_SECONDS", 0.01)
    far = Far()
    sender = Together(far)
    threads, found = ask_all(sender, [b"%d" % number for number in range(UNDER_WAY_MOST + 5)])
    for number, thread in enumerate(threads):
        thread.start()
        until(lambda number=number: len(far.seen) > min(number, UNDER_WAY_MOST - 1))
    until(lambda: len(sender._waiting) == 5)
    assert sender._under_way == far.under_way == UNDER_WAY_MOST
    monkeypatch.setattr(together, "PATIENCE_SECONDS", 60.0)
    far.go_on.set()
    for thread in threads:
        thread.join(20)
    assert found == {body: (200, body) for body in found}
    assert len(found) == len(threads)
    assert (far.most, sender._under_way, sender._waiting) == (UNDER_WAY_MOST, 0, [])


@pytest.mark.parametrize("size", [0, 1])
def test_an_answer_of_another_length_is_none(size):
    """A keymaster that answers fewer calls than were asked: nobody takes another's answer for theirs."""
    far = Far()
    sender = Together(far)
    far.answer = lambda name, calls: (200, pack([(200, b"x")] * size)) if name == TOGETHER else (200, b"own")
    found = held_up(far, sender, [b"%d" % number for number in range(8)])
    assert {one for one in found.values() if not isinstance(one, IntegrityError)} == {(200, b"own")}  # sent alone
    assert any(isinstance(one, IntegrityError) for one in found.values())
    far.answer = lambda _name, _calls: (200, b"again")
    assert sender.ask("end_reading", b"x") == (200, b"again")  # the lead was passed on


def test_an_error_on_the_way_is_everybodys_and_the_next_goes_on():
    """The other side does not answer, or this one has a defect: all who went along hear of it, nobody waits for ever."""
    far = Far()
    sender = Together(far)

    def broken(name, _calls):
        raise UnavailableError("gone") if name == TOGETHER else ZeroDivisionError

    far.answer = broken
    found = held_up(far, sender, [b"%d" % number for number in range(8)])
    kinds = [type(one) for one in found.values()]
    assert (kinds.count(ZeroDivisionError), kinds.count(UnavailableError)) == (1, 7)  # the first was sent alone
    far.answer = lambda _name, _calls: (200, b"again")
    assert sender.ask("end_reading", b"x") == (200, b"again")
    assert sender._under_way == 0


def test_who_is_interrupted_while_waiting_is_left_out(monkeypatch):
    """Whoever goes away takes neither their call nor the lead of others with them."""
    far = Far()
    sender = Together(far)
    (thread,), found = ask_all(sender, [b"first"])
    thread.start()
    until(lambda: far.seen)

    class Gone:
        def __enter__(self):
            raise KeyboardInterrupt

        def __exit__(self, *_exc):
            pass

    with monkeypatch.context() as patched:
        patched.setattr(together, "aside", Gone)
        with pytest.raises(KeyboardInterrupt):
            sender.ask("end_reading", b"left")
    assert not sender._waiting
    far.go_on.set()
    thread.join(20)
    assert len(found) == 1
    assert sender.ask("end_reading", b"x") == (200, b"x")
    assert b"left" not in [own for some in far.seen for own in some]


def test_a_call_that_was_answered_leaves_no_garbage():
    """A process that serves looks for cycles seldom, and answers hold keys."""
    sender = Together(lambda _name, body: (200, body))
    gc.collect()
    before = calls_left()  # of a test that went before, in a thread or an error that is kept
    gc.disable()
    try:
        assert sender.ask("end_reading", b"x") == (200, b"x")
        assert not [one for one in calls_left() if not any(one is other for other in before)]
    finally:
        gc.enable()


def calls_left():
    return [one for one in gc.get_objects() if type(one) is together._Call]


def test_who_is_unknown_while_another_caller_signs_anew_asks_again():
    """The process that knew the shared key is gone, and another thread is just being greeted by the next."""
    room = bytes(16)
    asking = Asking("http://127.0.0.1:1", new_credential(room, "kit"), None, lambda: 1.0, bytes)
    hello = Hello("again", room, "kit", 0.0, VERSION, bytes(32), 1000)
    answers = [(401, Trouble("DeniedError", "nobody known has signed")), (200, Said(1, None))]

    def post(path, _body, _headers):
        if path.endswith("/hello"):
            return 200, pack(hello)
        status, answer = answers.pop(0)
        if status != 200:
            asking._hop = None  # as the other thread's greeting begins
        return status, pack(answer)

    asking._wire.post = post
    asking.ask("end_reading", reading=bytes(16))
    assert not answers


def test_a_restart_among_calls_that_go_together_is_noticed_by_nobody(room):
    """The keymaster's process is another one from here on: sixteen callers at once sign anew, and each is answered."""
    with Served(room.keymaster()) as served, served.connect(served.credential("kit", server=True)) as keys:
        service = served._server._app.inner._service
        for number in range(3):
            service._instance = f"again{number}"
            found = []

            def one(found=found):
                try:
                    keys.end_reading(bytes(16))
                except NotFoundError:
                    found.append("no such reading")

            threads = [threading.Thread(target=one, daemon=True) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert found == ["no such reading"] * 16
