"""What a server answers in its loop, and what it does not: nothing that takes long holds a look-up up."""

import threading

import pytest
from room_api import Api
from small_room import person

from strongroom.listener.poller import EpollPoller, new_poller
from strongroom.loop import here
from strongroom.read import reading
from strongroom.read.reading import Reading
from strongroom.server import service
from strongroom.server.verbs import Verbs

pytestmark = pytest.mark.skipif(not isinstance(new_poller(), EpollPoller), reason="a loop needs epoll")


@pytest.fixture
def api(room):
    with Api(room) as made:
        yield made


def ask_all(*asks):
    """Ask in a thread each; what each was given."""
    found = [[] for _ in asks]
    threads = [
        threading.Thread(target=lambda ask=ask, own=own: own.append(ask()), daemon=True)
        for ask, own in zip(asks, found, strict=True)
    ]
    for thread in threads:
        thread.start()
    return threads, found


def look_up(api, number=7):
    with api.of("ada").read(purpose="case-work", reason="case 1") as desk:
        return [dict(one) for one in desk.find("persons", {"mobile": person(number)["mobile"]})]


def where_done(monkeypatch, owner, name, held=None, reached=None):
    """Note in which thread a method is called, and whether in a loop; wait for `held` first."""
    seen, real = [], getattr(owner, name)

    def noted(self, *args, **more):
        seen.append(here() is not None)
        if held is not None:
            reached.set()
            assert held.wait(20)
        return real(self, *args, **more)

    monkeypatch.setattr(owner, name, noted)
    return seen


def test_what_takes_long_holds_no_look_up_up(api, monkeypatch):
    """A query stands still; persons are found meanwhile, in the loop; then the query is answered."""
    held, reached = threading.Event(), threading.Event()
    queries = where_done(monkeypatch, Verbs, "sql", held, reached)
    finds = where_done(monkeypatch, Verbs, "find")

    def query():
        with api.of("lin").read(purpose="statistics", reason="yearbook") as desk:
            return desk.sql("select sex, count(*) as n from persons group by sex").num_rows

    (thread,), (rows,) = ask_all(query)
    assert reached.wait(20)
    assert look_up(api) == [person(7)]
    held.set()
    thread.join(20)
    assert rows == [2]
    assert (queries, finds) == ([False], [True])


def test_sixteen_at_once_each_have_their_own_answer(api):
    """They go on beside each other in one thread, and their calls go to the keymaster together."""
    threads, found = ask_all(*[lambda number=number: look_up(api, number) for number in range(16) for _ in range(4)])
    for thread in threads:
        thread.join(60)
    assert [one[0] for one in found] == [[person(number)] for number in range(16) for _ in range(4)]


def test_look_ups_of_many_are_done_elsewhere(api, monkeypatch):
    """Many subjects, many values, many records at most, or an older snapshot; and a few are not."""
    most = service.QUICK_MOST
    finds, gets = where_done(monkeypatch, Verbs, "find"), where_done(monkeypatch, Verbs, "get")
    with api.of("ada").read(purpose="case-work", reason="case 1") as desk:
        desk.each("persons", [f"P-{number:06d}" for number in range(most)])
        desk.each("persons", [f"P-{number:06d}" for number in range(most + 1)])
        desk.find("persons", {"mobile": person(7)["mobile"]}, limit=most)
        desk.find("persons", {"mobile": person(7)["mobile"]}, limit=most + 1)
        desk.find("persons", {"mobile": [person(number)["mobile"] for number in range(most + 1)]})
    with api.of("ada").read(purpose="case-work", reason="case 1", snapshot=1) as desk:
        desk.find("persons", {"mobile": person(7)["mobile"]})
    assert (gets, finds) == ([True, False], [True, False, False, False])


def test_a_value_of_many_is_opened_elsewhere(api, monkeypatch):
    """How many lie under a value is seen on the way: they are looked up, and opened, by a thread."""
    monkeypatch.setattr(reading, "FEW_HITS", 1)
    opened = where_done(monkeypatch, Reading, "_of_hits")
    shown, real_shown = [], reading.open_placed
    monkeypatch.setattr(reading, "open_placed", lambda *args: shown.append(here() is not None) or real_shown(*args))
    hits = []
    real = reading.elsewhere
    monkeypatch.setattr(reading, "elsewhere", lambda call: hits.append(here() is not None) or real(call))
    with api.of("ada").read(purpose="case-work", reason="case 1") as desk:
        wanted = [person(number)["mobile"] for number in range(3)]
        assert len(desk.find("persons", {"mobile": wanted})) == 3
        assert len(desk.find("persons", {"mobile": wanted[0]})) == 1
    assert hits == [True, True]  # the look-up of three, and the opening of what it found
    assert opened == [True, True]
    assert shown == [False, True]


def test_a_repeat_under_a_key_is_answered_elsewhere_as_before(api, monkeypatch):
    """It may wait for another; the answer is the same, charged once."""
    import msgspec

    from strongroom.identity import asked

    finds = where_done(monkeypatch, Verbs, "find")
    said = asked.Find(
        purpose="case-work", reason="case 1", table="persons", where={"mobile": [person(7)["mobile"]]}
    )
    body = msgspec.json.encode(said)
    answers = [api.of("ada").ask("find", body, None, "once-more") for _ in range(2)]
    assert answers[0].records == answers[1].records
    assert finds == [False, False]
