"""Who was put into a table more than once, and what goes out at once with the hits of a look-up."""

import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keymaster_fixtures import ask, finish, identifiers, make, noted, put, reopen

from strongroom.errors import BudgetError, IntegrityError, NotFoundError, UsageError
from strongroom.keymaster import finding, putagain
from strongroom.keymaster.api import AtOnce, Hits
from strongroom.keymaster.putagain import CHUNK_BITS, mark, put_once
from strongroom.keys.rows import counter

TABLE, OTHER = bytes(16), b"o" * 16
FAR = 1 << CHUNK_BITS


def put_indexed(master, names, mobiles, *, commit=True, table="persons"):
    """Put persons with mobile numbers; tokens of subjects, tokens of values and index entries."""
    lease = master.begin_put(actor="kit", table=table, request_id=os.urandom(16))
    batch = master.mint_batch(lease)
    sealing = master.seal_subjects(lease, batch, pa.array(names))
    ordinals = np.arange(len(names), dtype=np.uint32)
    tokens, entries = master.seal_index(lease, batch, "mobile", pa.array(mobiles), sealing.tokens, ordinals)
    if commit:
        finish(master, lease)
    else:
        master.abandon(lease)
    return sealing.tokens, tokens, entries


def opened(master, value, entries, *, most=10, last=False, purpose="support", request=None):
    """The hits of a look-up of one value, with what was released at once; the reading, and how it was asked."""
    reading = master.begin_reading(actor="ada", purpose=purpose, reason="t").reading_id
    token = master.value_tokens(reading, "persons", "mobile", [value])
    tokens = np.repeat(token, len(entries), axis=0)
    wanted = AtOnce(request or os.urandom(16), None, most, 1, last)
    return reading, master.open_hits(reading, "persons", "mobile", tokens, entries, wanted)


def batch_of(master, hits):
    """The batch id of the first hit."""
    sql = "SELECT id FROM batch WHERE sequence = ?"
    return master._core.state.read().execute(sql, (int(hits.sequences[0]),)).fetchone()[0]


def puts(master):
    """How many puts were begun: each remembers a request."""
    return len(noted(master, "put"))


def test_whoever_was_put_once_is_released_with_the_hit(master):
    """Keys as `release` gives them, one entry of the log, one person charged."""
    tokens, _, entries = put_indexed(master, ["p-1", "p-2"], ["111", "222"])
    reading, hits = opened(master, "222", entries[1:])
    assert hits.released.persons == 1
    assert hits.released.remaining["persons/actor/ada/purpose/support/hour"] == 19
    assert [entry.count for _, entry in noted(master, "find")] == [1]
    again = master.release(reading, ask(tokens[1:], batch_of(master, hits)))
    assert again.keys.keys() == hits.released.keys.keys()
    assert all(np.array_equal(again.keys[name], hits.released.keys[name]) for name in again.keys)


@pytest.mark.parametrize(
    "how", ["a put before", "twice in one put", "twice in two batches", "a put that was given up", "another table"]
)
def test_whoever_may_have_an_older_record_is_not(master, how):
    """The hits are opened as without it; nobody is charged, nothing is noted, and the reading goes on."""
    if how == "a put before":
        put_indexed(master, ["p-1"], ["111"])
    elif how == "another table":
        put(master, pa.array(["p-1"]), table="parcels")
    elif how == "a put that was given up":
        put_indexed(master, ["p-1"], ["111"], commit=False)
    names, mobiles = ["p-1", "p-2"], ["222", "333"]
    if how == "twice in one put":
        names, mobiles = ["p-1", "p-2", "p-1"], ["111", "333", "222"]
    tokens, _, entries = put_indexed(master, names, mobiles)
    if how == "twice in two batches":
        put_indexed(master, ["p-1"], ["444"])
    at = mobiles.index("222")
    reading, hits = opened(master, "222", entries[at : at + 1])
    assert hits.released is None
    assert hits.subject_tokens.tobytes() == tokens[at].tobytes()
    assert not noted(master, "find")
    assert len(master.value_tokens(reading, "persons", "mobile", ["333"])) == 1
    _, other = opened(master, "333", entries[1:2])
    assert other.released.persons == 1  # control: who is beside them was put once


def test_control_without_the_marks_an_older_record_is_charged(master, monkeypatch):
    """Control: with every person taken as put once, who has another number by now is charged for the old one."""
    _, _, entries = put_indexed(master, ["p-1"], ["111"])
    put_indexed(master, ["p-1"], ["222"])
    monkeypatch.setattr(finding, "put_once", lambda *_: True)
    _, hits = opened(master, "111", entries)
    assert hits.released.persons == 1


def test_a_mark_is_there_before_anything_can_be_committed(master):
    """A put that has sealed, and goes on: who has a record already may have another any moment."""
    _, _, entries = put_indexed(master, ["p-1", "p-2"], ["111", "222"])
    lease = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    master.seal_subjects(lease, master.mint_batch(lease), pa.array(["p-1"]))
    assert opened(master, "111", entries[:1])[1].released is None
    assert opened(master, "222", entries[1:])[1].released is not None


def test_marks_are_there_after_opening_again(clock, tmp_path):
    """They are in the database."""
    with make(tmp_path / "keys", clock) as master:
        put_indexed(master, ["p-1"], ["111"])
        _, _, entries = put_indexed(master, ["p-1", "p-2"], ["222", "333"])
    with reopen(tmp_path / "keys", clock) as master:
        assert opened(master, "222", entries[:1])[1].released is None
        assert opened(master, "333", entries[1:])[1].released is not None


def test_more_hits_than_are_wanted_are_only_opened(master):
    """Whoever wants one record of two sees first which."""
    _, _, entries = put_indexed(master, ["p-1", "p-2"], ["111", "111"])
    assert opened(master, "111", entries, most=1)[1].released is None
    assert opened(master, "111", entries, most=2)[1].released.persons == 2


def test_an_entry_given_twice_is_released_to_nobody_at_once(master):
    """One row is one record."""
    _, _, entries = put_indexed(master, ["p-1"], ["111"])
    assert opened(master, "111", np.repeat(entries, 2, axis=0))[1].released is None


def test_of_hits_one_of_which_is_uncertain_none_is_released(master):
    """What is charged is what is shown, whole."""
    put_indexed(master, ["p-1"], ["999"])
    _, _, entries = put_indexed(master, ["p-1", "p-2"], ["111", "111"])
    assert opened(master, "111", entries)[1].released is None
    assert not noted(master, "find")


def test_the_erased_are_neither_hits_nor_released(master):
    """Of two under a value one is erased: the other goes out at once."""
    tokens, _, entries = put_indexed(master, ["p-1", "p-2"], ["111", "111"])
    lease = master.begin_maintenance(actor="kit", verb="erase")
    master.erasures.erase(lease, tokens[:1], "asked for it")
    _, hits = opened(master, "111", entries)
    assert hits.subject_tokens.tobytes() == tokens[1].tobytes()
    assert hits.released.persons == 1


def test_who_came_back_is_somebody_new(master):
    """The record of before is dead, the new one the only one."""
    tokens, _, entries = put_indexed(master, ["p-1"], ["111"])
    lease = master.begin_maintenance(actor="kit", verb="erase")
    master.erasures.erase(lease, tokens, "asked for it")
    _, _, later = put_indexed(master, ["p-1"], ["111"])
    _, hits = opened(master, "111", np.concatenate([entries, later]))
    assert len(hits.ordinals) == 1
    assert hits.released.persons == 1


def test_what_is_refused_is_only_opened(master):
    """Nothing is noted; asked for by itself it is refused, and that is."""
    tokens, _, entries = put_indexed(master, [f"p-{n}" for n in range(21)], ["111"] * 21)
    _, hits = opened(master, "111", entries[:20], most=20)
    assert hits.released.persons == 20
    reading, hits = opened(master, "111", entries[20:])
    assert hits.released is None
    assert [entry.decision for _, entry in noted(master, "find")] == ["allowed"]
    with pytest.raises(BudgetError):
        master.release(reading, ask(tokens[20:], batch_of(master, hits), verb="find"))
    assert [entry.decision for _, entry in noted(master, "find")] == ["allowed", "refused"]


@pytest.mark.parametrize("how", ["no such field", "a negative number", "the id of another request"])
def test_nothing_wrong_tells_who_was_put_once(master, how):
    """Whatever is wrong with what is asked, the answer is the same for everybody: else it told, uncharged, of each."""
    put_indexed(master, ["p-1"], ["111"])
    tokens, _, entries = put_indexed(master, ["p-1", "p-2", "p-3"], ["222", "333", "444"])
    reading, hits = opened(master, "444", entries[2:])
    name, fields, looked_up = os.urandom(16), None, 1
    if how == "no such field":
        fields = ("nope",)
    elif how == "a negative number":
        looked_up = -1
    else:
        master.release(reading, ask(tokens[2:], batch_of(master, hits), request_id=name))
    before = len(noted(master, "find", "get"))
    for value, at in (("222", 0), ("333", 1)):
        token = master.value_tokens(reading, "persons", "mobile", [value])
        wanted = AtOnce(name, fields, 10, looked_up)
        assert master.open_hits(reading, "persons", "mobile", token, entries[at : at + 1], wanted).released is None
    assert len(noted(master, "find", "get")) == before
    assert opened(master, "333", entries[1:2])[1].released.persons == 1  # control: asked for rightly


def test_an_id_of_another_length_is_told_whoever_is_asked_for(master):
    """Before anything of a person is looked at."""
    put_indexed(master, ["p-1"], ["111"])
    _, _, entries = put_indexed(master, ["p-1", "p-2"], ["222", "333"])
    for value, at in (("222", 0), ("333", 1)):
        with pytest.raises(UsageError, match="16 bytes"):
            opened(master, value, entries[at : at + 1], request=b"short")


def test_what_was_not_released_at_once_is_released_under_the_same_id(master):
    """An id under which nothing was done is free."""
    put_indexed(master, ["p-1"], ["111"])
    tokens, _, entries = put_indexed(master, ["p-1"], ["222"])
    reading, hits = opened(master, "222", entries, request=b"r" * 16)
    assert hits.released is None
    released = master.release(reading, ask(tokens, batch_of(master, hits), request_id=b"r" * 16, verb="find"))
    assert released.persons == 1
    assert master._core.state.read().execute("SELECT count(*) FROM request").fetchone()[0] == 1 + puts(master)


def test_an_entry_that_another_put_made_up_is_released_to_nobody_at_once(master):
    """Whoever has put somebody keeps their token, and names it in a later put: there is no such record."""
    tokens, _, _ = put_indexed(master, ["p-1"], ["111"])
    lease = master.begin_put(actor="kit", table="persons", request_id=os.urandom(16))
    batch = master.mint_batch(lease)
    master.seal_subjects(lease, batch, pa.array(["p-2"]))
    _, entries = master.seal_index(lease, batch, "mobile", pa.array(["222"]), tokens, np.zeros(1, np.uint32))
    finish(master, lease)
    _, hits = opened(master, "222", entries)
    assert hits.subject_tokens.tobytes() == tokens.tobytes()
    assert hits.released is None


def test_of_a_person_without_a_secret_nothing_is_released_at_once(master):
    """Who has gone from the key pages alone is not found: the others are asked for by themselves."""
    tokens, _, entries = put_indexed(master, ["p-1", "p-2"], ["111", "111"])
    master._core.keys.remove_many(np.ascontiguousarray(tokens[:1]))
    reading, hits = opened(master, "111", entries)
    assert hits.released is None
    released = master.release(reading, ask(hits.subject_tokens, batch_of(master, hits), verb="find"))
    assert released.missing == (0,)


def test_more_hits_than_ever_go_at_once_are_not_counted_one_by_one(master, monkeypatch):
    """Thousands under a value cost what they cost without."""
    count = 200
    _, _, entries = put_indexed(master, [f"p-{n}" for n in range(count)], ["111"] * count)
    monkeypatch.setattr(Hits, "places", lambda _self: pytest.fail("looked at one by one"))
    assert opened(master, "111", entries, most=1000, purpose="bulk")[1].released is None


def test_the_same_request_is_charged_once(master):
    """Asked again under its id it has the same answer, from one entry."""
    _, _, entries = put_indexed(master, ["p-1"], ["111"])
    reading, first = opened(master, "111", entries, request=b"r" * 16)
    token = master.value_tokens(reading, "persons", "mobile", ["111"])
    again = master.open_hits(reading, "persons", "mobile", token, entries, AtOnce(b"r" * 16, None, 10, 1))
    assert (again.released.leaf, again.released.remaining) == (first.released.leaf, first.released.remaining)
    assert len(noted(master, "find")) == 1


def test_the_last_of_a_reading_ends_it(master):
    """What is released at once may be all that is asked; what is only opened ends nothing."""
    put_indexed(master, ["p-2"], ["999"])
    _, _, entries = put_indexed(master, ["p-1", "p-2"], ["111", "222"])
    reading, hits = opened(master, "111", entries[:1], last=True)
    assert hits.released.persons == 1
    with pytest.raises(NotFoundError, match="closed"):
        master.value_tokens(reading, "persons", "mobile", ["222"])
    reading, hits = opened(master, "222", entries[1:], last=True)
    assert hits.released is None
    assert len(master.value_tokens(reading, "persons", "mobile", ["222"])) == 1


def test_while_nobody_was_put_again_no_statement_asks(master):
    """The first mark is counted, in the transaction that writes it; a put of new persons writes none."""
    _, _, entries = put_indexed(master, ["p-1", "p-2"], ["111", "222"])
    state, said = master._core.state, []
    for connection in (state._writer, state.read()):
        connection.set_trace_callback(said.append)
    assert counter(state.read(), "marked") == 0
    assert opened(master, "222", entries[1:])[1].released.persons == 1
    assert not [one for one in said if "put_again" in one]
    put_indexed(master, ["p-1", "p-3"], ["333", "444"])
    assert counter(state.read(), "marked") == 1
    assert len([one for one in said if "INSERT INTO put_again" in one]) == 1
    said.clear()
    assert opened(master, "222", entries[1:])[1].released.persons == 1
    assert [one for one in said if "FROM put_again" in one]  # control
    said.clear()
    put_indexed(master, ["p-1"], ["555"])
    assert counter(state.read(), "marked") == 1  # who is marked is not written again
    assert not [one for one in said if "INSERT INTO put_again" in one]


def test_a_damaged_set_is_told(master):
    """Bytes that are no set of persons stop the look-up; nobody is taken as put once."""
    with master._core.state.write() as rows:
        mark(rows, TABLE, np.arange(5, dtype=np.uint64))
        rows.execute("UPDATE put_again SET persons = ?", (b"nonsense",))
    with pytest.raises(IntegrityError, match="damaged"), master._core.state.write() as rows:
        put_once(rows, TABLE, [3])


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    with make(tmp_path_factory.mktemp("marks") / "keys") as made:
        yield made


ORDINALS = st.lists(st.sampled_from([0, 1, 7, FAR - 1, FAR, FAR + 7, 5 * FAR, 2**40, 2**40 + FAR]), max_size=12)


@given(st.lists(st.tuples(st.booleans(), ORDINALS), max_size=6))
@settings(max_examples=60, deadline=None)
def test_exactly_those_who_were_marked_are(some, steps):
    """Whatever is marked in whatever order, in two tables: a set each."""
    marked = {TABLE: set(), OTHER: set()}
    with some._core.state.write() as rows:
        rows.execute("DELETE FROM put_again")
        for own, ordinals in steps:
            table = TABLE if own else OTHER
            mark(rows, table, np.array(ordinals, np.uint64))
            marked[table].update(ordinals)
        for table, names in marked.items():
            for one in (0, 1, 7, 8, FAR - 1, FAR, FAR + 7, 5 * FAR, 2**40, 2**40 + FAR):
                assert put_once(rows, table, [one]) == (one not in names)
            assert put_once(rows, table, [8, 9])


def test_many_are_marked_at_once(some):
    """A whole table put again is a set of each stretch of persons, and small."""
    with some._core.state.write() as rows:
        rows.execute("DELETE FROM put_again")
        mark(rows, TABLE, np.arange(3 * FAR, dtype=np.uint64)[::-1])
        sizes = [row[0] for row in rows.execute("SELECT length(persons) FROM put_again").fetchall()]
        assert len(sizes) == 3
        assert max(sizes) <= 8192 + 64
        assert not put_once(rows, TABLE, [2 * FAR + 5])
        assert put_once(rows, TABLE, [3 * FAR])


def test_marks_in_a_transaction_that_is_undone_are_none(some):
    """They belong to what was sealed in it."""
    before = putagain.put_once(some._core.state.read(), OTHER, [77])
    with pytest.raises(BudgetError), some._core.state.write() as rows:
        mark(rows, OTHER, np.array([77], np.uint64))
        assert not put_once(rows, OTHER, [77])
        raise BudgetError("spent", remaining=0)
    assert before
    assert put_once(some._core.state.read(), OTHER, [77])


def test_identifiers_that_are_new_are_not_marked(master):
    """A first put, in several batches, marks nobody."""
    for start in (0, 100, 200):
        put(master, identifiers(100, start))
    assert counter(master._core.state.read(), "marked") == 0
