"""Actors, processes, requests and clocks against the budgets."""

import json
import multiprocessing
import os

import attack_kit
import numpy as np
import pytest
from keymaster_fixtures import POLICY, Clock, ask, finish_after, identifiers, make, put, reopen

from strongroom.errors import BudgetError, ConflictError
from strongroom.keymaster import core, ledger
from strongroom.keymaster.log.journal import Journal
from strongroom.purpose import budget

assert attack_kit
CONTEXT = multiprocessing.get_context("forkserver")  # each opens the keymaster itself, and none of them loads it anew
CONTEXT.set_forkserver_preload(["pytest", "strongroom"])
ROOM = "budget = { hour = 500000, day = 500000, month = 5000000 }"


def many_actors(count=1000, room=40):
    actors = "".join(f'[actors.a{i}]\nroles = ["reader"]\n' for i in range(count))
    return POLICY.replace(ROOM, f"budget = {{ hour = {room}, day = {room}, month = {room} }}") + actors


def release_by_each(master, actors, tokens, batch):
    """Each actor has one person released, another one each time; how many were."""
    released, rules = 0, set()
    for at in actors:
        reading = master.begin_reading(actor=f"a{at}", purpose="support", reason="t").reading_id
        try:
            released += master.release(reading, ask(tokens[at : at + 1], batch)).persons
        except BudgetError as error:
            rules.add(error.rule)
    return released, rules


def test_attack_a_thousand_fresh_actors(tmp_path):
    """A thousand fresh actors take one person each under a budget of their own: the room's budget ends it at 40."""
    with make(tmp_path / "keys", policy=many_actors()) as master:
        batch, sealing = put(master, identifiers(1000))
        released, rules = release_by_each(master, range(1000), sealing.tokens, batch)
        assert (released, {rule.rsplit("/", 1)[0] for rule in rules}) == (40, {"persons/room"})


def test_control_without_the_ledgers_check_they_take_what_they_ask(tmp_path, monkeypatch):
    """Control: with the ledger's check patched out, each of the first hundred actors gets its person."""
    monkeypatch.setattr(ledger, "check_fits", lambda *args: None)
    with make(tmp_path / "keys", policy=many_actors(100)) as master:
        batch, sealing = put(master, identifiers(100))
        assert release_by_each(master, range(100), sealing.tokens, batch)[0] == 100


def test_attack_one_request_id_for_many_persons(tmp_path):
    """A reader repeats one request id for other persons so as to pay once: the id is bound to what was asked first."""
    with make(tmp_path / "keys") as master:
        batch, sealing = put(master, identifiers(60))
        reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
        request = os.urandom(16)
        master.release(reading, ask(sealing.tokens[:1], batch, request_id=request))
        for at in range(1, 50):
            with pytest.raises(ConflictError):
                master.release(reading, ask(sealing.tokens[at : at + 1], batch, request_id=request))


def test_control_without_the_digest_one_id_pays_for_all(tmp_path, monkeypatch):
    """Control: when a known id is answered without comparing what was asked, fifty persons cost one."""

    def careless(rows, request):
        row = rows.execute("SELECT answer FROM request WHERE id = ?", (request.id,)).fetchone()
        return None if row is None else json.loads(row[0])

    monkeypatch.setattr(core, "_answered", careless)
    with make(tmp_path / "keys") as master:
        batch, sealing = put(master, identifiers(60))
        reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
        request = os.urandom(16)
        for at in range(50):
            keys = master.release(reading, ask(sealing.tokens[at : at + 1], batch, request_id=request)).keys
            assert np.array_equal(keys["contact"][0], sealing.keys["contact"][at])


def racer(folder, first, batch, tokens, checked, start, out):
    """One process of the race: opens the keymaster and has persons released until it is refused."""
    if not checked:
        ledger.check_fits = lambda *args: None
    with reopen(folder) as master:
        reading = master.begin_reading(actor="ada", purpose="support", reason=f"race {first}").reading_id
        start.wait(300)
        count = 0
        for at in range(20):
            row = np.frombuffer(tokens[at * 16 : at * 16 + 16], np.uint8).reshape(1, 16)
            try:
                count += master.release(reading, ask(row, batch)).persons
            except BudgetError:
                pass
        out.put(count)


def race(folder, batch, tokens, checked, processes=8):
    start, out = CONTEXT.Barrier(processes), CONTEXT.Queue()
    children = [
        CONTEXT.Process(
            target=racer, args=(folder, n, batch, tokens[20 * n : 20 * n + 20].tobytes(), checked, start, out)
        )
        for n in range(processes)
    ]
    for child in children:
        child.start()
    counts = [out.get(timeout=300) for _ in children]
    for child in children:
        child.join(60)
    return sum(counts)


def test_attack_a_budget_is_raced_by_eight_processes(tmp_path, either_database):
    """Eight processes spend one budget at once: decision and spend are one transaction, twenty persons leave in all."""
    with make(tmp_path / "keys", **either_database) as master:
        batch, sealing = put(master, identifiers(160))
    assert race(tmp_path / "keys", batch, sealing.tokens, checked=True) == 20


def test_control_without_the_check_the_racers_take_more(tmp_path, either_database):
    """Control: with the ledger's check patched out in each process, two of them take all that they ask for."""
    with make(tmp_path / "keys", **either_database) as master:
        batch, sealing = put(master, identifiers(40))
    assert race(tmp_path / "keys", batch, sealing.tokens, checked=False, processes=2) == 40


def putter(folder, first, checked, start, out):
    """One process of a race of puts: one that it takes back, then more until it is refused; how many it committed."""
    if not checked:
        ledger.check_fits = lambda *args: None
    with reopen(folder) as master:
        start.wait(300)
        count = 0
        for at in range(8):
            lease = master.begin_put(actor="tom", table="persons", request_id=os.urandom(16))
            try:
                master.seal_subjects(lease, master.mint_batch(lease), identifiers(5, 1000 * first + 5 * at))
                if at:
                    finish_after(master, lease)
                    count += 5
                else:
                    master.abandon(lease)
            except BudgetError:
                master.abandon(lease)
        out.put(count)


def race_of_puts(folder, checked, processes=8):
    start, out = CONTEXT.Barrier(processes), CONTEXT.Queue()
    children = [CONTEXT.Process(target=putter, args=(folder, n, checked, start, out)) for n in range(processes)]
    for child in children:
        child.start()
    counts = [out.get(timeout=300) for _ in children]
    for child in children:
        child.join(60)
    return sum(counts)


def test_attack_a_put_budget_is_raced_by_eight_processes(tmp_path):
    """Eight processes put under one budget and take puts back: what is committed and what is left are the budget."""
    make(tmp_path / "keys").close()
    committed = race_of_puts(tmp_path / "keys", checked=True)
    assert 0 < committed <= 100
    with reopen(tmp_path / "keys") as master:
        with pytest.raises(BudgetError) as refused:
            put(master, identifiers(101), actor="tom")
        assert refused.value.remaining == 100 - committed


def test_control_without_the_check_the_putters_commit_more(tmp_path):
    """Control: with the ledger's check patched out in each process, four of them commit all that they have."""
    make(tmp_path / "keys").close()
    assert race_of_puts(tmp_path / "keys", checked=False, processes=4) == 4 * 7 * 5


def seal_without_end(master, most=20):
    """Seals fifty persons again and again and never commits; how many were sealed for."""
    for at in range(most):
        lease = master.begin_put(actor="tom", table="persons", request_id=os.urandom(16))
        try:
            master.seal_subjects(lease, master.mint_batch(lease), identifiers(50, 50 * at))
        except BudgetError:
            return 50 * at
        finally:
            master.abandon(lease)
    return 50 * most


def test_attack_a_put_is_taken_back_to_try_more_subjects(tmp_path):
    """Whoever puts learns tokens, so what was sealed comes back only once: of a budget of 100, 200 in a day in all."""
    clock = Clock()
    with make(tmp_path / "keys", clock) as master:
        assert seal_without_end(master) == 200
        assert seal_without_end(master) == 0
        clock.now += 25 * 3600
        assert seal_without_end(master) == 200


def test_control_without_the_limit_of_what_comes_back_there_is_no_end(tmp_path, monkeypatch):
    """Control: when all that was not committed comes back, a thousand are sealed for."""
    real = ledger.window_limit

    def wide(scope, window, most):
        return real(scope, window, 10**9 if scope.startswith("returned/") else most)

    monkeypatch.setattr(ledger, "window_limit", wide)
    with make(tmp_path / "keys") as master:
        assert seal_without_end(master) == 1000


def enumerate_numbers(master, stop=400):
    """Looks numbers up one by one; how many tokens came out."""
    reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
    for at in range(stop):
        try:
            master.value_tokens(reading, "persons", "mobile", [f"138{at:08}"])
        except BudgetError as error:
            return at, error.rule
    return stop, None


def test_attack_a_number_space_is_enumerated(tmp_path):
    """A reader tries every number: each look-up counts, hit or miss, and the hundredth of the hour is the last."""
    with make(tmp_path / "keys") as master:
        assert enumerate_numbers(master) == (100, "lookups/actor/ada/purpose/support/hour")
        assert enumerate_numbers(master)[0] == 0


def test_attack_hits_and_misses_cost_the_same_in_a_room(room):
    """A dispatcher asks for numbers of persons and of nobody in turn: the look-up budget ends both together."""
    from small_room import person

    import strongroom

    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="crawler") as r:
        with r.read(purpose="delivery", reason="t") as desk:
            known = [person(n)["mobile"] for n in range(2)]
            for at in range(100):
                value = known[at % 4 // 2] if at % 2 else f"137{at:08}"
                assert len(desk.find("persons", {"mobile": value})) == at % 2
            for value in (known[0], "13712345678"):
                with pytest.raises(BudgetError) as refused:
                    desk.find("persons", {"mobile": value})
                assert "lookups" in refused.value.rule


def test_control_without_the_check_the_space_is_enumerated(tmp_path, monkeypatch):
    """Control: with the ledger's check patched out, look-ups go on."""
    monkeypatch.setattr(ledger, "check_fits", lambda *args: None)
    with make(tmp_path / "keys") as master:
        assert enumerate_numbers(master, 150) == (150, None)


@pytest.mark.parametrize("back", [1, 3600, 86_400, 40 * 86_400])
def test_attack_the_clock_is_set_back(tmp_path, back):
    """The clock is set back, also over a restart: time never goes below the last leaf, and the budget stays spent."""
    clock = Clock()
    with make(tmp_path / "keys", clock) as master:
        batch, sealing = put(master, identifiers(40))
        reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
        master.release(reading, ask(sealing.tokens[:20], batch))
    clock.now -= back
    with reopen(tmp_path / "keys", clock) as master:
        reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
        with pytest.raises(BudgetError):
            master.release(reading, ask(sealing.tokens[20:21], batch))


@pytest.mark.parametrize("back", [7_200, 40 * 86_400])
def test_control_a_keymaster_that_believes_the_clock_spends_twice(tmp_path, monkeypatch, back):
    """Control: without the time of the last leaf, and with slots ahead of the clock not counted, it is unspent."""
    monkeypatch.setattr(Journal, "now", lambda self, rows: self._clock())
    monkeypatch.setattr(budget, "spent", lambda limit, now, counts: counts.get(limit.slot(now), 0))
    clock = Clock()
    with make(tmp_path / "keys", clock) as master:
        batch, sealing = put(master, identifiers(40))
        reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
        master.release(reading, ask(sealing.tokens[:20], batch))
    clock.now -= back
    with reopen(tmp_path / "keys", clock) as master:
        reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
        assert master.release(reading, ask(sealing.tokens[20:40], batch)).persons == 20


def test_control_time_that_passes_renews_the_budget(tmp_path):
    """Control: when the hour has really passed, the same request is answered."""
    clock = Clock()
    with make(tmp_path / "keys", clock) as master:
        batch, sealing = put(master, identifiers(40))
        reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
        master.release(reading, ask(sealing.tokens[:20], batch))
        clock.now += 3900
        reading = master.begin_reading(actor="ada", purpose="support", reason="t").reading_id
        assert master.release(reading, ask(sealing.tokens[20:21], batch)).persons == 1
