"""Exports through a room's server: the files are those that the library makes, whole or not there, and charged once."""

import contextlib
import http.client
import io
import re
import socket
import threading
import time
import urllib.request
import zipfile

import pyarrow as pa
import pytest
import tls_kit
import tracing_room
from api_export_kit import CODED, DAY, EXTRACT, READERS, SHOWN, Large, by_id, people, read_csv, said, signed
from room_api import Api
from small_room import parcels, person
from tracing_room import trace

import strongroom
from strongroom.errors import (
    BudgetError,
    ConflictError,
    DeniedError,
    IntegrityError,
    NotFoundError,
    UnavailableError,
    UsageError,
)
from strongroom.keymaster.warrant import BEYOND
from strongroom.keyserver.streamed import Streamed
from strongroom.listener import stream
from strongroom.listener.address import Listen
from strongroom.server import exporting
from strongroom.trace.exporting import choosing
from strongroom.trace.exporting import export as module
from strongroom.trace.exporting.rowroots import RowRoot
from strongroom.trace.tracing.facts import facts_of


@pytest.fixture
def api(sending):
    with Api(sending) as made:
        yield made


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "room")


def exported(api):
    """The ledger, as whoever may read the log sees it."""
    return api.keys.exports.all("kit")


def acts(api, actor="ana"):
    return [e for e in api.keys.log_entries("kit", of=actor) if e["act"] not in {"keys", "open"}]


# -- what is in the files -----------------------------------------------------------------------


@pytest.mark.parametrize("word", list(READERS))
def test_files_are_those_of_the_library_in_every_format(api, sending, tmp_path, word):
    """Byte for byte, rows in the same order, the same root; noted under the caller's name, with the server beside it."""
    place, started = tmp_path / f"persons.{word}", []
    report = api.of("ana").export("persons", to=str(place), started=started.append, **EXTRACT)
    assert by_id(READERS[word](place)) == by_id(people())
    assert (report.persons, report.records, report.files) == (300, {"persons": 300}, (str(place),))
    assert [(grant.export_id.hex(), grant.persons, grant.token_key) for grant in started] == [(report.export_id, 300, b"")]
    (record,) = exported(api)
    assert (record.id, record.actor, record.state, record.records) == (report.export_id, "ana", "ended", 300)
    assert (record.root, record.leaf, record.recipient) == (report.root, report.leaf, "uni-north")
    assert report.remaining[DAY] == 0
    assert [e["act"] for e in acts(api)] == ["export", "exported"]
    (opening,) = [e for e in api.keys.log_entries("kit", of="ana") if e["act"] == "open"]
    assert (opening["extras"]["through"], opening["extras"]["verb"]) == ("front", "export")
    again = tmp_path / f"again.{word}"
    with strongroom.open(str(sending.bucket), keys=api.keys.connect(api.keys.credential("ana")), actor="ana") as room:
        room.export("persons", to=str(again), **EXTRACT)
    assert place.read_bytes() == again.read_bytes()
    root = RowRoot()
    root.add("persons", [pa.array([row[name] for row in READERS[word](place)]) for name in people()[0]])
    assert root.root().hex() == report.root
    assert names_in(tmp_path) == sorted([place.name, again.name])


def test_masks_and_tokens_are_made_by_the_server(api, tmp_path):
    """What a direct caller is refused: masked fields, tokens of this export alone, classes of which a field is withheld."""
    wanted = {**SHOWN, "to": str(tmp_path / "direct.csv")}
    keys = api.keys.connect(api.keys.credential("ana"))
    with keys, strongroom.open(str(api.bucket), keys=keys, actor="ana") as room, pytest.raises(DeniedError) as refused:
        room.export("persons", **wanted)
    assert refused.value.rule == "room.server-only"
    api.of("ana").export("persons", to=str(tmp_path / "shown.csv"), **SHOWN)
    found = by_id(read_csv(tmp_path / "shown.csv"))
    assert list(found[0]) == ["person_id", "name", "mobile", "birth_year"]
    assert [row["mobile"] for row in found] == ["****" + person(n)["mobile"][-4:] for n in range(300)]
    for name in ("one", "two"):
        api.of("ana").export(["persons", "parcels"], to=str(tmp_path / name), format="csv", **CODED)
    one, two = ({row["person_id"] for row in read_csv(tmp_path / name / "persons.csv")} for name in ("one", "two"))
    assert len(one) == 300
    assert not one & two
    assert {row["person_id"] for row in read_csv(tmp_path / "one" / "parcels.csv")} == one
    assert not any(p["person_id"] in one for p in people())


def test_several_tables_come_as_one_zip_and_keep_their_joins(api, tmp_path):
    """A condition chooses the persons of the first; a folder has a file for each, in every format."""
    for word, reader in READERS.items():
        condition = "birth_year >= 2000"
        folder = tmp_path / word
        report = api.of("ana").export(["persons", "parcels"], to=str(folder), format=word, where=condition, **EXTRACT)
        wanted = [p for p in people() if p["birth_year"] >= 2000]
        assert by_id(reader(folder / f"persons.{word}")) == by_id(wanted)
        ids = {p["person_id"] for p in wanted}
        found = sorted(str(row["tracking"]) for row in reader(folder / f"parcels.{word}"))
        assert found == sorted(p["tracking"] for p in parcels(600, 300).to_pylist() if p["person_id"] in ids)
        assert report.records == {"persons": len(wanted), "parcels": 2 * len(wanted)}
        assert names_in(folder) == [f"parcels.{word}", f"persons.{word}"]


def test_named_subjects_and_those_who_are_not_there(api, tmp_path):
    """In whatever form they are written; each is a look-up in each table; how many persons at most need not be said."""
    more = {key: value for key, value in EXTRACT.items() if key != "persons"}
    named = [" p-000007", "P-000003", "P-000003", "P-999999"]
    report = api.of("ana").export(["persons", "parcels"], to=str(tmp_path / "out"), subjects=named, format="csv", **more)
    assert [row["person_id"] for row in by_id(read_csv(tmp_path / "out" / "persons.csv"))] == ["P-000003", "P-000007"]
    assert (report.persons, report.absent, report.records) == (2, 1, {"persons": 2, "parcels": 4})
    (opening,) = [e for e in api.keys.log_entries("kit", of="ana") if e["act"] == "open"]
    assert opening["extras"]["reserved"] == 6
    single = api.of("ana").export("persons", to=f"{tmp_path}/one/", subjects=["P-000001"], format="jsonl", **more)
    assert single.files == (f"{tmp_path}/one/persons.jsonl",)
    assert names_in(tmp_path / "one") == ["persons.jsonl"]


def test_another_person_agrees_through_the_keymaster(api, tmp_path):
    """Without an approval it is refused; with its id it goes out, and the ledger names who agreed."""
    census = {"recipient": "bureau", "purpose": "census", "reason": "census", "persons": 42}
    with pytest.raises(DeniedError) as refused:
        api.of("ana").export("cases", to=str(tmp_path / "c.csv"), **census)
    assert refused.value.rule == "approval.needed"
    agreed = api.keys.approvals.ask_read("ana", "census", 42, "census")
    api.keys.approvals.decide("max", agreed.id, agree=True)
    assert api.of("ana").export("cases", to=str(tmp_path / "c.csv"), approval=agreed.id, **census).persons == 42
    assert exported(api)[0].approver == "max"


def test_over_tls(sending, tmp_path):
    """The same through a certificate: several tables of some size, whole."""
    own = tls_kit.certificate(tmp_path)
    with Api(sending, Listen("127.0.0.1", 0, *own), own[0]) as made:
        made.of("ana").export(["persons", "parcels"], to=str(tmp_path / "out"), format="jsonl", **EXTRACT)
    assert names_in(tmp_path / "out") == ["parcels.jsonl", "persons.jsonl"]


def test_a_copy_that_came_through_a_server_names_its_recipient(tmp_path):
    """Canary persons go out in it like in any export, and count among those that were signed for."""
    room = tracing_room.make_many(tmp_path / "room")
    wanted = {"recipient": "uni-south", "purpose": "handed-over", "reason": "study 9"}
    most = tracing_room.MANY + tracing_room.CANARIES
    with Api(room) as api:
        with pytest.raises(DeniedError, match="more persons"):
            api.of("ana").export("persons", to=str(tmp_path / "x.csv"), persons=most - 1, **wanted)
        report = api.of("ana").export("persons", to=str(tmp_path / "x.csv"), persons=most, **wanted)
    assert (report.marked, report.names_from > 0) == (True, True)
    assert tracing_room.MANY < report.persons == report.records["persons"] < most
    with room.keymaster() as keys:
        (accused,) = facts_of(trace(room, keys, tmp_path / "x.csv", persons=0)).accused
    assert (accused.export.recipient, accused.export.id) == ("uni-south", report.export_id)


def test_one_row_of_a_copy_is_a_matter_of_two_through_a_server_too(tmp_path):
    """Named alone, a person and a canary are refused with the same words, and with those of somebody who is not there."""
    room = tracing_room.make_many(tmp_path / "room")
    wanted = {"recipient": "uni-south", "purpose": "handed-over", "reason": "study 9"}
    heard = set()
    with Api(room) as api:
        for who in ("P-000007", tracing_room.canary(7)["person_id"], "P-999999"):
            with pytest.raises(DeniedError, match="shows who is one: another person must agree") as refused:
                api.of("ana").export("persons", to=str(tmp_path / "x.csv"), subjects=[who], **wanted)
            heard.add((str(refused.value), refused.value.rule, refused.value.hint))
    assert len(heard) == 1
    assert not (tmp_path / "x.csv").exists()


# -- what any program gets ----------------------------------------------------------------------


def asks(api, body, version="1.1", **more):
    """One request of another program; the answer, and its body as far as it came."""
    path, data, headers = signed(api, api.keys.credential("ana"), body, **more)
    connection = http.client.HTTPConnection("127.0.0.1", api.server.port, timeout=60)
    if version == "1.0":
        connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"
    connection.request("POST", path, data, headers)
    answer = connection.getresponse()
    return answer, answer.read()


def test_another_program_gets_a_file_or_a_zip(api):
    """Media types, the export's id before the first record, and a zip that others open."""
    answer, body = asks(api, said())
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/csv")
    assert answer.headers["Strongroom-Export"] == exported(api)[0].id
    assert answer.headers["Trailer"] == "content-digest, strongroom-exported"
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(body.decode().splitlines()) == 301
    answer, body = asks(api, said(("persons", "parcels"), "jsonl"), nonce=b"z" * 16)
    assert answer.headers["Content-Type"] == "application/zip"
    whole = zipfile.ZipFile(io.BytesIO(body))
    assert whole.testzip() is None
    assert [(one.filename, one.date_time) for one in whole.infolist()] == [
        ("persons.jsonl", (1980, 1, 1, 0, 0, 0)), ("parcels.jsonl", (1980, 1, 1, 0, 0, 0)),
    ]  # fmt: skip
    assert len(whole.read("parcels.jsonl").splitlines()) == 600


def test_who_knows_no_chunks_is_told_before_anybody_is_charged(api):
    """HTTP/1.0 has no end that could be seen: it is refused, and so is an Idempotency-Key, which repeats nothing here."""
    answer, body = asks(api, said(), version="1.0")
    assert (answer.status, b"HTTP/1.1" in body) == (400, True)
    path, data, _ = signed(api, credential := api.keys.credential("ana"), said())
    from strongroom.identity.signing import sign_request

    now = int(time.time())
    headers = sign_request(
        credential.seed, credential.id, "POST", path, data, created=now, expires=now + 60, nonce=b"i" * 16,
        further={"idempotency-key": "one"},
    )  # fmt: skip
    request = urllib.request.Request(api.url + path, data, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    assert (refused.value.code, b"resume" in refused.value.read()) == (400, True)
    assert exported(api) == []


def test_the_same_request_is_answered_once(api):
    """Sent again by whoever has seen it: refused, and nobody is charged again."""
    credential = api.keys.credential("ana")
    path, data, headers = signed(api, credential, said())
    assert len(urllib.request.urlopen(urllib.request.Request(api.url + path, data, headers), timeout=60).read()) > 1000
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(api.url + path, data, headers), timeout=60)
    assert (refused.value.code, b"credential.once" in refused.value.read()) == (403, True)
    assert len(exported(api)) == 1


# -- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "error", "told"),
    [
        ({"recipient": "thief"}, DeniedError, "does not export to this recipient"),
        ({"purpose": "own-view"}, DeniedError, "does not allow export"),
        ({"purpose": "delivery"}, DeniedError, "delivery"),
        ({"where": "name = 'x'"}, UsageError, "name is sealed"),
        ({"where": "1 = 1; drop table x"}, UsageError, "cannot be read"),
        ({"subjects": ["P-000001"], "where": "birth_year = 1"}, UsageError, "or of those"),
        ({"subjects": []}, UsageError, "subjects are named at once"),
        ({"format": "xlsx"}, UsageError, "format"),
        ({"resume": "00" * 16}, NotFoundError, "no export of this id"),
        ({"resume": "x"}, UsageError, r"\$\.resume` is not what export takes"),
        ({"tables": "nobody"}, NotFoundError, "no table nobody"),
        ({"tables": ["persons", "persons"]}, UsageError, "each once"),
        ({"to": "no/such/folder/x.csv"}, UsageError, "no folder"),
        ({"persons": None}, UsageError, "how many persons"),
        ({"persons": 299}, DeniedError, "the most was 299"),
        ({"reason": ""}, UsageError, "reason"),
    ],
)
def test_bad_requests_say_what_is_wrong_and_leave_nothing(api, tmp_path, more, error, told):
    """No file, no charge, no export in the ledger."""
    wanted = {"tables": "persons", "to": str(tmp_path / "x.csv"), **EXTRACT, **more}
    if "to" in more:
        wanted["to"] = str(tmp_path / more["to"])
    with pytest.raises(error, match=told):
        api.of("ana").export(wanted.pop("tables"), **wanted)
    assert exported(api) == []
    assert names_in(tmp_path) == []


def test_a_name_that_is_taken_is_refused_before_anybody_is_asked(api, tmp_path):
    """What is there stays; a name that is taken while records come is found at the end, and none is left of the others."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "parcels.csv").write_text("mine")
    with pytest.raises(ConflictError, match=r"parcels\.csv exists already"):
        api.of("ana").export(["persons", "parcels"], to=str(tmp_path / "out"), format="csv", **EXTRACT)
    assert not api.keys.log_entries("kit", of="ana")
    assert names_in(tmp_path / "out") == ["parcels.csv"]
    late = tmp_path / "late.csv"
    with pytest.raises(ConflictError, match="exists already"):
        api.of("ana").export("persons", to=str(late), started=lambda _: late.write_text("mine"), **EXTRACT)
    assert late.read_text() == "mine"


def test_one_person_beyond_the_budget_is_429_and_nobody_goes_out(api, sending, tmp_path):
    """What is left and when it comes back; the ledger is empty; fewer persons go."""
    api.of("kit").put("persons", [person(300)], records=1)
    with pytest.raises(BudgetError) as refused:
        api.of("ana").export("persons", to=str(tmp_path / "x.csv"), **{**EXTRACT, "persons": 301})
    assert (refused.value.rule, refused.value.remaining) == (DAY, 300)
    assert refused.value.resets_at is None or refused.value.resets_at > time.time()
    assert exported(api) == []
    answer, _ = asks(api, said(persons=301))
    assert answer.status == 429
    assert api.of("ana").export("persons", to=str(tmp_path / "y.csv"), where="birth_year < 2000", **EXTRACT).persons < 300
    assert names_in(tmp_path) == ["y.csv"]


def test_more_persons_than_were_signed_for_is_refused_and_noted(api, tmp_path):
    """Under the rule that says so; and a library without a server keeps the same word."""
    with pytest.raises(DeniedError) as refused:
        api.of("ana").export("persons", to=str(tmp_path / "x.csv"), **{**EXTRACT, "persons": 10})
    assert refused.value.rule == BEYOND
    assert [(e["act"], e["decision"]) for e in acts(api)] == [("export", "refused")]
    with strongroom.open(str(api.bucket), keys=api.keys.of("ana"), actor="ana") as room:
        with pytest.raises(UsageError, match="more than 10 persons"):
            room.export("persons", to=str(tmp_path / "x.csv"), **{**EXTRACT, "persons": 10})
    assert exported(api) == []


# -- cut short ----------------------------------------------------------------------------------


def cut_id(error):
    return re.search("--resume ([0-9a-f]{32})", error.value.hint)[1]


@pytest.mark.parametrize("step", ["file", "rows", "publish", "end"])
def test_what_the_server_cuts_leaves_no_file_and_is_taken_up(api, tmp_path, monkeypatch, step):
    """At the first file, among rows, before the zip's end, when the end is to be noted: resumed it is whole, charged once."""
    from strongroom.keymaster.exports.exporting import EmbeddedExports

    def stops(*_args, **_more):
        raise UnavailableError("stopped")

    monkeypatch.setattr(choosing, "GROUP_BYTES", 1)
    out = tmp_path / "out"
    wanted = {"to": str(out), "format": "csv", **EXTRACT}
    with monkeypatch.context() as patch:
        if step == "end":
            patch.setattr(EmbeddedExports, "end", stops)
        elif step == "rows":
            patch.setattr(module.RowRoot, "add", stops)
        else:
            patch.setattr(exporting._Zip, {"file": "open"}.get(step, step), stops)
        with pytest.raises(UnavailableError, match="was cut before its end") as caught:
            api.of("ana").export(["persons", "parcels"], **wanted)
    ident = cut_id(caught)
    assert not out.exists() or names_in(out) == []
    assert [(one.id, one.state) for one in exported(api)] == [(ident, "open")]
    with pytest.raises(ConflictError, match="another plan"):
        api.of("ana").export("persons", resume=ident, **{**wanted, "to": str(tmp_path / "x.csv")})
    with pytest.raises(NotFoundError):
        api.of("tor").export(["persons", "parcels"], resume=ident, **wanted)
    if step == "rows":  # by the server, or by whoever has the bucket: it is the same export
        with api.keys.connect(api.keys.credential("ana")) as keys, strongroom.open(str(api.bucket), keys=keys, actor="ana") as room:
            report = room.export(["persons", "parcels"], resume=ident, **wanted)
    else:
        report = api.of("ana").export(["persons", "parcels"], resume=ident, **wanted)
    assert (report.export_id, report.persons, report.remaining[DAY]) == (ident, 300, 0)
    assert len(read_csv(out / "persons.csv")) == 300
    assert [e["act"] for e in acts(api) if e["decision"] == "allowed"] == ["export", "resume", "exported"]
    with pytest.raises(ConflictError, match="has ended"):
        api.of("ana").export(["persons", "parcels"], resume=ident, **{**wanted, "to": str(tmp_path / "z")})


def test_a_full_disk_is_said_and_leaves_nothing(api, tmp_path, monkeypatch):
    """At the caller's side: the error tells how to go on."""
    import errno

    from strongroom.trace.exporting import targets

    def full(self, _data):
        with targets._telling(self._path):
            raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(targets._Told, "write", full)
        with pytest.raises(UnavailableError, match="the disk is full") as caught:
            api.of("ana").export("persons", to=str(tmp_path / "x.csv"), **EXTRACT)
    assert cut_id(caught) == exported(api)[0].id
    assert names_in(tmp_path) == []
    api.of("ana").export("persons", to=str(tmp_path / "x.csv"), **EXTRACT)  # where all of it had been sent: anew


def test_an_answer_that_ends_early_or_was_changed_is_no_file(api, tmp_path, monkeypatch):
    """A real answer, cut at many places or with one byte changed; whole, it is a file: the control."""
    path, data, headers = signed(api, api.keys.credential("ana"), said(("persons", "parcels")))
    with socket.create_connection(("127.0.0.1", api.server.port), timeout=60) as raw:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        raw.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        whole = b""
        while whole.count(b"}\r\n\r\n") < 2:
            whole += raw.recv(1 << 16)
    start = whole.index(b"\r\n\r\n") + 4
    client = api.of("ana")
    # with its last chunk, but without the trailers
    plain = re.sub(rb"\r\n0\r\n.*", b"\r\n0\r\n\r\n", whole, flags=re.DOTALL)
    cuts = [whole[:at] for at in (start, start + 10, start + 5_000, len(whole) // 2, len(whole) - 300, len(whole) - 2)]
    for number, answer in enumerate([*cuts, plain, changed(whole, start), changed(whole, len(whole) // 2), whole]):
        monkeypatch.setattr(client._wire, "stream", lambda *_, answer=answer: given(answer))
        out = tmp_path / f"out{number}"
        if answer is whole:
            client.export(["persons", "parcels"], to=str(out), format="csv", **EXTRACT)
            assert names_in(out) == ["parcels.csv", "persons.csv"]
            continue
        with pytest.raises((UnavailableError, IntegrityError)) as caught:
            client.export(["persons", "parcels"], to=str(out), format="csv", **EXTRACT)
        assert cut_id(caught) == exported(api)[0].id
        assert not out.exists() or names_in(out) == []


def changed(answer, at):
    return answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1 :]


def given(answer):
    """The same bytes, from somebody who closes then."""
    own, other = socket.socketpair()

    def send():
        with contextlib.suppress(OSError), other:
            other.sendall(answer)
            other.shutdown(socket.SHUT_WR)
            other.recv(1)

    threading.Thread(target=send, daemon=True).start()
    return Streamed(own, "server", (b"",))


# -- who takes it slowly, or not at all ---------------------------------------------------------


def begun(api, number=0, actor="ana"):
    """A connection that has asked for an export, and reads nothing but its head."""
    path, data, headers = signed(api, api.keys.credential(actor), said(), nonce=bytes([number]) * 16)
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    raw.settimeout(60)
    raw.connect(("127.0.0.1", api.server.port))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    raw.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    assert raw.recv(12) == b"HTTP/1.1 200"
    return raw


def until(check, seconds=60):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)


def rests(large):
    """How much was written by the time that no more is."""
    before = -1
    while before != large.written:
        before = large.written
        time.sleep(0.3)
    return before


def test_who_reads_nothing_makes_the_server_hold_little(api, tmp_path, monkeypatch):
    """Of 300 MiB a few are made; who waits goes on when it is read; others are answered meanwhile."""
    large = Large(monkeypatch)
    with begun(api) as raw:
        assert rests(large) < 24 << 20
        assert api.of("ana").whoami().actor == "ana"
        got = 0
        while got < 300 << 20:
            piece = raw.recv(1 << 20)
            assert piece
            got += len(piece)
    until(lambda: exported(api)[0].state == "ended")


def test_who_goes_away_ends_their_export_and_can_take_it_up(api, tmp_path, monkeypatch):
    """Its place is free again, and nothing is noted as exported."""
    with monkeypatch.context() as patch:
        large = Large(patch)
        raw = begun(api)
        rests(large)
        raw.close()
        until(lambda: not api.exports._under_way)
    (record,) = exported(api)
    assert record.state == "open"
    report = api.of("ana").export("persons", to=str(tmp_path / "x.csv"), resume=record.id, **EXTRACT)
    assert (report.export_id, report.records) == (record.id, {"persons": 300})


def test_who_takes_it_too_slowly_is_cut_and_keeps_no_other_caller_away(api, tmp_path, monkeypatch):
    """A caller has two at once, all have three; a place that is kept by who reads nothing is free after its time."""
    with monkeypatch.context() as patch:
        patch.setattr(stream, "LEAST_SECONDS", 12.0)
        large = Large(patch)
        slow = [begun(api, number) for number in range(2)]
        with pytest.raises(UnavailableError, match="2 exports of this caller"):
            api.of("ana").export("persons", to=str(tmp_path / "x.csv"), **EXTRACT)
        slow.append(begun(api, 2, "tor"))
        with pytest.raises(UnavailableError, match="too many exports"):
            api.of("tor").export("persons", to=str(tmp_path / "x.csv"), **EXTRACT)
        until(lambda: not api.exports._under_way)
        assert large.written < 48 << 20
        for raw in slow:
            raw.close()
    assert api.of("ana").export("persons", to=str(tmp_path / "x.csv"), **EXTRACT).persons == 300
    until(lambda: not api.exports._under_way)
    told = urllib.request.urlopen(f"http://127.0.0.1:{api.server.metrics_port}/metrics", timeout=10).read().decode()
    assert 'strongroom_requests_total{status="200",verb="export"} 1.0' in told
    assert 'strongroom_requests_total{status="503",verb="export"} 5.0' in told


def test_who_takes_it_slowly_but_fast_enough_has_all_of_it(api, monkeypatch):
    """So many bytes in each time are enough, however long it takes as a whole."""
    monkeypatch.setattr(stream, "LEAST_SECONDS", 2.0)
    Large(monkeypatch)
    with begun(api) as raw:
        got, started = 0, time.monotonic()
        while got < 64 << 20:
            piece = raw.recv(1 << 20)
            assert piece
            got += len(piece)
            time.sleep(len(piece) / (24 << 20))
        assert time.monotonic() - started > 2.5


def test_a_server_that_ends_cuts_what_is_under_way(sending, tmp_path, monkeypatch):
    """It ends at once; whoever was cut takes it up at the next one."""
    with Api(sending) as first:
        with monkeypatch.context() as patch:
            large = Large(patch)
            raw = begun(first)
            rests(large)
            first.server.stop()
            first._thread.join(20)
            assert not first._thread.is_alive()
            raw.close()
        (record,) = exported(first)
    with Api(sending) as second:
        report = second.of("ana").export("persons", to=str(tmp_path / "x.csv"), resume=record.id, **EXTRACT)
    assert (report.export_id, report.persons) == (record.id, 300)


def test_a_policy_without_exports_says_so(room, tmp_path):
    """The verb is there for every room; who may not is refused by name."""
    with Api(room) as api, pytest.raises(DeniedError) as refused:
        api.of("ada").export("persons", to=str(tmp_path / "x.csv"), **{**EXTRACT, "purpose": "case-work"})
    assert refused.value.rule == "purposes.case-work.verbs"
