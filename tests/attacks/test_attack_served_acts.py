"""Whoever has taken a server holds, tokenizes, counts and puts again what its callers signed, and nothing else."""

import json

import msgspec
import pyarrow as pa
import pytest
from export_room import EXPORTS
from room_api import Api
from small_room import POLICY, SCHEMA, SmallRoom, person
from test_attack_api import Thief, get, rows
from test_attack_taken_server import signed

import strongroom
from strongroom.errors import DeniedError, InputError, NotFoundError
from strongroom.identity import asked
from strongroom.identity.signing import Signed
from strongroom.keymaster import servingtokens, warrant
from strongroom.keymaster.erasures.api import HELD
from strongroom.keyserver import served
from strongroom.seal.blocks import KIND_INDEX, KIND_OPEN_COLUMNS, KIND_RECORDS, KIND_REJECTS

MATCHING = {"purpose": "matching", "reason": "case 9"}
EXPIRING = SCHEMA.replace("[tables.parcels]\n", '[tables.parcels]\nretention = { days = 30, by = "put" }\n')
BOTH = (POLICY + EXPORTS).replace('["tokenize"]\ntables.persons', '["get", "tokenize"]\ntables.persons')
"""The rules where who matches tokens may read too."""


@pytest.fixture
def thief(room):
    with Api(room) as api:
        yield Thief(api)


def call(thief, name, captured, **more):
    """What the server asks with a request that passed."""
    return thief.keys.asking.ask(name, request=thief.original(*captured), **more)


def altered(captured, old, new):
    """The same signature over another body."""
    path, body, headers = captured
    assert old in body
    return path, body.replace(old, new), headers


def objects(thief, table, kind):
    """Entries of the newest snapshot, as the server sees them."""
    with thief.api.of("ada").read(purpose="case-work", reason="r") as desk:
        desk.get("persons", "P-000009")  # so that the server has the catalogue
    session = thief.api.server._listener._app._service._verbs._session
    return session.newest.objects(thief.keys.schema().tables[table].id, kind)


# -- holds --------------------------------------------------------------------------------------

HOLD = asked.Hold(subjects=["P-000007"], reason="suit 4")


def is_held(thief, subject):
    """Whether a subject cannot be erased."""
    keys = thief.api.keys.keymaster
    return keys.erasures._erasing.states(rows(keys._core.subject.one(subject.encode())))[0] == HELD


def test_a_server_holds_nobody_whom_no_caller_named(thief):
    """Not under its own name, not under a signature over others, not by another verb's; a request is done once."""
    for lift in (False, True):
        with pytest.raises(DeniedError):
            thief.keys.erasures.hold("front", [["P-000007"]], "r", lift=lift)
    captured = thief.request("kit", "hold", HOLD)
    with pytest.raises(InputError, match="signed"):
        call(thief, "served.hold", altered(captured, b"P-000007", b"P-000008"))
    with pytest.raises(NotFoundError, match="holds nobody"):
        call(thief, "served.hold", thief.request("kit", "erase", asked.Erase(subjects=["P-000008"], reason="r")))
    path, body, headers = captured
    with pytest.raises(DeniedError, match="not signed in"):  # a hold is no unhold: the path is signed
        call(thief, "served.hold", (path.replace("/hold", "/unhold"), body, headers))
    assert not is_held(thief, "P-000007")
    assert not is_held(thief, "P-000008")
    done = call(thief, "served.hold", captured)  # control: as it was signed
    assert done.counts == {"persons": 1}
    assert is_held(thief, "P-000007")
    with pytest.raises(DeniedError, match="answered before"):
        call(thief, "served.hold", captured)
    (entry,) = [e for e in thief.api.keys.log_entries("kit", of="kit") if e["act"] == "hold"]
    assert entry["leaf"] == done.leaf


def test_a_server_lifts_no_hold_that_no_caller_lifts(thief):
    """A captured hold lifts nothing, an unhold of one is none of another, and who set it does not lift it through a server."""
    thief.api.of("kit").hold(["P-000007", "P-000008"], reason="suit 4")
    own = thief.request("kit", "unhold", asked.Unhold(subjects=["P-000007"], reason="r"))
    with pytest.raises(DeniedError) as refused:
        call(thief, "served.hold", own)
    assert refused.value.rule == "room.second-person"
    captured = thief.request("nan", "unhold", asked.Unhold(subjects=["P-000007"], reason="over"))
    with pytest.raises(InputError, match="signed"):
        call(thief, "served.hold", altered(captured, b"P-000007", b"P-000008"))
    assert is_held(thief, "P-000007")
    call(thief, "served.hold", captured)  # control
    assert not is_held(thief, "P-000007")
    assert is_held(thief, "P-000008")


def test_control_without_the_digest_a_server_holds_whom_it_likes(thief, monkeypatch):
    """Control: a keymaster that does not compare the body with what was signed holds somebody else."""
    monkeypatch.setattr(Signed, "check_body", lambda *_: None)
    captured = thief.request("kit", "hold", HOLD)
    call(thief, "served.hold", altered(captured, b"P-000007", b"P-000008"))
    assert is_held(thief, "P-000008")


# -- tokens -------------------------------------------------------------------------------------


@pytest.fixture
def tokens(sending, tmp_path):
    """A thief of the server of a room with an export, its id, and its rows."""
    with sending.keymaster() as keys, strongroom.open(str(sending.bucket), keys=keys, actor="ana") as opened:
        said = {"recipient": "uni-north", "purpose": "coded", "reason": "study 9"}
        report = opened.export("persons", to=str(tmp_path / "out.jsonl"), **said)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    with Api(sending) as api:
        made = Thief(api)
        made.export, made.rows = report.export_id, rows
        yield made


def tokenize(thief, *numbers):
    """A signed request for tokens of some mobile numbers."""
    values = [person(n)["mobile"] for n in numbers]
    said = asked.Tokenize(**MATCHING, export=thief.export, table="persons", field="mobile", values=values)
    return thief.request("ana", "tokenize", said)


def under_a_reading(thief):
    """The token of a value that nobody signed, under the reading of a caller who may have it."""
    thief.api.keys.keymaster.changes.make("kit", "policy", BOTH)
    reading = thief.opened(*thief.request("ana", "get", get("P-000007", purpose="matching"))).grant.reading_id
    values = pa.array([person(8)["mobile"]])
    return thief.keys.exports.tokenize(reading, bytes.fromhex(thief.export), "persons", "mobile", values)


def test_a_server_tokenizes_no_value_that_no_caller_named(tokens):
    """Neither with another body, nor under a reading; a request for tokens opens no reading; each is answered once."""
    captured = tokenize(tokens, 7)
    with pytest.raises(InputError, match="signed"):
        call(tokens, "served.tokens", altered(captured, person(7)["mobile"].encode(), person(8)["mobile"].encode()))
    with pytest.raises(DeniedError) as refused:
        under_a_reading(tokens)
    assert refused.value.rule == warrant.BEYOND
    with pytest.raises(strongroom.UsageError, match="no read"):
        tokens.opened(*captured)
    with pytest.raises(DeniedError):  # nor under the server's own name
        tokens.keys.begin_reading(actor="front", purpose="matching", reason="r")
    (found,) = call(tokens, "served.tokens", captured)  # control: what was signed
    assert found in {row["mobile"] for row in tokens.rows}
    with pytest.raises(DeniedError, match="answered before"):
        call(tokens, "served.tokens", captured)
    spent = [e for e in tokens.api.keys.log_entries("kit", of="ana") if e["act"] == "tokenize"]
    assert [e["extras"]["values"] for e in spent if e["decision"] == "allowed"] == [1]


def test_control_without_the_comparison_a_server_tokenizes_what_it_likes(tokens, monkeypatch):
    """Control: where nobody compares, a signed request for one value gives the token of another."""
    monkeypatch.setattr(Signed, "check_body", lambda *_: None)
    other = altered(tokenize(tokens, 7), person(7)["mobile"].encode(), person(8)["mobile"].encode())
    (found,) = call(tokens, "served.tokens", other)
    row = next(row for row in tokens.rows if row["mobile"] == found)
    assert row["birth_year"] == person(8)["birth_year"]


def test_control_without_the_warrant_any_reading_makes_tokens(tokens, monkeypatch):
    """Control: where the keymaster does not compare, the reading of a signed `get` gives the token of any value."""
    monkeypatch.setattr(warrant.Warrant, "check_tokens", lambda *_: None)
    (found,) = under_a_reading(tokens).to_pylist()
    row = next(row for row in tokens.rows if row["mobile"] == found)
    assert row["birth_year"] == person(8)["birth_year"]


def test_tokens_of_a_warrant_are_those_of_its_values(tokens, monkeypatch):
    """Of another value, export, field or verb the warrant says no; of its own it says nothing."""
    real, seen = servingtokens.TokenWarrant.check_tokens, []

    def watched(self, *wanted):
        seen.append((self, wanted))
        real(self, *wanted)

    monkeypatch.setattr(servingtokens.TokenWarrant, "check_tokens", watched)
    call(tokens, "served.tokens", tokenize(tokens, 7))
    ((own, wanted),) = seen
    for at, other in enumerate(("detokenize", bytes(16), "parcels", "person_id", ["13800000000"])):
        with pytest.raises(DeniedError, match="did not name"):
            real(own, *wanted[:at], other, *wanted[at + 1 :])
    real(own, *wanted)  # control


def test_the_ledger_through_a_server_is_the_callers(tokens):
    """Whoever may not read the log sees their own, whatever the server asks."""
    assert call(tokens, "served.exports", tokens.request("tor", "exports", asked.Exports())) == []
    with pytest.raises(DeniedError):
        tokens.keys.exports.all("front") or tokens.keys.log_entries("front")
    (own,) = call(tokens, "served.exports", tokens.request("ana", "exports", asked.Exports()))  # control
    assert own.id == tokens.export


# -- receipts -----------------------------------------------------------------------------------


def test_a_server_has_receipts_of_what_was_asked_for(thief):
    """Another entry than was signed, or a caller who may not erase: none."""
    first, second = (thief.api.of("kit").erase(f"P-00000{n}", reason="r").leaves[0] for n in (1, 2))
    captured = thief.request("kit", "erasure-receipt", asked.ErasureReceipt(leaves=[first]))
    with pytest.raises(InputError, match="signed"):
        call(thief, "served.receipt", altered(captured, str(first).encode(), str(second).encode()))
    with pytest.raises(DeniedError):
        call(thief, "served.receipt", thief.request("mei", "erasure-receipt", asked.ErasureReceipt(leaves=[first])))
    with pytest.raises(DeniedError):
        thief.keys.erasures.proofs("front", [first])
    assert [one.leaf for one in call(thief, "served.receipt", captured)] == [first]  # control


# -- rejects and retention ----------------------------------------------------------------------


@pytest.fixture
def rejecting(tmp_path):
    """A thief of the server of a room where one record of persons, and one of cases, was rejected."""
    room = SmallRoom(tmp_path / "room")
    room.create()
    with Api(room) as api:
        kit = api.of("kit")
        kit.put("persons", [*map(person, range(12)), person(12) | {"person_id": None}])
        kit.put("cases", [{"person_id": ident, "charge": "盗窃", "year": 2020} for ident in ("P-000001", None)])
        yield Thief(api)


def leases(thief, verb, said):
    """The leases of a signed request, by table."""
    granted = call(thief, "served.leases", thief.request("kit", verb, said))
    names = {table.id: table.name for table in thief.keys.schema().tables.values()}
    own = {lease.lease_id: thief.api.keys.keymaster.lease_of(lease.lease_id).table.id for lease in granted}
    return {names[own[lease.lease_id]]: lease.lease_id for lease in granted}


def test_who_has_rejects_counted_puts_nothing(rejecting):
    """A lease to count opens the rejects of its table: it seals nothing, commits nothing and opens no record."""
    ask = rejecting.keys.asking.ask
    lease = leases(rejecting, "rejects", asked.Rejects())["persons"]
    with pytest.raises(DeniedError) as refused:
        ask("mint_batch", lease=lease)
    assert refused.value.rule == warrant.BEYOND
    with pytest.raises(DeniedError, match="its caller did not"):
        ask("mint_file_key", lease=lease, kind=KIND_RECORDS, object_id=bytes(16), table="persons")
    for table, kind in (("cases", KIND_REJECTS), ("persons", KIND_RECORDS), ("persons", KIND_OPEN_COLUMNS)):
        (entry, *_) = objects(rejecting, table, kind)
        with pytest.raises(DeniedError, match="opens no stored records"):
            ask("file_keys", lease=lease, key_ids=[entry.key_id])
    (entry,) = objects(rejecting, "persons", KIND_REJECTS)  # control
    assert ask("file_keys", lease=lease, key_ids=[entry.key_id]).keys() == {entry.key_id}


def test_who_puts_rejects_again_puts_as_many_as_were_signed_for(rejecting):
    """In all tables together; and erases nobody."""
    ask = rejecting.keys.asking.ask
    own = leases(rejecting, "reput-rejects", asked.ReputRejects(records=2))
    batches = {table: ask("mint_batch", lease=lease) for table, lease in own.items()}
    one = pa.array(["Q-1"])
    for table in ("persons", "cases"):  # control: as many as were signed
        assert len(ask("seal_subjects", lease=own[table], batch=batches[table], identifiers=one).tokens) == 1
    with pytest.raises(DeniedError, match="more records"):
        ask("seal_subjects", lease=own["parcels"], batch=batches["parcels"], identifiers=one)
    with pytest.raises(DeniedError, match="its caller did not"):
        ask("erasures.plan", lease=own["persons"], identifiers=one)
    with pytest.raises(NotFoundError, match="no rejected records"):
        call(rejecting, "served.leases", rejecting.request("kit", "retention", asked.Retention()))


def test_control_without_the_shared_number_each_table_has_it_anew(rejecting, monkeypatch):
    """Control: a keymaster that counts nothing lets a third record through."""
    monkeypatch.setattr(served._Left, "take", lambda *_: None)
    ask = rejecting.keys.asking.ask
    lease = leases(rejecting, "reput-rejects", asked.ReputRejects(records=0))["parcels"]
    batch = ask("mint_batch", lease=lease)
    assert len(ask("seal_subjects", lease=lease, batch=batch, identifiers=pa.array(["Q-1", "Q-2"])).tokens) == 2


def test_a_request_to_open_rejects_opens_nothing_else(rejecting):
    """No record, no index, nobody's person; nor does a request for a record open rejects."""
    said = asked.OpenRejects(purpose="case-work", reason="r")
    reading = rejecting.opened(*rejecting.request("ada", "open-rejects", said)).grant.reading_id
    for kind in (KIND_RECORDS, KIND_INDEX, KIND_OPEN_COLUMNS):
        for entry in objects(rejecting, "persons", kind)[:1]:
            with pytest.raises(DeniedError):
                rejecting.keys.block_keys(reading, entry.key_id, kind, [0], "persons")
    with pytest.raises(DeniedError, match="did not name"):
        rejecting.keys.subject_tokens(reading, "persons", ["P-000001"])
    (entry,) = objects(rejecting, "persons", KIND_REJECTS)
    other = rejecting.opened(*rejecting.request("ada", "get", get("P-000001"))).grant.reading_id
    with pytest.raises(DeniedError, match="another verb"):
        rejecting.keys.block_keys(other, entry.key_id, KIND_REJECTS, [0], "persons")
    assert len(rejecting.keys.block_keys(reading, entry.key_id, KIND_REJECTS, [0], "persons")) == 1  # control


@pytest.fixture
def expiring(rejecting):
    """The same where parcels expire."""
    rejecting.api.of("kit").put("parcels", [{"person_id": "P-000001", "tracking": "SF1", "goods": "杯", "district": 1}])
    rejecting.api.keys.keymaster.changes.make("kit", "schema", EXPIRING)
    return rejecting


def counting(thief):
    """A lease of a signed request to count what expired."""
    return call(thief, "served.lease", thief.request("kit", "retention", asked.Retention())).lease_id


def asks_of(thief, table, lease):
    """What a server asks to count in a table."""
    ask, (entry, *_) = thief.keys.asking.ask, objects(thief, table, KIND_RECORDS)
    low, high = bytes(16), b"\xff" * 16
    return (
        lambda: ask("erasures.horizon", lease=lease, table=table, days=1),
        lambda: ask("erasures.buried", lease=lease, table=table, low=low, high=high, since=-1),
        lambda: ask("file_keys", lease=lease, key_ids=[entry.key_id]),
    )


def test_who_has_what_expired_counted_has_nothing_compacted(expiring):
    """Tables in which nothing expires are not looked into; nothing is dropped, rewritten or committed."""
    ask, lease = expiring.keys.asking.ask, counting(expiring)
    for asks in asks_of(expiring, "persons", lease):
        with pytest.raises(DeniedError) as refused:
            asks()
        assert refused.value.rule == warrant.BEYOND
    for table, kind in (("persons", KIND_REJECTS), ("parcels", KIND_INDEX)):
        (entry, *_) = objects(expiring, table, kind)
        with pytest.raises(DeniedError, match="not looked into"):
            ask("file_keys", lease=lease, key_ids=[entry.key_id])
    head = expiring.keys.head()
    for name, said in (
        ("commit", {"base": head, "new": head, "counts": {}, "digests": [], "dropped_keys": []}),
        ("erasures.unclean", {"object_ids": []}),
        ("erasures.destroy_keys", {"object_ids": [bytes(16)]}),
        ("mint_batch", {}),
    ):
        with pytest.raises(DeniedError, match="its caller did not"):
            ask(name, lease=lease, **said)
    for asks in asks_of(expiring, "parcels", lease):  # control
        asks()


def test_control_without_the_tables_of_the_request_every_table_is_looked_into(expiring, monkeypatch):
    """Control: a keymaster that compares no table answers the same lease of any."""
    monkeypatch.setattr(served.Served, "_check_counted", lambda *_: None)
    for asks in asks_of(expiring, "persons", counting(expiring)):
        asks()


def test_revoking_reaches_what_was_begun(rejecting):
    """The next call on a lease in the name of a revoked credential is refused."""
    ask, own = rejecting.keys.asking.ask, rejecting.api.keys.credential("kit")
    said = msgspec.json.encode(asked.Rejects())
    path = asked.path_of(rejecting.api.keys.room_id, "rejects")
    captured = signed(rejecting, own, "rejects", asked.Rejects())
    assert captured[:2] == (path, said)
    lease = call(rejecting, "served.leases", captured)[0].lease_id
    assert ask("renew", lease=lease).lease_id == lease  # control
    rejecting.api.keys.keymaster.credentials.revoke("kit", own.id)
    with pytest.raises(DeniedError, match="revoked"):
        ask("renew", lease=lease)


def test_a_refusal_halfway_leaves_no_lease(rejecting, monkeypatch):
    """Who may put into one table and not the next has none of either."""
    real = rejecting.api.keys.keymaster._leases.begin_put

    def one_alone(actor, table, *more):
        if table != "persons":
            raise DeniedError("no", rule="room")
        return real(actor, table, *more)

    monkeypatch.setattr(rejecting.api.keys.keymaster._leases, "begin_put", one_alone)
    with pytest.raises(DeniedError):
        leases(rejecting, "rejects", asked.Rejects())
    state = rejecting.api.keys.keymaster._core.state.read()
    assert state.execute("SELECT count(*) FROM lease WHERE state = 'open'").fetchone()[0] == 0
