"""A sample traced through a keymaster's server by somebody's own credential: what comes out is what comes out embedded."""

import csv
import json
from dataclasses import replace

import pyarrow as pa
import pytest
import tracing_room
from served_room import Served
from small_room import person
from tracing_room import PLANTED, agreed, canary, opened, plant, write

from strongroom.errors import DeniedError, IntegrityError, NotFoundError
from strongroom.evidence.code import RARE
from strongroom.keyserver.client_traces import RemoteTraces
from strongroom.listener.address import Listen
from strongroom.trace.report.facts import to_json
from strongroom.trace.tracing.facts import facts_of

DAY = 86_400.0
INCIDENT = {"purpose": "incident", "reason": "incident 7"}
WHOLE = tracing_room.TRACING.replace(
    'tables.persons = { person_id = "plain", name = "plain", mobile = "plain" }',
    'tables.persons = { identity = "plain", contact = "plain", open = "plain" }',
)
"""A direct caller's list has whole classes: it masks nothing."""


@pytest.fixture(scope="module")
def leak(tmp_path_factory):
    """A room that moved twice, canaries, four exports, and a sample of three files: rows, text tokens, tokens of a form."""
    folder = tmp_path_factory.mktemp("served")
    room = tracing_room.make(folder / "room", WHOLE)
    with room.keymaster() as keys:
        now = [keys._core.clock()]
        keys._core.clock = keys._core.journal._clock = lambda: now[0]
        codes = plant(room, keys, PLANTED, RARE)
        ids = {}
        for name, more in {
            "whole": {"purpose": "extract", "recipient": "uni-north"},
            "part": {"purpose": "extract", "recipient": "uni-south", "where": "birth_year < 1990"},
            "text": {"purpose": "coded", "recipient": "uni-north"},
            "form": {"purpose": "coded", "recipient": "uni-south", "where": "birth_year < 2000"},
        }.items():
            with opened(room, keys, "ana") as own:
                ids[name] = own.export("persons", to=str(folder / f"{name}.csv"), reason="study 9", **more).export_id
        for turn in (1, 2):
            now[0] += DAY
            with opened(room, keys, "kit") as own:
                own._session.now = lambda: now[0]
                moved = [{**person(n), "address": f"新路 {turn}-{n}"} for n in range(300) if n % 3 == turn]
                own.put("persons", pa.Table.from_pylist(moved))
    rows = [{**person(n), **({"address": f"新路 1-{n}"} if n % 3 == 1 else {})} for n in range(0, 300, 2)]
    coded = {name: list(csv.DictReader((folder / f"{name}.csv").open(encoding="utf-8", newline=""))) for name in ("text", "form")}
    sample = [
        write(folder / "s.csv", rows + [canary(n) for n in codes.held(ids["whole"])]),
        write(folder / "t.csv", [{"person_id": row["person_id"], "year": row["birth_year"]} for row in coded["text"]]),
        write(folder / "f.csv", [{"mobile": row["mobile"]} for row in coded["form"]]),
    ]
    return room, sample, ids, codes, now[0] + DAY


def traced(room, keys, sample, now, approval, **more):
    with opened(room, keys) as own:
        own._session.now = lambda: now
        return own.trace(sample, approval=approval, **INCIDENT, **more)


def told(found):
    """The facts but for when they were noted."""
    facts = json.loads(to_json(facts_of(found)))["facts"]
    facts.pop("entry"), facts["weighing"].pop("finds_entry")
    return facts


def test_through_a_server_it_says_what_it_says_embedded(leak, tmp_path):
    """Persons, verdict, excluded exports, tokens of both sorts, and a date; spent and noted alike, under the credential."""
    template, sample, ids, codes, now = leak
    room = template.copy_to(tmp_path / "room")
    with Served(room.keymaster()) as served:
        own = served.keymaster
        own._core.clock = own._core.journal._clock = lambda: now
        codes.keys = own
        own.traces._codes = codes
        here = traced(room, own, sample, now, agreed(own))
        credential = served.credential("ines")
        with served.connect(credential) as keys:
            there = traced(room, keys, sample, now, agreed(own))
        entries = [e for e in own.log_entries("kit") if e["act"] == "trace"]
    assert told(here) == told(there)
    facts = facts_of(there)
    assert {one.export.id for one in facts.accused} == {ids["whole"], ids["text"], ids["form"]}
    assert [one.export.id for one in facts.excluded] == [ids["part"]]
    assert facts.dating.claimed
    assert facts.affected.persons == 300
    embedded, wire = ([e for e in entries if e.get("credential") == name] for name in (None, credential.id))
    assert [e["extras"] for e in embedded] == [e["extras"] for e in wire]
    assert sum(e["extras"].get("values", 0) for e in wire) >= there.costs.lookups > 1_000


def hiding(shown):
    """A policy under which a trace is shown these fields of persons."""
    whole = 'tables.persons = { identity = "plain", contact = "plain", open = "plain" }'
    return tracing_room.TRACING.replace(whole, f'tables.persons = {{ identity = "plain", {shown} }}', 1)


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("shown", ['mobile = "plain", address = "masked", open = "plain"', 'contact = "plain", sex = "plain"'])
def test_versions_go_to_a_direct_caller_only_where_all_of_it_is_plain(tmp_path, shown, server):
    """A key would open the masked address, and a block has the year of birth: no date, and why; a server's credential has one."""
    room = tracing_room.make(tmp_path / "room", hiding(shown))
    sample = write(tmp_path / "s.csv", [{**person(n), "address": ""} for n in range(60)])
    with Served(room.keymaster()) as served:
        with served.connect(served.credential("ines", server=server)) as keys:
            found = traced(room, keys, sample, served._core.clock(), agreed(served))
        released = [e for e in served.log_entries("kit") if e["act"] == "trace" and "count" in e]
    assert found.weighed.persons == 60
    if server:
        assert [e["count"] for e in released] == [60]
    else:
        assert (found.dated, released) == (None, [])
        assert "a server" in found.undated


def test_a_keymaster_started_anew_in_the_middle_ends_the_trace(leak, tmp_path, monkeypatch):
    """Said as a reading that is closed; what was looked up stays spent, nothing is weighed, and a new trace works."""
    template, sample, _ids, _codes, _now = leak
    room = template.copy_to(tmp_path / "room")
    served = Served(room.keymaster())
    credential, approval = served.credential("ines"), agreed(served)
    port, real = served._server.port, RemoteTraces.weigh

    def restarted(self, reading_id, sample):
        nonlocal served
        served.close()
        served = Served(room.keymaster(), Listen("127.0.0.1", port))
        return real(self, reading_id, sample)

    with served.connect(credential) as keys:
        with monkeypatch.context() as patch:
            patch.setattr(RemoteTraces, "weigh", restarted)
            with pytest.raises(NotFoundError, match="closed or has expired"):
                traced(room, keys, sample[0], served._core.clock(), approval)
        noted = [e["extras"] for e in served.log_entries("kit") if e["act"] == "trace"]
        assert any("values" in one for one in noted)
        assert not any("finds" in one for one in noted)
        found = traced(room, keys, sample[0], served._core.clock(), approval)
    assert found.weighed.persons == 150
    served.close()


def test_a_keymaster_that_releases_versions_without_keys_is_told(leak, tmp_path, monkeypatch):
    """A class of whose fields there is no key: an error that says so, not a date."""
    template, sample, _ids, _codes, _now = leak
    room = template.copy_to(tmp_path / "room")
    real = RemoteTraces.versions
    monkeypatch.setattr(RemoteTraces, "versions", lambda *given: replace(real(*given), keys={}))
    with Served(room.keymaster()) as served, served.connect(served.credential("ines")) as keys:
        with pytest.raises(IntegrityError, match="gave no keys of class"):
            traced(room, keys, sample[0], served._core.clock(), agreed(served))


def test_a_list_to_notify_is_made_through_a_server(leak, tmp_path):
    """An export like any other, of the persons that were found."""
    template, sample, _ids, _codes, _now = leak
    room = template.copy_to(tmp_path / "room")
    with Served(room.keymaster()) as served, served.connect(served.credential("ines")) as keys:
        with opened(room, keys) as own:
            found = own.trace(sample[0], approval=agreed(served), persons=0, **INCIDENT)
            made = own.notification_list(
                found, "persons", to=str(tmp_path / "list.jsonl"), recipient="notices", purpose="told", reason="incident 7"
            )
    assert made.persons == 150


def test_one_alone_is_refused_over_the_wire(leak, tmp_path):
    """Without another's agreement no token goes out; the refusal is in the log."""
    template, sample, _ids, _codes, _now = leak
    room = template.copy_to(tmp_path / "room")
    with Served(room.keymaster()) as served, served.connect(served.credential("ines")) as keys:
        with pytest.raises(DeniedError) as refused:
            traced(room, keys, sample[0], served._core.clock(), None)
        noted = [e["decision"] for e in served.log_entries("kit") if e["act"] == "trace"]
    assert (refused.value.rule, noted) == ("approval.needed", ["refused"])
