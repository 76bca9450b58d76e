"""A room behind its server: holds, receipts, rejects, retention, exports and their tokens, and rules, as the library has them."""

import json

import pytest
from room_api import Api
from small_room import SCHEMA, SmallRoom, person

import strongroom
from strongroom.audit.note import parse_verifier_key
from strongroom.erase.receipt import verify_receipt
from strongroom.errors import (
    BudgetError,
    ConflictError,
    DeniedError,
    NotFoundError,
    UsageError,
)
from strongroom.purpose.cedar import cedar_text
from strongroom.purpose.policy import parse_policy

BAD = "person_id,name,birth_year\nP-000700,甲,1980\n,乙,1981\nP-000702,丙,nineteen\n".encode()
CODED = {"recipient": "uni-north", "purpose": "coded", "reason": "study 9"}
MATCHING = {"purpose": "matching", "reason": "case 9"}
ANSWER = {"purpose": "answer", "reason": "case 9"}
DAYS_40 = 40 * 86400
NAMED = SCHEMA.replace('mask = "first1" }', 'mask = "first1", nullable = false }')
"""The schema where everybody has a name."""


@pytest.fixture
def api(room):
    with Api(room) as made:
        yield made


def said(api, actor, *acts):
    """Entries of an actor, of some acts."""
    return [e for e in api.keys.log_entries("kit", of=actor) if e["act"] in acts]


# -- holds --------------------------------------------------------------------------------------


def test_a_hold_keeps_from_erasure_until_somebody_else_lifts_it(api):
    """Set, kept, lifted by a second person; in the log under the names and credentials of those who signed."""
    kit, nan = api.of("kit"), api.of("nan")
    held = kit.hold(["P-000007", " p-000008"], reason="suit 4")
    assert (held.verb, held.counts) == ("hold", {"persons": 2})
    with pytest.raises(DeniedError, match="legal hold"):
        kit.erase("P-000007", reason="asked")
    with pytest.raises(ConflictError, match="held already"):
        nan.hold("P-000007", reason="suit 5")
    with pytest.raises(DeniedError) as refused:
        kit.unhold("P-000007", reason="over")
    assert refused.value.rule == "room.second-person"
    lifted = nan.unhold("P-000007", reason="suit 4 is over")
    assert (lifted.verb, lifted.counts, lifted.leaf > held.leaf) == ("unhold", {"persons": 1}, True)
    assert kit.erase("P-000007", reason="asked").persons == 1
    with pytest.raises(DeniedError, match="legal hold"):
        kit.erase("P-000008", reason="asked")
    (entry,) = said(api, "kit", "hold")
    assert (entry["leaf"], entry["count"], entry["credential"]) == (held.leaf, 2, kit._credential.id)
    (entry,) = said(api, "nan", "unhold")
    assert (entry["leaf"], entry["credential"]) == (lifted.leaf, nan._credential.id)


def test_a_hold_is_noted_beside_the_objects(api, room):
    """As by the library: a keymaster that is set back would know."""
    before = len(list((room.bucket / "notes").iterdir()))
    api.of("kit").hold("P-000007", reason="suit 4")
    assert len(list((room.bucket / "notes").iterdir())) == before + 1


def test_who_may_not_hold_and_whom_nobody_knows(api):
    """Refused and noted under the caller's name; not found; nobody is held."""
    with pytest.raises(DeniedError):
        api.of("mei").hold("P-000007", reason="no")
    with pytest.raises(NotFoundError):
        api.of("kit").hold(["P-000007", "P-999999"], reason="suit 4")
    with pytest.raises(NotFoundError, match="not held"):
        api.of("nan").unhold("P-000007", reason="r")
    assert [e["decision"] for e in said(api, "mei", "hold")] == ["refused"]
    assert said(api, "kit", "hold") == []


def test_a_hold_under_one_key_is_set_once(room):
    """Sent again, also to servers that were started again: the same answer; another request under the key is a conflict."""
    with Api(room) as api:
        own = api.keys.credential("kit")
        with api.client(own) as client:
            first = client.hold("P-000007", reason="suit 4", idempotency_key="hold 1")
            assert client.hold("P-000007", reason="suit 4", idempotency_key="hold 1") == first
            with pytest.raises(ConflictError):  # control: under no key, and under another
                client.hold("P-000007", reason="suit 4")
            with pytest.raises(ConflictError):
                client.hold("P-000007", reason="suit 4", idempotency_key="hold 2")
            with pytest.raises(ConflictError, match="another request"):
                client.hold("P-000008", reason="suit 4", idempotency_key="hold 1")
    with Api(room) as api, api.client(own) as client:
        assert client.hold("P-000007", reason="suit 4", idempotency_key="hold 1") == first
        assert len(said(api, "kit", "hold")) == 1


# -- receipts -----------------------------------------------------------------------------------


def test_the_receipt_of_an_erasure_comes_again_and_verifies(api):
    """The same as with the bucket; for who may erase, of what is an erasure."""
    done = api.of("kit").erase(["P-000011", "P-000012"], reason="asked")
    found = api.of("kit").erasure_receipt(*done.leaves)
    _, key = parse_verifier_key(api.of("kit").log_key())
    assert verify_receipt(json.dumps(found), key).persons == 2
    with pytest.raises(NotFoundError, match="no erasure"):
        api.of("kit").erasure_receipt(0)
    with pytest.raises(DeniedError):
        api.of("mei").erasure_receipt(*done.leaves)
    assert [e["decision"] for e in said(api, "mei", "erase")] == ["refused"]


# -- rejects ------------------------------------------------------------------------------------


def rejected(api):
    """Two records that did not fit; the id of their put."""
    done = api.of("kit").put("persons", BAD, format="csv")
    assert (done.records, done.rejected) == (1, 2)
    return done.put_id


def test_rejects_are_counted_for_who_may_and_opened_for_a_purpose(api):
    """Reasons and rows without values; the records themselves under a purpose that reads them, noted."""
    put_id = rejected(api)
    groups = api.of("kit").rejects()
    assert {(g.put, g.table, g.field, g.records) for g in groups} == {
        (put_id, "persons", "person_id", 1), (put_id, "persons", "birth_year", 1),
    }  # fmt: skip
    assert len(groups[0].row()) == 7
    assert api.of("kit").rejects(put_id="00" * 16) == []
    with pytest.raises(DeniedError):
        api.of("mei").rejects()
    assert {e["table"] for e in said(api, "kit", "rejects")} == {"persons", "parcels", "cases"}
    with api.of("ada").read(purpose="case-work", reason="load 7") as desk:
        opened = desk.rejects(put_id=put_id)
        assert [(one["row"], one["record"]["name"]) for one in opened] == [(2, "乙"), (3, "丙")]
        assert desk.rejects(put_id="00" * 16) == []
        assert dict(desk.get("persons", "P-000700"))["name"] == "甲"
    with pytest.raises(DeniedError):
        api.of("mei").read(purpose="delivery", reason="r").rejects()
    released = said(api, "ada", "rejects")
    assert [(e["table"], e["extras"]["looked_up"]) for e in released] == [("persons", 2)]


def test_rejects_opened_through_the_server_are_those_of_the_library(api, room):
    """Of every table that the purpose reads."""
    put_id = rejected(api)
    rows = [{"person_id": ident, "charge": "盗窃", "year": 2020} for ident in ("P-000001", None)]
    api.of("kit").put("cases", rows)
    with strongroom.open(str(room.bucket), keys=api.keys.of("ada"), actor="ada") as opened:
        with opened.read(purpose="case-work", reason="r") as desk:
            wanted = desk.rejects()
    assert {one["table"] for one in wanted} == {"persons", "cases"}
    assert api.of("ada").read(purpose="case-work", reason="r").rejects() == wanted
    assert [one["put"] for one in wanted if one["table"] == "persons"] == [put_id] * 2


@pytest.fixture
def nameless(tmp_path):
    """A room behind its server with three rejects: two records lack a name, which they need not have any more."""
    room = SmallRoom(tmp_path / "nameless")
    room.create(schema=NAMED)
    with Api(room) as made:
        rows = [person(1), person(2) | {"name": None}, person(3) | {"name": None}, person(4) | {"person_id": None}]
        assert made.of("kit").put("persons", rows).rejected == 3
        made.keys.keymaster.changes.make("kit", "schema", SCHEMA)
        yield made


def test_rejects_that_fit_by_now_are_put_again(nameless):
    """Those that do, in the caller's name; the rest stay; the answer under one key comes again, and nothing is put twice."""
    kit = nameless.of("kit")
    done = kit.reput_rejects(records=5, idempotency_key="again 1")
    assert (done.records, done.rejected, done.new_subjects) == (2, 1, 2)
    assert done.to_dict()["records"] == 2
    assert kit.reput_rejects(records=5, idempotency_key="again 1") == done
    with nameless.of("ada").read(purpose="case-work", reason="r") as desk:
        assert desk.get("persons", "P-000003")["mobile"] == person(3)["mobile"]
    assert sum(group.records for group in kit.rejects()) == 1
    assert kit.reput_rejects().records == 0
    with pytest.raises(UsageError, match="greatest number"):
        kit.reput_rejects(idempotency_key="again 2")
    assert {e["credential"] for e in said(nameless, "kit", "commit")} == {kit._credential.id}
    state = nameless.keys.keymaster._core.state.read()
    assert state.execute("SELECT count(*) FROM lease WHERE state = 'open'").fetchone()[0] == 0


def test_without_rejects_there_is_nothing_to_put_again(api):
    """Said as by the library; no lease stays open."""
    with pytest.raises(NotFoundError, match="no rejected records"):
        api.of("kit").reput_rejects()
    state = api.keys.keymaster._core.state.read()
    assert state.execute("SELECT count(*) FROM lease WHERE state = 'open'").fetchone()[0] == 0


def test_more_rejects_than_were_signed_for_are_not_put(nameless):
    """The greatest number is signed: one less is refused, and nothing is put."""
    head = nameless.keys.keymaster.head().number
    with pytest.raises(DeniedError) as refused:
        nameless.of("kit").reput_rejects(records=1)
    assert refused.value.rule == "warrant.beyond"
    assert nameless.keys.keymaster.head().number == head
    assert nameless.of("kit").reput_rejects(records=2).records == 2  # control


# -- retention ----------------------------------------------------------------------------------


def kept(days):
    """The schema with a retention on parcels."""
    line = f'retention = {{ days = {days}, by = "put" }}'
    return SCHEMA.replace('[tables.parcels]\nsubject = "person_id"', f'[tables.parcels]\nsubject = "person_id"\n{line}')


def test_what_has_expired_is_counted(api, room):
    """As by the library, of the schema in force and of another; for who may compact; nothing is removed."""
    kit, keys = api.of("kit", days=90.0), api.keys.keymaster
    assert kit.retention() == []
    real = keys._core.clock
    keys._core.clock = keys._core.journal._clock = lambda: real() + DAYS_40
    kit.put("parcels", [{"person_id": "P-000001", "tracking": "SF9", "goods": "杯", "district": 1}])
    (counted,) = kit.retention(schema=kept(30))
    assert (counted.table, counted.days, counted.by, counted.records, counted.expired) == ("parcels", 30, "put", 601, 600)
    assert not counted.everything
    keys.changes.make("kit", "schema", kept(50))
    api.own.head()  # so that the server has heard of it
    (counted,) = kit.retention()
    assert (counted.records, counted.expired) == (601, 0)
    with strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        assert opened.retention() == [counted]
    with pytest.raises(DeniedError):
        api.of("mei", days=90.0).retention()
    for wrong in ("[tables", "x" * 200):
        with pytest.raises(UsageError, match="schema"):
            kit.retention(schema=wrong)
    state = keys._core.state.read()
    assert state.execute("SELECT count(*) FROM lease WHERE state = 'open'").fetchone()[0] == 0


# -- exports and their tokens -------------------------------------------------------------------


@pytest.fixture
def sent(sending, tmp_path):
    """A room behind its server, an export of tokens made before, and its rows of persons."""
    with sending.keymaster() as keys, strongroom.open(str(sending.bucket), keys=keys, actor="ana") as opened:
        report = opened.export(["persons", "parcels"], to=str(tmp_path / "out"), format="jsonl", **CODED)
    rows = [json.loads(line) for line in (tmp_path / "out" / "persons.jsonl").read_text(encoding="utf-8").splitlines()]
    with Api(sending) as made:
        yield made, report.export_id, rows


def test_tokens_come_and_go_through_the_server(sent):
    """A value has the token that the file has, each a look-up; behind tokens stand persons, charged and told."""
    api, export, rows = sent
    ana, max_ = api.of("ana"), api.of("max")
    mobile = person(7)["mobile"]
    first, second, nothing = ana.tokenize(export, "persons", "mobile", [mobile, f"+86 {mobile}", ""], **MATCHING)
    assert (first, nothing) == (second, None)
    (subject,) = ana.tokenize(export, "persons", "person_id", [" p-000007"], **MATCHING)
    (row,) = [row for row in rows if row["mobile"] == first]
    assert row["person_id"] == subject
    with pytest.raises(BudgetError):
        ana.tokenize(export, "persons", "mobile", [mobile] * 2, **MATCHING)
    found = max_.detokenize(export, "persons", "person_id", [subject, "t1abcd"], **ANSWER)
    assert found == ["P-000007", None]
    (entry,) = said(api, "max", "detokenize")
    assert (entry["count"], entry["extras"]["export"], len(entry["labels"])) == (1, export, 64)
    assert (entry["credential"], entry["purpose"]) == (max_._credential.id, "answer")
    entries = [e for e in said(api, "ana", "open") if e["purpose"] == "matching"]
    assert {(e["extras"]["through"], e["extras"]["verb"]) for e in entries} == {("front", "tokenize")}


def test_what_is_masked_does_not_come_back_and_others_may_not_ask(sent):
    """As by the library: another purpose, a field that is not shown plain, an export that never was, an id that is none."""
    api, export, rows = sent
    with pytest.raises(DeniedError) as refused:
        api.of("max").detokenize(export, "persons", "id_number", [rows[0]["id_number"]], **ANSWER)
    assert refused.value.rule == "purposes.answer.tables.persons"
    with pytest.raises(DeniedError):
        api.of("max").detokenize(export, "persons", "mobile", ["1"], purpose="matching", reason="r")
    with pytest.raises(NotFoundError):
        api.of("ana").tokenize("00" * 16, "persons", "mobile", ["1"], **MATCHING)
    with pytest.raises(DeniedError):
        api.of("ana").tokenize(export, "nowhere", "mobile", ["1"], **MATCHING)
    with pytest.raises(UsageError, match="export"):
        api.of("ana").tokenize("zz", "persons", "mobile", ["1"], **MATCHING)
    assert api.of("ana").tokenize(export, "persons", "mobile", [], **MATCHING) == []
    narrow = api.client(api.keys.credential("ana", purposes=["coded"]))
    with narrow, pytest.raises(DeniedError, match="not for this purpose"):
        narrow.tokenize(export, "persons", "mobile", ["1"], **MATCHING)


def test_tokens_asked_for_again_under_one_key_are_spent_once(sent):
    """Look-ups, and values without a name; other values under the key are refused."""
    api, export, rows = sent
    ana, max_ = api.of("ana"), api.of("max")
    for _ in range(3):  # a day has five look-ups
        ana.tokenize(export, "persons", "mobile", [person(n)["mobile"] for n in range(4)], **MATCHING, idempotency_key="k")
    with pytest.raises(BudgetError):
        ana.tokenize(export, "persons", "mobile", [person(n)["mobile"] for n in range(4)], **MATCHING)
    mobiles = [row["mobile"] for row in rows[:2]]
    for _ in range(3):  # a day has three persons
        assert None not in max_.detokenize(export, "persons", "mobile", mobiles, **ANSWER, idempotency_key="k")
    with pytest.raises(ConflictError, match="Idempotency-Key"):
        max_.detokenize(export, "persons", "mobile", [row["mobile"] for row in rows[3:5]], **ANSWER, idempotency_key="k")
    with pytest.raises(BudgetError):
        max_.detokenize(export, "persons", "mobile", [row["mobile"] for row in rows[3:5]], **ANSWER)


def test_many_tokens_go_in_several_requests(sent, monkeypatch):
    """Each as large as one may be; under an Idempotency-Key it is one request, or none."""
    from strongroom.identity import asked

    api, export, rows = sent
    monkeypatch.setattr(asked, "TOKENS_MAX", 2)
    found = api.of("max").detokenize(export, "persons", "person_id", [row["person_id"] for row in rows[:3]], **ANSWER)
    assert len(set(found)) == 3
    assert [e["extras"]["values"] for e in said(api, "max", "detokenize")] == [2, 1]
    with pytest.raises(UsageError, match="one request"):
        api.of("max").detokenize(export, "persons", "person_id", ["x"] * 3, **ANSWER, idempotency_key="k")


def test_detokenizing_with_another_persons_agreement(sent):
    """A purpose that always needs it: refused without, answered with, through the server too."""
    from export_room import EXPORTS
    from small_room import POLICY

    api, export, rows = sent
    text = (POLICY + EXPORTS).replace(
        'verbs = ["detokenize"]\n', 'verbs = ["detokenize"]\napproval = { roles = ["chief", "clerk"], always = true }\n'
    )
    keys = api.keys.keymaster
    keys.changes.make("kit", "policy", text)
    token = rows[0]["person_id"]
    with pytest.raises(DeniedError) as refused:
        api.of("max").detokenize(export, "persons", "person_id", [token], **ANSWER)
    assert refused.value.rule == "approval.needed"
    waits = keys.approvals.ask_read("max", "answer", 1, "case 9")
    keys.approvals.decide("kit", waits.id, agree=True)
    (found,) = api.of("max").detokenize(export, "persons", "person_id", [token], **ANSWER, approval=waits.id)
    assert found.startswith("P-")


def test_the_ledger_of_exports_is_ones_own_or_for_the_log_all(sent, monkeypatch):
    """Newest first, as the keymaster has it, some at a time; conditions for who may read the log."""
    from strongroom.identity import asked

    api, export, _ = sent
    keys = api.keys.keymaster
    assert [one.id for one in api.of("ana").exports()] == [export]
    assert api.of("tor").exports() == []
    assert api.of("kit").exports() == keys.exports.all("kit")
    with strongroom.open(str(api.keys.folder.parent / "bucket"), keys=keys, actor="ana") as opened:
        for n in range(4):
            to = str(api.keys.folder.parent / f"more{n}.csv")
            opened.export("persons", to=to, recipient="uni-north", purpose="extract", reason="r", where="birth_year > 1980")
    whole = keys.exports.all("kit")
    monkeypatch.setattr(asked, "EXPORTS_MAX", 2)
    assert len(whole) == 5
    assert api.of("kit").exports() == whole
    assert [one.where for one in api.of("ana").exports()] == [""] * 5
    assert {one.where for one in whole} == {"birth_year > 1980", ""}
    for wrong in ("x", "-1", "1.5", "1" * 16):
        with pytest.raises(UsageError, match="cursor"):
            api.of("ana").ask("exports", json.dumps({"cursor": wrong}).encode())


# -- rules --------------------------------------------------------------------------------------


def test_the_rules_in_force_are_read(api):
    """The policy and its Cedar text, as with the keymaster; the newest, once it was changed."""
    from small_room import POLICY

    keys = api.keys.keymaster
    assert api.of("mei").policy == keys.policy()
    assert api.of("mei").cedar() == cedar_text(keys.policy(), keys.schema())
    keys.changes.make("kit", "policy", POLICY.replace('roles = ["analyst"]\nverbs', 'roles = ["analyst", "clerk"]\nverbs'))
    assert api.of("kit").policy == parse_policy(
        POLICY.replace('roles = ["analyst"]\nverbs', 'roles = ["analyst", "clerk"]\nverbs'), keys.schema()
    )
