"""What a stolen credential touched, and whom: by actor, credential and time, over days, with the erased and what is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keymaster_fixtures import Clock, ask, identifiers, make, put, reopen

from strongroom.audit.entry import Entry
from strongroom.errors import DeniedError, UnavailableError, UsageError
from strongroom.keymaster.log import answers as logs
from strongroom.keymaster.log import index as logindex
from strongroom.keymaster.log import search as logsearch
from strongroom.keymaster.log.api import Which
from strongroom.keymaster.log.touching import Matching
from strongroom.seal.tokens import cmac_column

DAY = 86_400


@pytest.fixture
def master(tmp_path, clock):
    with make(tmp_path / "keys", clock) as made:
        made.batch, made.sealing = put(made, identifiers(300))
        yield made


def read(master, first, last, actor="ada", fields=None):
    grant = master.begin_reading(actor=actor, purpose="bulk", reason="r")
    return master.release(grant.reading_id, ask(master.sealing.tokens[first:last], master.batch, fields=fields)).leaf


def whom(found):
    return {person.token: person.leaves for person in found.each()}


def rows_of(master, first, last):
    return {token.tobytes() for token in master.sealing.tokens[first:last]}


def test_whom_an_actor_touched_over_days(master, clock):
    """Each person with the entries that touched them and their fields; nobody of another actor or another time."""
    before = read(master, 200, 210)
    clock.now += DAY
    one = read(master, 0, 40)
    clock.now += DAY
    two = read(master, 30, 50, fields=("name",))
    three = read(master, 30, 31)
    read(master, 100, 150, actor="bob")
    found = master.logs.persons("kit", Which("ada", None, clock.now - DAY), "incident 9")
    assert set(whom(found)) == rows_of(master, 0, 50)
    for at, token in enumerate(master.sealing.tokens[:50]):
        leaves = [one] * (at < 40) + [two] * (at >= 30) + [three] * (at == 30)
        assert whom(found)[token.tobytes()] == leaves
    said = {person.token: person.to_dict() for person in found.each()}
    assert said[master.sealing.tokens[45].tobytes()]["fields"] == {"persons": ["name"]}
    assert said[master.sealing.tokens[5].tobytes()]["fields"] == {"persons": ["*"]}
    assert (found.unknown, found.lost, found.erased.any()) == (0, [], False)
    every = master.logs.persons("kit", Which("ada"), "incident 9")
    assert rows_of(master, 200, 210) < set(whom(every))
    assert before in every.leaves
    noted = master.log_entries("kit")[every.leaf]
    assert (noted["act"], noted["actor"], noted["count"]) == ("touched", "kit", 60)
    assert noted["extras"] == {"of": "ada", "entries": 4}
    assert "incident" not in str(noted)


def test_labels_made_a_moment_before_midnight_are_found(master, clock):
    """The clock goes on between the labels and their entry."""
    clock.now = clock.now // DAY * DAY + DAY - 0.001
    real = master._core.journal.labels

    def slow(rows, tokens, *more):
        made = real(rows, tokens, *more)
        clock.now += 0.01
        return made

    master._core.journal.labels = slow
    read(master, 0, 5)
    found = master.logs.persons("kit", Which("ada"), "r")
    assert (set(whom(found)), found.unknown) == (rows_of(master, 0, 5), 0)
    clock.now += DAY
    report = master.verify_log(maps=True)  # the entry says in which day's map it stands
    assert (report["labels"], report["lost"]) == (5, 0)


def test_who_was_erased_since_is_counted_and_not_among_the_living(master, clock):
    """Their tombstones know the token; somebody who came back lives."""
    read(master, 0, 10)
    lease = master.begin_maintenance(actor="kit", verb="erase")
    tokens = np.ascontiguousarray(master.sealing.tokens[:4])
    master.erasures.erase(lease, tokens, "asked for")
    put(master, identifiers(1))
    (gone,) = [one for one in master.logs.touched("kit", Which("kit")) if one.act == "erase"]
    by_kit = master.logs.persons("kit", Which("kit"), "r")
    assert (gone.persons, gone.table, set(whom(by_kit))) == (4, "", rows_of(master, 0, 4))
    assert {tuple(person.to_dict()["acts"]) for person in by_kit.each()} == {("erase",)}
    found = master.logs.persons("kit", Which("ada"), "r")
    erased = {person.token for person in found.each() if person.erased}
    assert erased == rows_of(master, 1, 4)
    assert set(whom(found)) == rows_of(master, 0, 10)


def test_what_is_lost_is_said(master, clock):
    """A month whose key was destroyed, entries whose labels a copy did not have: which entries, and no error."""
    gone = read(master, 0, 5)
    torn = read(master, 5, 6)
    with master._core.state.write() as rows:
        rows.execute("DELETE FROM leaf_labels WHERE leaf = ?", (gone,))
    found = master.logs.persons("kit", Which("ada"), "r")
    assert (found.lost, set(whom(found))) == ([gone], rows_of(master, 5, 6))
    with master._core.state.write() as rows:
        rows.execute("DELETE FROM wrapped_key WHERE purpose = 'month'")
    found = master.logs.persons("kit", Which("ada"), "r")
    assert (found.lost, len(found)) == ([gone, torn], 0)


def test_who_may_ask_whom(master):
    """A reader not even about themselves; no reason, no answer; too many at once, or two at once."""
    read(master, 0, 5)
    for act in (
        lambda: master.logs.persons("ada", Which("ada"), "r"),
        lambda: master.logs.touched("ada", Which("bob")),
        lambda: master.logs.touched("ada", Which(None, "0" * 32)),
        lambda: master.logs.newest("ada", Which(), 5),
    ):
        with pytest.raises(DeniedError):
            act()
    assert [e["decision"] for e in master.log_entries("kit") if e["act"] == "log"] == ["refused"] * 4
    assert master.logs.touched("ada", Which("ada"))[0].persons == 5
    with pytest.raises(UsageError):
        master.logs.persons("kit", Which("ada"), " ")
    with master.logs._one, pytest.raises(UnavailableError):
        master.logs.persons("kit", Which("ada"), "r")
    for most in (0, -1, 10_001):
        with pytest.raises(UsageError):
            master.logs.newest("kit", Which(), most)


def test_too_many_persons_at_once_are_refused(master, monkeypatch):
    """With what to do about it."""
    read(master, 0, 50)
    monkeypatch.setattr(logs, "LABELS_MAX", 49)
    with pytest.raises(UsageError, match="more than 49 persons"):
        master.logs.persons("kit", Which("ada"), "r")
    assert not master.logs._one.locked()


def test_touched_is_added_up(master, clock):
    """By purpose, act, table and fields; refusals are left out."""
    first = read(master, 0, 5, fields=("name",))
    last = read(master, 3, 9, fields=("name",))
    read(master, 0, 1)
    with pytest.raises(DeniedError):
        read(master, 0, 1, fields=("ethnicity",))
    one, other = [t for t in master.logs.touched("kit", Which("ada")) if t.act == "get"]
    assert (one.fields, one.requests, one.persons, one.first, one.last) == (("name",), 2, 11, first, last)
    assert (other.fields, other.requests, other.persons) == ((), 1, 1)


# -- the index of a long log -------------------------------------------------------------------


@pytest.fixture
def short_chunks(monkeypatch):
    for module in (logindex, logsearch):
        monkeypatch.setattr(module, "CHUNK_LEAVES", 16)
    monkeypatch.setattr(logsearch, "AT_ONCE", 3)


def fill(master, whose):
    """Entries by (actor, credential), one a second."""
    with master._core.state.write() as rows:
        start = rows.execute("SELECT max(number) FROM leaf").fetchone()[0] + 1
        for at, (actor, credential) in enumerate(whose):
            time = int(2e12) + 1000 * at
            entry = Entry(time, "x", actor, "allowed", credential=credential, extras={"of": "ada", "actor": "bob"})
            rows.execute("INSERT INTO leaf VALUES (?, ?, ?)", (start + at, time, entry.to_bytes()))
    master._core.journal.undone()


@pytest.mark.parametrize("dense", [2, 100])
def test_with_and_without_the_index_the_answers_are_the_same(tmp_path, short_chunks, monkeypatch, dense):
    """Every filter, forwards and backwards, before the index, with half of it, and with all of it."""
    monkeypatch.setattr(logsearch, "DENSE", dense)

    @settings(max_examples=6)
    @given(whose=st.lists(st.tuples(st.sampled_from(["ada", "bob", 'a"b']), st.sampled_from([None, "c1", "c2"])), min_size=1, max_size=70))
    def answers(whose):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with make(folder, Clock()) as master:
            fill(master, whose[:40])
            check(master)
            logindex.index_more(master._core)
            check(master)
            fill(master, whose[40:])
            check(master)
            assert logindex.index_more(master._core) == (len(whose) + start(master)) // 16 - (min(len(whose), 40) + start(master)) // 16
            check(master)

    def start(master):
        return len([e for e in master.log_entries("kit") if e["act"] != "x"])

    def check(master):
        every = master.log_entries("kit")
        for of in (None, "ada", 'a"b', "nobody"):
            for credential in (None, "c1", "c3"):
                for since, until in ((None, None), (2e9 + 3, None), (2e9 + 3, 2e9 + 30)):
                    wanted = [
                        e for e in every
                        if (of is None or e["actor"] == of) and (credential is None or e.get("credential") == credential)
                        and (since is None or e["time"] >= since * 1000) and (until is None or e["time"] < until * 1000)
                    ]  # fmt: skip
                    which = Which(of, credential, since, until)
                    for most in (1, 5, 1000):
                        assert master.logs.newest("kit", which, most) == wanted[-most:]
                    if credential is None:
                        assert master.log_entries("kit", of=of, since=since, until=until) == wanted
                        assert master.log_entries("kit", 3, 20, of=of) == [e for e in every if 3 <= e["leaf"] < 20 and of in {None, e["actor"]}]

    answers()


def test_the_index_is_made_in_the_background_and_once(tmp_path, short_chunks):
    """Two processes do not do a chunk twice; a third finds all of it."""
    with make(tmp_path / "keys") as one, reopen(tmp_path / "keys") as two:
        fill(one, [("ada", None)] * 50)
        assert logindex.index_more(one._core) == 3
        assert logindex.index_more(two._core) == 0
        rows = one._core.state.read()
        known = {row[0] for row in rows.execute("SELECT chunk FROM leaf_of WHERE name = 'ada'").fetchall()}
        assert known == {entry["leaf"] // 16 for entry in one.log_entries("kit", of="ada", stop=48)}


# -- labels --------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_labels_lead_to_their_tokens_and_to_no_other(count, seed, tie):
    """Of some days at once, with strangers among the labels, tokens that come twice, and halves that are equal."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 256, (count, 16), np.uint8)
    keys = {day: rng.bytes(32) for day in (1, 2)}
    wanted = {1: tokens[: count // 2 + 1], 2: tokens[count // 3 :]}
    strangers = rng.integers(0, 256, (3, 16), np.uint8)
    labels = {day: np.concatenate([cmac_column(keys[day], some), strangers, some_twin(keys[day], some, tie)]) for day, some in wanted.items()}
    matching = Matching(keys, labels)
    for start in range(0, count, 7):
        matching.look(tokens[start : start + 7])
        matching.look(tokens[start : start + 3])
    for day, some in wanted.items():
        owners = matching.owners(day)
        np.testing.assert_array_equal(matching.found[owners[: len(some)]], some)
        assert (owners[len(some) :] == -1).all()
    assert matching.left


def some_twin(key, tokens, count):
    """Labels that share their first half with one that is looked for."""
    twin = np.repeat(cmac_column(key, tokens[:1]), count, axis=0)
    twin[:, 8:] ^= np.arange(1, count + 1, dtype=np.uint8)[:, None]
    return twin
