"""Somebody who may export tries for more: persons beyond the budget, another recipient, keys after the end, half a file."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_room
from served_room import Served

import strongroom
from strongroom.errors import BudgetError, DeniedError, NotFoundError
from strongroom.keymaster import ledger as ledger_module
from strongroom.keymaster.exports import exporting
from strongroom.keymaster.exports.api import ExportPlan
from strongroom.keymaster.exports.exporting import EmbeddedExports
from strongroom.keymaster.holder import SERVER_ONLY

EXTRACT = {"recipient": "uni-north", "purpose": "extract", "reason": "study 9"}
PLAN = ExportPlan(("persons",), "uni-north", 3)


def opened(room, keys, actor="ana"):
    return strongroom.open(str(room.bucket), keys=keys, actor=actor)


@pytest.fixture
def rows(sending, tmp_path, monkeypatch):
    """Tokens and batches of all persons' records, as whoever has the bucket and a reading knows them."""
    seen = []
    real = EmbeddedExports.add
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedExports, "add", lambda self, *args: (seen.append(args[2:]), real(self, *args))[1])
        with sending.keymaster() as keys, opened(sending, keys) as room:
            room.export("persons", to=str(tmp_path / "first.csv"), **EXTRACT)
    (one,) = seen
    assert len(one[1]) == 300
    return one[1], one[2]


# -- one person too many -----------------------------------------------------------------------


def crowd(sending, tmp_path):
    """An export of one person more than its purpose lets out in a day."""
    with sending.keymaster() as keys:
        with opened(sending, keys, "kit") as room:
            room.put("persons", small_room.persons(1, 300))
        with opened(sending, keys) as room:
            return room.export("persons", to=str(tmp_path / "crowd.csv"), **EXTRACT)


def test_attack_one_person_beyond_the_budget_gets_no_key_of_anybody(sending, tmp_path, monkeypatch):
    """No batch key is derived at all, and no file is made."""
    derived = []
    monkeypatch.setattr(exporting, "keys_of", lambda *args: derived.append(args))
    with pytest.raises(BudgetError):
        crowd(sending, tmp_path)
    assert derived == []
    assert list(tmp_path.glob("*.csv")) == []


def test_control_without_counting_all_of_them_go_out(sending, tmp_path, monkeypatch):
    """The same export with budgets that let everything through."""
    monkeypatch.setattr(ledger_module, "check_fits", lambda *_: None)
    assert crowd(sending, tmp_path).persons == 301


# -- persons who were not noted ----------------------------------------------------------------


def grab(sending, rows):
    """A room whose program was changed: it adds ten persons, and asks for everybody's keys."""
    tokens, batches = rows
    with sending.keymaster() as keys:
        reading = keys.begin_reading(actor="ana", purpose="extract", reason="r").reading_id
        export = keys.exports.begin(reading, PLAN)
        assert keys.exports.add(reading, export, "persons", tokens[:10], batches[:10]) == 10
        keys.exports.start(reading, export)
        return keys.exports.release(reading, export, "persons", tokens, batches)


def test_attack_keys_of_persons_who_were_not_charged(sending, rows):
    """They are as if they were not there: zeros for keys."""
    released = grab(sending, rows)
    assert released.missing == tuple(range(10, 300))
    assert not any(keys[10:].any() for keys in released.keys.values())


def test_control_a_keymaster_that_forgets_whom_it_charged_gives_them(sending, rows, monkeypatch):
    """Without the comparison with the export's set."""
    monkeypatch.setattr(EmbeddedExports, "_only", lambda _self, _export, behind: behind)
    released = grab(sending, rows)
    assert released.missing == ()
    assert all(keys.any(axis=1).all() for keys in released.keys.values())


# -- another recipient, and a direct caller ----------------------------------------------------


def test_attack_a_recipient_whom_the_purpose_does_not_name(sending, tmp_path):
    """Refused, noted, and nobody is charged."""
    with sending.keymaster() as keys, opened(sending, keys) as room:
        with pytest.raises(DeniedError) as refused:
            room.export("persons", to=str(tmp_path / "x.csv"), **(EXTRACT | {"recipient": "thief"}))
        assert refused.value.rule == "purposes.extract.export.recipients"
        (entry,) = [e for e in keys.log_entries("kit") if e["act"] == "export"]
        assert (entry["decision"], entry.get("count")) == ("refused", None)


def test_control_a_recipient_whom_it_names(sending, tmp_path):
    """The same export to one of those named."""
    with sending.keymaster() as keys, opened(sending, keys) as room:
        assert room.export("persons", to=str(tmp_path / "x.csv"), **(EXTRACT | {"recipient": "uni-south"})).persons == 300


@pytest.mark.parametrize("server", [False, True])
def test_attack_a_direct_caller_on_a_purpose_that_masks(sending, tmp_path, server):
    """Their program would have the plain values before any mask: refused; the control is a server's credential."""
    with Served(sending.keymaster()) as served:
        with served.connect(served.credential("ana", server=server)) as keys, opened(sending, keys) as room:
            wanted = {**EXTRACT, "purpose": "shown", "to": str(tmp_path / "x.csv")}
            if server:
                assert room.export("persons", **wanted).persons == 300
                return
            with pytest.raises(DeniedError) as refused:
                room.export("persons", **wanted)
            assert refused.value.rule == SERVER_ONLY


# -- a captured export -------------------------------------------------------------------------


def captured(served, rows):
    """An export of ana's that was started, as somebody saw it on her machine: ids of reading and export."""
    tokens, batches = rows
    own = served.connect(served.credential("ana", server=True))
    reading = own.begin_reading(actor="ana", purpose="extract", reason="r").reading_id
    export = own.exports.begin(reading, PLAN)
    own.exports.add(reading, export, "persons", tokens, batches)
    own.exports.start(reading, export)
    return own, reading, export


def tries(served, rows, *, actor, reading=None, export=None):
    """Another credential asks for the keys of a captured export."""
    with served.connect(served.credential(actor, server=True)) as thief:
        ident = reading or thief.begin_reading(actor=actor, purpose="extract", reason="r").reading_id
        return thief.exports.release(ident, export, "persons", *rows)


@pytest.mark.parametrize("actor", ["tor", "ana"])
def test_attack_a_captured_export_under_another_credential(sending, rows, actor):
    """With the reading's id or with a reading of the thief's own; of another actor, or of the same."""
    with Served(sending.keymaster()) as served:
        own, reading, export = captured(served, rows)
        for under in (reading, None):
            with pytest.raises(NotFoundError):
                tries(served, rows, actor=actor, reading=under, export=export)
        if actor == "tor":
            with served.connect(served.credential("tor", server=True)) as thief:
                ident = thief.begin_reading(actor="tor", purpose="extract", reason="r").reading_id
                with pytest.raises(DeniedError):
                    thief.exports.resume(ident, export, PLAN)
        own.close()


def test_attack_an_export_asked_again_after_its_end(sending, rows):
    """Its own reading has no key any more; taken up again it is refused."""
    with Served(sending.keymaster()) as served:
        own, reading, export = captured(served, rows)
        own.exports.end(reading, export, {"persons": 300}, bytes(32))
        with pytest.raises(NotFoundError):
            own.exports.release(reading, export, "persons", *rows)
        with pytest.raises(strongroom.ConflictError):
            own.exports.resume(reading, export, PLAN)
        own.close()


def test_control_a_keymaster_that_does_not_ask_whose_it_is(sending, rows, monkeypatch):
    """The captured export gives its keys to whoever has a reading of any kind."""
    with Served(sending.keymaster()) as served:
        own, _reading, export = captured(served, rows)
        monkeypatch.setattr(
            EmbeddedExports, "_of", lambda self, ident, export_id: (self._readings.get(ident), self._open[export_id])
        )
        released = tries(served, rows, actor="tor", export=export)
        assert released.missing == ()
        assert np.all([keys.any(axis=1).all() for keys in released.keys.values()])
        own.close()


# -- killed ------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
sys.path[:0] = {path!r}
import small_room, strongroom
from strongroom.trace.exporting import export, targets
from strongroom.keymaster.exports import exporting

def die(*_args, **_more):
    os.kill(os.getpid(), signal.SIGKILL)

step, count = {step!r}, []
if step == "unnamed-off":
    del os.O_TMPFILE
    targets._link = die
if step == "rows":
    real = export.RowRoot.add
    export.RowRoot.add = lambda self, *args: (die() if len(count) == 1 else count.append(1), real(self, *args))[1]
elif step == "start":
    exporting.EmbeddedExports._grant = die
elif step == "file":
    targets._Files.open = die
elif step == "publish":
    targets._Files.publish = die
elif step == "link":
    real_link = targets._link
    targets._link = lambda *args: (die() if count else count.append(1), real_link(*args))[1]
room = small_room.SmallRoom(__import__("pathlib").Path({room!r}))
with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="ana") as opened:
    opened.export(["persons", "parcels"], to={to!r}, recipient="uni-north", purpose="extract", reason="r", format="csv",
                  started=lambda grant: print(grant.export_id.hex(), flush=True))
"""


def killed(sending, to, step):
    """Export in a process of its own that is killed at a step; what it printed."""
    path = [str(Path(small_room.__file__).parent), *filter(None, sys.path)]
    script = KILLED.format(path=path, step=step, room=str(sending.folder), to=str(to))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout


@pytest.mark.parametrize("step", ["start", "file", "rows", "publish"])
def test_attack_a_killed_export_leaves_no_record_on_the_disk(sending, tmp_path, step):
    """At every step before the first name: nothing in the folder; taken up, it is whole and charged once."""
    out = tmp_path / "out"
    killed(sending, out, step)
    assert not out.exists() or list(out.iterdir()) == []
    with sending.keymaster() as keys, opened(sending, keys) as room:
        (record,) = room.exports()
        assert (record.state, record.persons) == ("open", 300)
        report = room.export(["persons", "parcels"], to=str(out), format="csv", resume=record.id, **EXTRACT)
        assert report.records == {"persons": 300, "parcels": 600}
        assert report.remaining["exports/actor/ana/purpose/extract/day"] == 0
        assert len([e for e in keys.log_entries("kit") if e["act"] == "export"]) == 1


def test_attack_killed_between_two_names_what_has_one_is_whole(sending, tmp_path):
    """Only then a file of several may stand alone: it is whole, and the ledger says that the export has not ended."""
    out = tmp_path / "out"
    ident = re.match("[0-9a-f]{32}", killed(sending, out, "link"))[0]
    assert [path.name for path in out.iterdir()] == ["persons.csv"]
    assert len((out / "persons.csv").read_text(encoding="utf-8").splitlines()) == 301
    with sending.keymaster() as keys, opened(sending, keys) as room:
        assert [(one.id, one.state) for one in room.exports()] == [(ident, "open")]
        report = room.export(["persons", "parcels"], to=str(tmp_path / "two"), format="csv", resume=ident, **EXTRACT)
        assert report.persons == 300


def test_control_under_a_name_beside_a_killed_export_leaves_records(sending, tmp_path):
    """Without unnamed files, killed before they get their names: they lie there, under names that say so."""
    out = tmp_path / "out"
    killed(sending, out, "unnamed-off")
    assert sorted(path.name for path in out.iterdir()) == [".parcels.csv.part", ".persons.csv.part"]
    assert "P-000001" in (out / ".persons.csv.part").read_text(encoding="utf-8")
    with sending.keymaster() as keys, opened(sending, keys) as room:
        (record,) = room.exports()
        for path in out.iterdir():
            path.unlink()
        room.export(["persons", "parcels"], to=str(out), format="csv", resume=record.id, **EXTRACT)
