"""What a question to the log costs: by its answer, not by the log. Counted in steps of the database, not by the clock."""

import contextlib
import shutil

import pytest
from keymaster_fixtures import Clock, ask, identifiers, make, put, reopen

from strongroom.audit.entry import Entry
from strongroom.keymaster.log import index as logindex
from strongroom.keymaster.log import search as logsearch
from strongroom.keymaster.log.api import Which

CHUNK = 1_024
SHORT, LONG = 4, 32
"""Chunks of a log."""
ANSWER = 96
CREDENTIAL = "c" * 32
CHUNK_STEPS = 60
"""What a chunk that has nothing costs: a look into the index, for each name."""


def grown(master, chunks):
    """A log of so many chunks, indexed, with so many entries of a stolen credential, in all of it alike."""
    with master._core.state.write() as inside:
        first, time = inside.execute("SELECT max(number) + 1, max(time) FROM leaf").fetchone()
        last = chunks * CHUNK
        step = (last - first) // ANSWER
        leaves = []
        for at, number in enumerate(range(first, last)):
            stolen = at % step == 0 and at // step < ANSWER
            entry = Entry(
                time + at * 1_000, "export" if stolen and at // step % 8 == 0 else "get", "mei" if stolen else "ada", "allowed",
                purpose="case-work", legal_basis="contract", table="persons", fields=("name",), count=2,
                extras={"export": f"{number:032x}"}, credential=CREDENTIAL if stolen else "d" * 32,
            )  # fmt: skip
            leaves.append((number, entry.time, entry.to_bytes()))
        inside.executemany("INSERT INTO leaf VALUES (?, ?, ?)", leaves)
    logindex.index_more(master._core)
    return leaves[len(leaves) // 4][1] / 1_000, leaves[3 * len(leaves) // 4][1] / 1_000


@contextlib.contextmanager
def counted(master):
    """Steps that the database makes for this thread's questions, in a list of one."""
    steps, rows = [0], master._core.state.read()

    def step():
        steps[0] += 1

    rows.set_progress_handler(step, 1)
    try:
        yield steps
    finally:
        rows.set_progress_handler(None, 1)


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """A short log and one eight times as long, made once: folders, a time after a quarter and one after three."""
    folder, made = tmp_path_factory.mktemp("logs"), []
    with pytest.MonkeyPatch.context() as patch:
        for module in (logindex, logsearch):
            patch.setattr(module, "CHUNK_LEAVES", CHUNK)
        for chunks in (SHORT, LONG):
            with make(folder / f"keys{chunks}", Clock()) as master:
                made.append((folder / f"keys{chunks}", *grown(master, chunks)))
    return made


@pytest.fixture
def costs(templates, tmp_path, clock, monkeypatch):
    """A function: what questions cost in a short log and in one eight times as long, which have the same answers."""
    for module in (logindex, logsearch):
        monkeypatch.setattr(module, "CHUNK_LEAVES", CHUNK)
    logs = []
    for template, since, until in templates:
        folder = shutil.copytree(template, tmp_path / template.name)
        logs.append((reopen(folder, clock), since, until))

    def both(question):
        found = []
        for master, since, until in logs:
            with counted(master) as steps:
                answer = question(master.logs, since, until)
            found.append((answer, steps[0]))
        return found

    yield both
    for master, *_ in logs:
        master.close()


QUESTIONS = {
    "actor": lambda logs, _since, _until: logs.touched("kit", Which(of="mei")),
    "credential": lambda logs, _since, _until: logs.touched("kit", Which(credential=CREDENTIAL)),
    "both": lambda logs, _since, _until: logs.touched("kit", Which("mei", CREDENTIAL)),
    "from and to": lambda logs, since, until: logs.touched("kit", Which("mei", None, since, until)),
    "newest": lambda logs, _since, _until: logs.newest("kit", Which(of="mei"), 20),
}


def requests(answer):
    return sum(getattr(one, "requests", 1) for one in answer)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_costs_by_its_answer_not_by_the_log(costs, question):
    """In a log eight times as long the same answer takes a look into the index more a chunk, and no more entries read."""
    (short, few), (long, many) = costs(QUESTIONS[question])
    assert 0 < requests(short) <= ANSWER
    assert abs(requests(long) - requests(short)) <= 1
    assert many - few <= (LONG - SHORT) * CHUNK_STEPS
    assert few < SHORT * CHUNK


def test_which_exports_is_answered_with_it(costs):
    """What the actor touched, added up: exports by themselves, with their fields."""
    for answer, _ in costs(QUESTIONS["actor"]):
        assert {(one.act, one.table, one.fields, one.requests) for one in answer} == {
            ("get", "persons", ("name",), ANSWER - ANSWER // 8), ("export", "persons", ("name",), ANSWER // 8),
        }  # fmt: skip


def test_control_without_the_index_it_costs_by_the_log(costs, monkeypatch):
    """Control: read through, the same answer takes eight times as much in a log eight times as long."""
    monkeypatch.setattr(logsearch, "DENSE", 0)
    (short, few), (long, many) = costs(QUESTIONS["actor"])
    assert requests(short) == requests(long) == ANSWER
    assert few > SHORT * CHUNK
    assert many > 6 * few


def test_every_statement_of_a_question_goes_by_an_index(tmp_path, clock, monkeypatch):
    """The database's own plans: entries, positions and labels are looked up, never gone through."""
    for module in (logindex, logsearch):
        monkeypatch.setattr(module, "CHUNK_LEAVES", 16)
    said = []
    with make(tmp_path / "keys", clock) as master:
        batch, sealing = put(master, identifiers(40))
        for _ in range(20):
            clock.now += 60
            grant = master.begin_reading(actor="ada", purpose="bulk", reason="r")
            master.release(grant.reading_id, ask(sealing.tokens[:3], batch))
        assert logindex.index_more(master._core) >= 2
        rows = master._core.state.read()
        rows.set_trace_callback(said.append)
        for which in (Which("ada"), Which("ada", None, clock.now - 600, clock.now - 60), Which(None, CREDENTIAL)):
            master.logs.touched("kit", which)
            master.logs.newest("kit", which, 5)
            assert len(master.logs.persons("kit", which, "incident 9")) == (0 if which.credential else 3)
        rows.set_trace_callback(None)
        tables = ("leaf", "leaf_of", "leaf_labels")
        asked = {text for text in said if text.startswith("SELECT") and any(f" FROM {name} " in text + " " for name in tables)}
        plans = {text: " ".join(row[3] for row in rows.execute(f"EXPLAIN QUERY PLAN {text}").fetchall()) for text in asked}
    assert {name for name in tables for text in asked if f" FROM {name} " in text + " "} == set(tables)
    assert [text for text, plan in plans.items() if "SCAN" in plan or "SEARCH" not in plan] == []
