"""A server that was taken, with an export that its caller signed: it has that export, of so many persons, and no other."""

import dataclasses
import os
import time

import msgspec
import numpy as np
import pytest
from api_export_kit import EXTRACT, said
from room_api import Api
from small_room import person
from test_attack_api import Thief

from strongroom.errors import DeniedError, NotFoundError, UsageError
from strongroom.identity import asked
from strongroom.identity.signing import sign_request
from strongroom.keymaster.api import Ask
from strongroom.keymaster.exports.api import ExportPlan
from strongroom.keymaster.exports.exporting import EmbeddedExports
from strongroom.keymaster.exports.warrant import ExportWarrant
from strongroom.keymaster.warrant import BEYOND, ONCE, Warrant
from strongroom.seal.blocks import KIND_INDEX, KIND_OPEN_COLUMNS, KIND_RECORDS

LOW, HIGH = bytes(16), b"\xff" * 16


class ExportThief(Thief):
    """Who has the server, and knows tokens and batches of everybody from an export that it made before."""

    def rows(self, tmp_path, table="persons"):
        seen, real = [], EmbeddedExports.add
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(EmbeddedExports, "add", lambda own, **args: (seen.append(args), real(own, **args))[1])
            to = str(tmp_path / f"before-{table}.csv")
            self.report = self.api.of("ana").export(table, to=to, **EXTRACT)
        return np.concatenate([one["tokens"] for one in seen]), np.concatenate([one["batches"] for one in seen])

    def signed(self, body, actor="ana", verb="export"):
        """A request as its caller signs it."""
        credential = self.api.keys.credential(actor)
        path, data, now = asked.path_of(self.api.keys.room_id, verb), msgspec.json.encode(body), int(time.time())
        headers = sign_request(
            credential.seed, credential.id, "POST", path, data, created=now, expires=now + 60, nonce=os.urandom(16)
        )
        return path, data, headers

    def reading(self, body, **more):
        """A reading that the server opens with it, and the snapshot that it is of."""
        granted = self.opened(*self.signed(body, **more))
        return granted.grant.reading_id, granted.head.number

    def started(self, body, rows, **plan):
        """Reading and id of an export of some rows, as the server says it is."""
        reading, snapshot = self.reading(body)
        export = self.keys.exports.begin(reading, ExportPlan(("persons",), "uni-north", snapshot, **plan))
        self.keys.exports.add(reading, export, "persons", *rows)
        self.keys.exports.start(reading, export)
        return reading, export


@pytest.fixture
def api(sending):
    with Api(sending) as made:
        yield made


@pytest.fixture
def thief(api, tmp_path):
    made = ExportThief(api)
    made.everybody = made.rows(tmp_path)
    return made


def some(rows, count):
    return rows[0][:count], rows[1][:count]


def refusals(api):
    return [e["rule"] for e in api.keys.log_entries("kit", of="ana") if e["decision"] == "refused"]


# -- another export -----------------------------------------------------------------------------

OTHERS = {
    "recipient": {"recipient": "uni-south"},
    "a table more": {"tables": ("persons", "parcels")},
    "another table": {"tables": ("parcels",)},
    "no condition": {"where": "", "where_fields": ()},
    "another condition": {"where": "birth_year > 1900"},
    "other fields of it": {"where_fields": ("sex",)},
    "named": {"named": True, "where": "", "where_fields": ()},
    "an older snapshot": {"snapshot": 1},
}


def other(thief, change):
    reading, snapshot = thief.reading(said(where="birth_year > 1990"))
    plan = ExportPlan(("persons",), "uni-north", snapshot, where="birth_year > 1990", where_fields=("birth_year",))
    return thief.keys.exports.begin(reading, dataclasses.replace(plan, **change))


@pytest.mark.parametrize("change", OTHERS.values(), ids=list(OTHERS))
def test_attack_another_export_than_was_signed_for(thief, change):
    """Recipient, tables, condition and snapshot are those that the caller signed; a refusal is noted."""
    with pytest.raises(DeniedError) as refused:
        other(thief, change)
    assert (refused.value.rule, refusals(thief.api)) == (BEYOND, [BEYOND])


def test_control_the_one_that_was_signed_for_begins(thief):
    """The very same plan."""
    assert len(other(thief, {})) == 16


@pytest.mark.parametrize("name", ["recipient", "a table more", "no condition"])
def test_control_where_nobody_compares_another_export_begins(thief, monkeypatch, name):
    """Control: without the comparison of plan and signature it is decided as the caller's own."""
    monkeypatch.setattr(ExportWarrant, "check_begun", lambda *_: None)
    monkeypatch.setattr(ExportWarrant, "check_export", lambda *_: None)
    assert len(other(thief, OTHERS[name])) == 16


# -- an export taken up -------------------------------------------------------------------------


def left_open(thief, body, plan):
    reading, snapshot = thief.reading(body)
    export = thief.keys.exports.begin(reading, dataclasses.replace(plan, snapshot=snapshot))
    thief.keys.exports.add(reading, export, "persons", *some(thief.everybody, 10))
    thief.keys.exports.start(reading, export)
    return export, dataclasses.replace(plan, snapshot=snapshot)


def taken_up(thief):
    """A caller takes up one of two exports, and the server the other."""
    plan = ExportPlan(("persons",), "uni-north", 0)
    mine, whole = left_open(thief, said(), plan)
    others, _ = left_open(thief, said(), plan)
    reading, _ = thief.reading(said(resume=mine.hex()))
    return thief.keys.exports.resume(reading, others, whole), mine, whole


def test_attack_another_export_is_taken_up(thief):
    """Nor is one taken up where none was signed for, begun where one is, or taken up for fewer persons than it has."""
    with pytest.raises(DeniedError, match="did not take up"):
        taken_up(thief)
    exports, plan = thief.keys.exports, ExportPlan(("persons",), "uni-north", 0)
    mine, whole = left_open(thief, said(), plan)
    for body, told in ((said(), "did not take up"), (said(resume=mine.hex(), persons=9), "more persons")):
        reading, _ = thief.reading(body)
        with pytest.raises(DeniedError, match=told):
            exports.resume(reading, mine, whole)
    reading, _ = thief.reading(said(resume=mine.hex()))
    with pytest.raises(DeniedError, match="a new export"):
        exports.begin(reading, whole)
    assert exports.resume(reading, mine, whole).persons == 10  # control: the one that it is for
    assert exports.resume(reading, mine, whole).persons == 10
    with pytest.raises(DeniedError):
        exports.begin(reading, whole)


def test_control_where_nobody_compares_the_other_is_taken_up(thief, monkeypatch):
    """Control: by the same request."""
    monkeypatch.setattr(ExportWarrant, "check_resumed", lambda *_: None)
    assert taken_up(thief)[0].persons == 10


# -- something else under it --------------------------------------------------------------------


def objects(thief, table, kind):
    session = thief.api.exports._session
    return session.newest.objects(thief.keys.schema().tables[table].id, kind)


def test_attack_an_export_opens_nothing_but_the_records_of_its_tables(thief, tmp_path):
    """No index, no open columns, no other table, no record of one person, no tombstones of another table."""
    keys = thief.keys
    keys_of = {kind: objects(thief, "persons", kind)[0].key_id for kind in (KIND_RECORDS, KIND_INDEX, KIND_OPEN_COLUMNS)}
    other_table = objects(thief, "parcels", KIND_RECORDS)[0].key_id
    reading, _ = thief.reading(said())
    assert len(keys.block_keys(reading, keys_of[KIND_RECORDS], KIND_RECORDS, [0], "persons")) == 1  # control
    tokens = some(thief.everybody, 1)
    for ask in (
        lambda: keys.block_keys(reading, keys_of[KIND_INDEX], KIND_INDEX, [0], "persons"),
        lambda: keys.block_keys(reading, keys_of[KIND_OPEN_COLUMNS], KIND_OPEN_COLUMNS, [0], "persons"),
        lambda: keys.block_keys(reading, other_table, KIND_RECORDS, [0], "parcels"),
        lambda: keys.erasures.buried(reading, "parcels", LOW, HIGH, -1),
        lambda: keys.erasures.erased(reading, LOW),
        lambda: keys.value_tokens(reading, "persons", "mobile", [person(3)["mobile"]]),
        lambda: keys.subject_tokens(reading, "persons", ["P-000001"]),
        lambda: keys.note_sql(reading, b"r" * 16, "persons", ["birth_year"], 1, 1),
        lambda: keys.stand_ins(reading, "persons", "mobile", ["x"]),
        lambda: keys.asking.ask("release", reading=reading, ask=Ask(b"g" * 16, "get", "persons", None, *tokens)),
        lambda: keys.asking.ask("release", reading=reading, ask=Ask(b"s" * 16, "sql", "persons", ("sex",), *tokens)),
    ):
        with pytest.raises((DeniedError, NotFoundError)):
            ask()


def test_attack_another_request_exports_nothing(thief):
    """A signed `get` begins, adds to and takes up no export."""
    body = asked.Get(purpose="own-view", reason="r", table="persons", subjects=["P-000001"])
    reading, snapshot = thief.reading(body, verb="get")
    plan = ExportPlan(("persons",), "uni-north", snapshot)
    with pytest.raises(DeniedError) as refused:
        thief.keys.exports.begin(reading, plan)
    assert refused.value.rule == BEYOND
    with pytest.raises(DeniedError):
        thief.keys.exports.resume(reading, bytes.fromhex(thief.report.export_id), plan)


def test_attack_a_captured_export_is_begun_once(thief):
    """The same bytes open no second reading."""
    request = thief.signed(said())
    thief.opened(*request)
    with pytest.raises(DeniedError) as refused:
        thief.opened(*request)
    assert refused.value.rule == ONCE


@pytest.mark.parametrize("how", ["revoked", "frozen"])
def test_attack_an_export_goes_on_after_its_caller_was_stopped(thief, how):
    """Keys stop with the credential, or with the freeze, in the middle."""
    keys = thief.api.keys
    reading, export = thief.started(said(), thief.everybody)
    assert thief.keys.exports.release(reading, export, "persons", *thief.everybody).missing == ()  # control
    if how == "frozen":
        keys.freezing.freeze("kit", "actor", "ana", "stolen")
    for one in keys.credentials.all("kit") if how == "revoked" else ():
        if one.actor == "ana" and not one.revoked:
            keys.credentials.revoke("kit", one.id)
    with pytest.raises(DeniedError):
        thief.keys.exports.release(reading, export, "persons", *thief.everybody)


def test_a_warrant_of_whatever_else_allows_no_export():
    """Every check of an export refuses where the request is of another verb."""
    from strongroom.keymaster.warrant import Signer

    own, plan = Warrant(Signer("ana", "c", "front", b""), "get", "persons", None), ExportPlan(("persons",), "x", 1)
    for check in (
        lambda: own.check_export(plan),
        lambda: own.check_begun(plan, b""),
        lambda: own.check_resumed(b"", 0),
        lambda: own.check_added(np.empty((0, 16), np.uint8), 0),
        own.check_clean,
    ):
        with pytest.raises(DeniedError):
            check()


def test_the_body_of_an_export_is_held_to_what_it_takes():
    """Nothing besides, no empty list, no number without bounds; the error names the place, and no value."""
    for wrong in (
        {"tables": []}, {"persons": -1}, {"persons": 1 << 60}, {"format": "xlsx"}, {"resume": "zz" * 16}, {"where": ""},
        {"subjects": []}, {"snapshot": 3}, {"to": "elsewhere"}, {"tables": ["t"] * 65}, {"where": "x" * 5_000},
    ):  # fmt: skip
        body = msgspec.to_builtins(said()) | wrong
        with pytest.raises(UsageError, match="is not what export takes") as refused:
            asked.read_asked("export", msgspec.json.encode(body))
        assert "zz" not in str(refused.value)
