"""Tracing turned against people: framing an export, choosing finds, watching persons. Each control succeeds."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
import tracing_room
from small_room import person
from tracing_room import agreed, canary, opened, plant, trace, write

from strongroom.errors import DeniedError, PolicyError
from strongroom.evidence.code import HALF, RARE
from strongroom.evidence.verdict import judge
from strongroom.keymaster.tracing import outside, tracing
from strongroom.keymaster.tracing.api import SampleFound
from strongroom.purpose.policy import parse_policy
from strongroom.trace.report.facts import to_json
from strongroom.trace.tracing.facts import facts_of

EXTRACT = {"purpose": "extract", "reason": "study 9"}


@pytest.fixture
def room(tracing_template, tmp_path):
    return tracing_template.copy_to(tmp_path / "room")


def exported(room, keys, path, where, recipient="uni-north"):
    with opened(room, keys, "ana") as own:
        return own.export("persons", to=str(path), where=where, recipient=recipient, **EXTRACT).export_id


def entries(keys):
    return [e for e in keys.log_entries("kit") if e["act"] == "trace"]


# -- framing by the set of persons -------------------------------------------------------------


@pytest.fixture
def framed(room, tmp_path):
    """Persons whom one export alone has, published by somebody who knows them; the sample, and the export's id."""
    with room.keymaster() as keys:
        alone = exported(room, keys, tmp_path / "a.csv", "birth_year >= 2000", "uni-south")
        for at, year in enumerate((1960, 1980)):
            exported(room, keys, tmp_path / f"{at}.csv", f"birth_year < {year}")
        sample = write(tmp_path / "s.csv", [person(n) for n in range(300) if person(n)["birth_year"] >= 2000])
        yield keys, sample, alone


def test_attack_rows_of_persons_whom_one_export_alone_has_accuse_nobody(room, framed):
    """They are just its set of persons: neither its id, nor its recipient, nor a share of it is anywhere in the answer."""
    keys, sample, alone = framed
    facts = facts_of(trace(room, keys, sample))
    assert facts.accused == ()
    assert len(facts.excluded) == 2
    said = to_json(facts).decode()
    assert alone not in said
    assert "uni-south" not in said


def test_control_who_accuses_by_the_only_set_that_fits_names_the_innocent(room, framed):
    """The same sample, judged as one would with the ledger alone: the one export that has all persons."""
    keys, sample, alone = framed
    found = trace(room, keys, sample)
    ordinals = set(keys._core.keys.lookup(found.persons).ordinals.tolist())
    ledger = keys.traces._ledger
    fitting = [one.hex() for one in ledger.ids() if ordinals <= set(ledger.persons_of(one))]
    assert fitting == [alone]


# -- framing by planted canaries ---------------------------------------------------------------


@pytest.fixture
def planted(room, tmp_path):
    """Canaries, and exports: what an insider knows of one whose rows he saw in part."""
    with room.keymaster() as keys:
        codes = plant(room, keys, 600, HALF)
        ids = [exported(room, keys, tmp_path / f"{n}.csv", f"birth_year < {2000 + n}") for n in range(4)]
        yield keys, codes, ids


def below_the_bound(codes, ident, ever_issued):
    """As many canaries of an export as stay just below the bound."""
    held = codes.held(ident)
    row = codes.row(bytes.fromhex(ident))
    for count in range(1, len(held)):
        sample = tracing.found(np.zeros(count, np.uint32), np.array(held[:count], np.uint64))
        if not judge([row], sample, ever_issued=ever_issued).silent:
            return held[: count - 1]
    raise AssertionError


def test_attack_planted_canaries_below_the_bound_name_nobody(room, planted, tmp_path):
    """All canaries of the sample are of one export, and there are not enough of them: no name, no id, no recipient."""
    keys, codes, ids = planted
    few = below_the_bound(codes, ids[2], len(ids))
    facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", [canary(n) for n in few])))
    assert facts.accused == ()
    assert facts.weighing.canaries == len(few)
    assert facts.weighing.nearest < facts.weighing.threshold
    assert ids[2] not in to_json(facts).decode()


def test_control_a_rule_of_the_most_canaries_names_it(planted):
    """Who is told the export that holds most of the finds has a name from three canaries on, and may be wrong."""
    _keys, codes, ids = planted
    few = set(below_the_bound(codes, ids[2], len(ids)))
    most = max(ids, key=lambda one: len(few & set(codes.held(one))))
    assert most == ids[2]


def test_attack_random_canaries_from_the_whole_register_accuse_nobody(room, planted, tmp_path):
    """An insider who knows every canary, and no coins, plants hundreds: the innocent stay unnamed."""
    keys, _codes, _ids = planted
    chosen = np.random.default_rng(5).permutation(600)[:300]
    facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", [canary(int(n)) for n in chosen])))
    assert (facts.accused, facts.weighing.canaries) == ((), 300)


def test_control_who_knows_the_coins_frames(room, planted, tmp_path):
    """With the code's root key the same number of canaries accuses whom he likes: the key is nobody's who traces."""
    keys, codes, ids = planted
    facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", [canary(n) for n in codes.held(ids[3])[:250]])))
    assert [one.export.id for one in facts.accused] == [ids[3]]


# -- choosing finds after coins were seen ------------------------------------------------------


def test_attack_finds_chosen_after_the_coins_stand_in_the_log_as_two_traces(room, planted, tmp_path, monkeypatch):
    """Whatever stops the trace once coins are thrown, the digest of all finds is in the log already, and stays."""
    keys, codes, ids = planted
    sample = write(tmp_path / "s.csv", [canary(n) for n in codes.held(ids[0])[:50]])
    seen = []

    def stops(*_args, **_more):
        seen.append([e["extras"]["finds"] for e in entries(keys) if "finds" in e.get("extras", {})])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tracing, "count_held", stops)
        with pytest.raises(KeyboardInterrupt):
            trace(room, keys, sample)
    wanted = tracing.found(np.zeros(50, np.uint32), np.array(codes.held(ids[0])[:50], np.uint64)).digest.hex()
    assert seen == [[wanted]]
    trace(room, keys, write(tmp_path / "t.csv", [canary(n) for n in codes.held(ids[0])[:40]]))
    digests = [e["extras"]["finds"] for e in entries(keys) if "finds" in e.get("extras", {})]
    assert len(set(digests)) == 2


def test_control_noted_afterwards_the_first_choice_leaves_no_trace(room, planted, tmp_path, monkeypatch):
    """With the order turned round, who stops it sees coins, and the log knows nothing of the first finds."""
    keys, codes, ids = planted
    sample = write(tmp_path / "s.csv", [canary(n) for n in codes.held(ids[0])[:50]])
    real = tracing.EmbeddedTraces._note

    def coins_first(self, reading, sample, finds):
        self._verdict(finds)
        return real(self, reading, sample, finds)

    def stops(*_args, **_more):
        raise KeyboardInterrupt

    monkeypatch.setattr(tracing.EmbeddedTraces, "_note", coins_first)
    monkeypatch.setattr(tracing, "count_held", stops)
    with pytest.raises(KeyboardInterrupt):
        trace(room, keys, sample)
    assert [e for e in entries(keys) if "finds" in e.get("extras", {})] == []


# -- watching persons --------------------------------------------------------------------------


def test_attack_one_alone_cannot_trace(room, tmp_path):
    """Without another's agreement no token goes out, and the refusal is in the log; a policy without it is refused."""
    with room.keymaster() as keys:
        with pytest.raises(DeniedError) as refused:
            trace(room, keys, write(tmp_path / "s.csv", [person(7)]), approval=None)
        assert refused.value.rule == "approval.needed"
        assert [e["decision"] for e in entries(keys)] == ["refused"]
        with pytest.raises(DeniedError):
            agreed(keys, by="ines")
        alone = tracing_room.TRACING.replace('approval = { roles = ["chief"], always = true }\n', "", 1)
        policy = tracing_room.policy(alone)
        with pytest.raises(PolicyError, match="agreement every time"):
            parse_policy(policy, keys.schema())


def test_control_with_another_s_agreement_it_goes_on_and_is_noted(room, tmp_path):
    """Every value is a look-up in the log, under the purpose and the reason, and who agreed stands there too."""
    with room.keymaster() as keys:
        trace(room, keys, write(tmp_path / "s.csv", [person(7)]))
        noted = entries(keys)
        assert sum(e["extras"].get("values", 0) for e in noted) == 3
        assert {e["purpose"] for e in noted} == {"incident"}
        assert [e["actor"] for e in keys.log_entries("kit") if e["act"] == "approve"] == ["max"]


def test_attack_a_sample_of_one_person_does_not_tell_which_exports_have_them(room, tmp_path):
    """Eleven exports lack the person: none is named; nor is any table told that the sample has no column of."""
    with room.keymaster() as keys:
        for at in range(11):
            exported(room, keys, tmp_path / f"{at}.csv", f"birth_year = {1960 + at}")
        facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", [person(7)])))
    assert facts.excluded == ()
    assert {one.table for one in facts.affected.tables} == {"persons"}


def test_control_without_the_least_number_of_persons_it_tells(room, tmp_path, monkeypatch):
    """With the rule off each export that lacks the person is named: tracing would be a way to watch people."""
    monkeypatch.setattr(outside, "EXCLUDING_PERSONS_MIN", 1)
    with room.keymaster() as keys:
        for at in range(11):
            exported(room, keys, tmp_path / f"{at}.csv", f"birth_year = {1960 + at}")
        facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", [person(7)])))
    assert len(facts.excluded) == 11


def begun(keys):
    reading = keys.begin_reading(actor="ines", purpose="incident", reason="r", approval=agreed(keys))
    return reading.reading_id


def sample_of(tokens):
    size = len(tokens)
    return SampleFound(
        tokens, np.ones(size, np.bool_), np.zeros(size, np.uint64), [("persons", "mobile")], bytes(32), size, 1.0
    )


def tokens_of(keys, count=30):
    """Tokens of persons, as somebody has them who saw blocks of records."""
    from strongroom.seal.tokens import tokens

    names = pa.array([person(n)["person_id"] for n in range(count)])
    return tokens(keys._core.subject.inner, keys._core.subject.outer, names)


def test_attack_persons_whom_the_trace_did_not_find_are_neither_weighed_nor_released(room):
    """Tokens from elsewhere would be a question that costs no look-up: refused, and no key goes out."""
    with room.keymaster() as keys:
        reading, stolen = begun(keys), tokens_of(keys)
        with pytest.raises(DeniedError):
            keys.traces.weigh(reading, sample_of(stolen))
        with pytest.raises(DeniedError):
            keys.traces.versions(reading, "persons", ["mobile"], stolen, np.zeros((30, 16), np.uint8))
        with pytest.raises(DeniedError):
            keys.traces.open_hits(reading, "persons", "mobile", stolen, np.zeros((30, 44), np.uint8))
        with pytest.raises(DeniedError):
            keys.traces.behind_tokens(reading, "00" * 16, "persons", "person_id", pa.array(["t1"]), 3)


def test_control_the_same_persons_once_they_were_looked_up(room):
    """Each by a look-up that is spent: they are weighed."""
    with room.keymaster() as keys:
        reading, stolen = begun(keys), tokens_of(keys)
        names = pa.array([person(n)["person_id"] for n in range(30)])
        looked = keys.traces.look_up(reading, "persons", "person_id", names, 3)
        assert np.array_equal(looked.tokens, stolen)
        assert looked.there.all()
        assert keys.traces.weigh(reading, sample_of(stolen)).persons == 30


def test_attack_a_canary_s_record_is_not_released_for_its_versions(room, tmp_path):
    """Whoever traces canaries alone to read them gets no key: they are missing, like the erased, and nobody is charged."""
    with room.keymaster() as keys:
        plant(room, keys, 200, RARE)
        sample = write(tmp_path / "s.csv", [canary(n) for n in range(40)])
        found = trace(room, keys, sample)
        counts = [e["count"] for e in entries(keys) if "count" in e]
    assert counts == [0]
    assert found.weighed.persons == 0
    assert found.dated is None or found.dated.dating.rows == 0


def test_attack_no_value_is_in_the_answer_the_log_or_an_error(room, tmp_path):
    """Of a sample with values of persons, and one that is refused in the middle."""
    rows = [person(n) for n in range(40)]
    with room.keymaster() as keys:
        said = to_json(facts_of(trace(room, keys, write(tmp_path / "s.csv", rows)))).decode()
        many = [{"mobile": str(13_000_000_000 + n)} for n in range(100_001)]
        with pytest.raises(DeniedError) as refused:
            trace(room, keys, write(tmp_path / "m.csv", many))
        log = json.dumps(keys.log_entries("kit"))
    for text in (said, log, str(refused.value), str(refused.value.hint)):
        assert not any(value in text for row in rows for value in (row["mobile"], row["name"], row["id_number"]))
        assert "13000000001" not in text


def test_the_bound_is_that_of_all_exports_ever_issued(room, planted, tmp_path):
    """N counts the exports of the ledger, those without canaries too: the threshold is ln(N/ε)."""
    keys, codes, ids = planted
    exported(room, keys, tmp_path / "more.csv", "birth_year < 1990")
    facts = facts_of(trace(room, keys, write(tmp_path / "s.csv", [canary(n) for n in codes.held(ids[0])[:5]])))
    assert facts.weighing.ever_issued == 5
    assert math.isclose(facts.weighing.threshold, math.log(5 / 1e-9))
