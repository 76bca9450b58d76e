"""A keymaster behind its server: requests that are stolen, replayed, altered or made up, and listeners that are pressed."""

import contextlib
import re
import socket
import threading
import time

import pytest
import urllib3
from served_room import Served
from small_room import POLICY, SCHEMA, person
from tls_kit import certificate

import strongroom
from strongroom.cli.app import main
from strongroom.errors import DeniedError, NotFoundError
from strongroom.identity.credential import new_credential
from strongroom.identity.signing import sign_request
from strongroom.keymaster import holder, releasing
from strongroom.keymaster.wanted import Wanted
from strongroom.keyserver import callers, service
from strongroom.keyserver.calls import CALLS, read_trouble
from strongroom.keyserver.frames import pack
from strongroom.listener import connection
from strongroom.listener.address import Listen, parse_listen
from strongroom.purpose.budget import OwnBudgets
from strongroom.purpose.model import Budget


@pytest.fixture
def served(room):
    with Served(room.keymaster()) as made:
        yield made


class Wire:
    """What a thief sees of one client's traffic, and the means to send bytes of their own."""

    def __init__(self, served):
        self.url = served.url
        self.seen = []
        self.pool = urllib3.PoolManager(retries=False, timeout=20)

    def tap(self, keys):
        """Keep every request of a connection."""
        real = keys.asking._wire.post

        def post(path, body, headers):
            self.seen.append((path, body, dict(headers)))
            return real(path, body, headers)

        keys.asking._wire.post = post

    def send(self, path, body=b"", headers=None, method="POST"):
        return self.pool.urlopen(method, self.url + path, body=body, headers=headers or {})


@pytest.fixture
def captured(room, served):
    """One release that was answered, as it went over the wire, and the connection it came from."""
    wire = Wire(served)
    own = served.credential("ada")
    with served.connect(own) as keys:
        wire.tap(keys)
        with strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
            with opened.read(purpose="case-work", reason="case 1") as desk:
                assert dict(desk.get("persons", "P-000007")) == person(7)
                yield wire, next(one for one in wire.seen if one[0].endswith("/release")), own


# -- requests ----------------------------------------------------------------------------------


def test_a_captured_request_is_answered_once(captured):
    """The very bytes of a release, sent again: no keys."""
    wire, (path, body, headers), _ = captured
    again = wire.send(path, body, headers)
    assert again.status == 403
    assert "answered before" in read_trouble(again.data).message


def test_control_without_the_memory_of_nonces_a_replay_is_answered(captured, monkeypatch):
    """Control: the same bytes give the same keys when nobody remembers nonces."""
    wire, (path, body, headers), _ = captured
    monkeypatch.setattr(callers.Callers, "_once", lambda *_: None)
    again = wire.send(path, body, headers)
    assert again.status == 200
    assert CALLS["release"].read_answer(again.data).value.persons == 1


def test_a_captured_request_opens_nothing_after_a_restart(room, captured, served):
    """Another process answers: the request was signed for the one before."""
    wire, (path, body, headers), _ = captured
    service = served._server._app.inner._service
    service._instance = "f" * 16
    service.callers._nonces.clear()
    assert wire.send(path, body, headers).status == 421


def test_a_captured_request_that_is_altered_is_refused(captured, served):
    """Another call, another body, another time under the old signature: as if nobody had signed."""
    wire, (path, body, headers), _ = captured
    later = headers["Signature-Input"].replace("created=1", "created=2")
    for sent in (
        (path.replace("/release", "/stand_ins"), body, headers),
        (path, body[:-1] + bytes([body[-1] ^ 1]), headers),
        (path, body + b"\0", headers),
        (path, body, headers | {"Signature-Input": later}),
        (path + "?x=1", body, headers),
    ):
        served._server._app.inner._service.callers._nonces.clear()  # so that nothing is refused for being a replay
        found = wire.send(*sent)
        assert found.status in {400, 401}
        assert b"not signed in" in found.data or b"not the one that was signed" in found.data


def test_control_the_owner_of_the_key_signs_what_the_thief_altered(captured):
    """Control: the same other call, signed by who holds the key, is answered."""
    wire, (path, _, _), own = captured
    path = path.replace("/release", "/head")
    now = int(time.time())
    headers = sign_request(
        own.seed, own.id, "POST", path, pack({}), created=now, expires=now + 60, nonce=b"x" * 16
    )
    assert wire.send(path, pack({}), headers).status == 200


def test_an_old_request_is_refused_even_if_it_was_never_answered(captured):
    """A request that was held back: it ends by itself, and none lasts longer than a few minutes."""
    wire, (path, _, _), own = captured
    path = path.replace("/release", "/head")
    now = int(time.time())
    for number, (created, expires) in enumerate(((now - 400, now - 100), (now - 10, now + 3600), (now + 500, now + 600))):
        headers = sign_request(
            own.seed, own.id, "POST", path, pack({}), created=created, expires=expires, nonce=bytes([number]) * 16
        )
        found = wire.send(path, pack({}), headers)
        assert found.status == 403
        assert "it is" in read_trouble(found.data).message


# -- credentials -------------------------------------------------------------------------------


def test_a_credential_copied_to_another_network_lets_nobody_in(served):
    """The file was in a blog post; whoever has it is not where it may be used."""
    with pytest.raises(DeniedError, match="networks"):
        served.connect(served.credential("ada", networks=["10.1.0.0/16"]))


def test_control_inside_its_network_it_is_worth_what_is_left_of_its_budget(room, served):
    """Control: inside, it reads, up to the budget and under its owner's name in the log."""
    stolen = served.credential("mei", networks=["127.0.0.1"], server=True)
    with served.connect(stolen) as keys, strongroom.open(str(room.bucket), keys=keys, actor="mei") as opened:
        with opened.read(purpose="delivery", reason="r") as desk:
            got = 0
            with pytest.raises(strongroom.BudgetError):
                for n in range(300):
                    desk.get("persons", f"P-{n:06d}")
                    got += 1
    assert 0 < got < 300
    seen = [e for e in served.log_entries("kit") if e["act"] == "get" and e["decision"] == "allowed"]
    assert len(seen) == got
    assert {e["actor"] for e in seen} == {"mei"}


def stolen_with_its_own_budget(room, served):
    """How many persons a thief gets through a credential of three a day, by gets under two purposes; and its id."""
    stolen = served.credential("ada", server=True, budgets=OwnBudgets(Budget(day=3)))
    got = 0
    with served.connect(stolen) as keys, strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
        with contextlib.suppress(strongroom.BudgetError):
            for n in range(6):
                with opened.read(purpose="case-work", reason="r") as desk:
                    desk.get("persons", f"P-{n:06d}")
                    got += 1
    return got, stolen.id


def test_a_stolen_credential_is_worth_its_own_budget(room, served):
    """Its actor may have many more; the credential ends after three, over readings, and the log says through which."""
    got, ident = stolen_with_its_own_budget(room, served)
    assert got == 3
    seen = [e for e in served.log_entries("kit") if e["act"] == "get"]
    assert {e["credential"] for e in seen} == {ident}
    assert seen[-1]["rule"] == f"persons/credential/{ident}/day"
    assert [e["remaining"][f"persons/credential/{ident}/day"] for e in seen[:-1]] == [2, 1, 0]
    with served.connect(served.credential("ada", server=True)) as keys:
        with strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
            with opened.read(purpose="case-work", reason="r") as desk:
                assert desk.get("persons", "P-000007")["name"] == person(7)["name"]


def test_control_without_budgets_of_its_own_it_reads_on(room, served, monkeypatch):
    """Control: where a credential limits nothing, only the actor's budgets hold."""
    monkeypatch.setattr(holder, "credential_limits", lambda *_: ())
    assert stolen_with_its_own_budget(room, served)[0] == 6


def test_a_reading_and_a_lease_of_somebody_else_are_not_there(room, served):
    """Whoever learns their ids can do nothing with them, under another credential of the same actor either."""
    ada, kit = served.of("ada"), served.of("kit")
    reading = ada.begin_reading(actor="ada", purpose="case-work", reason="r").reading_id
    lease = kit.begin_put(actor="kit", table="persons", request_id=b"q" * 16)
    other = served.connect(served.credential("ada", server=True))
    for thief in (other, served.of("mei")):
        with pytest.raises(NotFoundError, match="closed or has expired"):
            thief.subject_tokens(reading, "persons", ["P-000007"])
        with pytest.raises(strongroom.ConflictError, match="lease has ended"):
            thief.mint_batch(lease)
    assert len(ada.subject_tokens(reading, "persons", ["P-000007"])) == 1
    assert len(kit.mint_batch(lease)) == 16
    other.close()


def test_control_without_the_comparison_a_reading_is_anybodys(served, monkeypatch):
    """Control: a server that does not ask whose a reading is lets another credential use it."""
    from strongroom.keyserver.service import Service

    reading = served.of("ada").begin_reading(actor="ada", purpose="case-work", reason="r").reading_id
    monkeypatch.setattr(Service, "_reading", lambda self, credential, reading_id: reading_id)
    assert len(served.of("mei").subject_tokens(reading, "persons", ["P-000007"])) == 1


# -- masks -------------------------------------------------------------------------------------


def read_masked(room, keys):
    with (
        strongroom.open(str(room.bucket), keys=keys, actor="mei") as opened,
        opened.read(purpose="delivery", reason="r") as desk,
    ):
        return desk.get("persons", "P-000007")


def test_a_direct_caller_is_released_no_class_that_a_server_masks(room, served):
    """The purpose masks the mobile number: its class is not released to who could leave the mask out; noted."""
    with served.connect(served.credential("mei")) as keys:
        with pytest.raises(DeniedError, match="only a server") as refused:
            read_masked(room, keys)
    assert refused.value.rule == holder.SERVER_ONLY
    last = [e for e in served.log_entries("kit") if e["act"] == "get"][-1]
    assert (last["decision"], last["rule"]) == ("refused", holder.SERVER_ONLY)


def test_control_a_server_and_a_careless_keymaster_release_it(room, served, monkeypatch):
    """Control: a server's credential gets the record with its mask; without the check the class goes to anybody."""
    with served.connect(served.credential("mei", server=True)) as keys:
        assert read_masked(room, keys)["mobile"] != person(7)["mobile"]
    monkeypatch.setattr(releasing, "whole_only", lambda *_: None)
    with served.connect(served.credential("mei")) as keys:
        assert read_masked(room, keys) is not None


def test_a_direct_caller_reads_no_rows_of_open_columns(room, served):
    """Aggregates with a minimum group are the server's work: the file's keys are not for a caller by themselves."""
    ask = "select sex, count(*) from persons group by sex"
    for server in (False, True):
        own = served.credential("lin", server=server)
        with served.connect(own) as keys, strongroom.open(str(room.bucket), keys=keys, actor="lin") as opened:
            with opened.read(purpose="statistics", reason="r") as desk:
                if server:
                    assert desk.sql(ask).num_rows > 0
                else:
                    with pytest.raises(DeniedError, match="by a server only"):
                        desk.sql(ask)


# -- what takes two ----------------------------------------------------------------------------

TWO = POLICY.replace('[actors.nan]\nroles = ["counsel"]', '[actors.nan]\nroles = ["counsel", "clerk"]').replace(
    "[purposes.delivery]", '[purposes.delivery]\napproval = { roles = ["counsel"], always = true }'
)


@pytest.fixture
def careful(room):
    """A served room whose deliveries need another person's agreement, and where nan is a clerk too."""
    with Served(room.keymaster()) as made:
        made.keymaster.set_policy("kit", TWO)
        yield made


def test_nobody_agrees_to_their_own_or_when_they_are_revoked_or_too_late(careful):
    """A change of policy by one clerk, agreed to by himself, by a revoked credential, and after its time."""
    asked = careful.of("kit").set_policy("kit", TWO + "# mine\n")
    number = careful.keymaster._core.standing.policy_number
    second = careful.connect(careful.credential("kit"))
    for own in (careful.of("kit"), second):
        with pytest.raises(DeniedError, match="another person decides"):
            own.approvals.decide("kit", asked.asked, agree=True)
    gone = careful.credential("nan")
    revoked = careful.connect(gone)
    careful.keymaster.credentials.revoke("kit", gone.id)
    with pytest.raises(DeniedError, match="revoked"):
        revoked.approvals.decide("nan", asked.asked, agree=True)
    careful.keymaster._core.state._writer.execute("UPDATE approval SET expires = 1.0")
    with pytest.raises(strongroom.ConflictError, match="time is over"):
        careful.of("nan").approvals.decide("nan", asked.asked, agree=True)
    careful.keymaster.policy()
    assert careful.keymaster._core.standing.policy_number == number
    for one in (second, revoked):
        one.close()


def test_control_another_clerk_agrees_in_time(careful):
    """Control: the same change, agreed to by another person whose credential is in force, is made."""
    asked = careful.of("kit").set_policy("kit", TWO + "# mine\n")
    number = careful.keymaster._core.standing.policy_number
    careful.of("nan").approvals.decide("nan", asked.asked, agree=True)
    careful.keymaster.policy()
    assert careful.keymaster._core.standing.policy_number == number + 1


def test_no_change_that_takes_two_is_made_by_one_over_the_wire(careful):
    """Policy, schema and credentials wait, whoever asks; a thief with a clerk's credential changes nothing alone."""
    kit = careful.of("kit")
    schema = SCHEMA.replace("district  =", 'note      = { type = "string", class = "contact" }\ndistrict  =')
    before = (careful.keymaster.policy(), careful.keymaster.schema())
    assert kit.set_policy("kit", TWO.replace("always = true", "over = 1000000")).asked
    assert kit.set_schema("kit", schema).asked
    assert kit.credentials.add("kit", Wanted("ada", new_credential(kit.room_id, "ada").public_key, 5)) is None
    assert (careful.keymaster.policy(), careful.keymaster.schema()) == before
    assert len(kit.approvals.waiting("kit")) == 3


def test_a_read_that_needs_agreement_is_released_to_nobody_alone(room, careful):
    """Mei reads nobody, with an approval of another's neither; after nan agrees she reads as many as she asked for."""
    mei, nan = careful.of("mei"), careful.of("nan")
    asked = mei.approvals.ask_read("mei", "delivery", 2, "parcel 1")
    with strongroom.open(str(room.bucket), keys=mei, actor="mei") as opened:
        for approval in (None, asked.id):
            with pytest.raises(DeniedError), opened.read(purpose="delivery", reason="r", approval=approval) as desk:
                desk.get("persons", "P-000001")
        nan.approvals.decide("nan", asked.id, agree=True)
        with opened.read(purpose="delivery", reason="r", approval=asked.id) as desk:
            for n in (1, 2, 1):
                assert desk.get("persons", f"P-{n:06d}") is not None
            with pytest.raises(DeniedError):
                desk.get("persons", "P-000003")


def test_control_without_the_rule_the_same_read_goes_through(room, careful, monkeypatch):
    """Control: a keymaster that does not look for agreements releases the same record."""
    monkeypatch.setattr(releasing, "agreed", lambda *_: ())
    with strongroom.open(str(room.bucket), keys=careful.of("mei"), actor="mei") as opened:
        with opened.read(purpose="delivery", reason="r") as desk:
            assert desk.get("persons", "P-000001") is not None


def test_a_freeze_stops_a_stolen_credential_within_a_second(room, careful):
    """The thief reads in a loop; a second after the freeze nothing more is released, whatever was open."""
    ada = careful.of("ada")
    with strongroom.open(str(room.bucket), keys=ada, actor="ada") as opened:
        desk = opened.read(purpose="case-work", reason="r")
        desk.get("persons", "P-000001")
        kit = careful.of("kit")
        began = time.monotonic()
        kit.freezing.freeze("kit", "actor", "ada", "stolen")
        with pytest.raises(DeniedError) as refused:
            while True:
                desk.get("persons", "P-000002")
        assert time.monotonic() - began < 1
        assert refused.value.rule == "freeze.actor.ada"
    for lonely in ("kit", "ada"):
        asked = careful.keymaster.approvals.waiting(lonely)
        assert asked == []
    lift = careful.of("kit").freezing.ask_lift("kit", "actor", "ada", "back")
    with pytest.raises(DeniedError, match="another person"):
        careful.of("kit").approvals.decide("kit", lift.id, agree=True)
    with pytest.raises(DeniedError):
        careful.of("ada").approvals.decide("ada", lift.id, agree=True)


# -- the listener ------------------------------------------------------------------------------


def test_no_call_says_anything_without_a_credential(served):
    """Every call, the greeting and paths that are none: 401 and the same bytes, whatever the method."""
    wire = Wire(served)
    base = f"/v1/{served.room_id.hex()}/"
    instance = served._server._app.inner._service._instance
    paths = ["/", "/v1", "/docs", "/openapi.json", "/metrics", base, base + "hello", "/v1/" + "0" * 32 + "/hello"]
    paths += [f"{base}{instance}/{name}" for name in (*CALLS, "none")]
    own = new_credential(served.room_id, "ada")
    now = int(time.time())
    answers = set()
    for path in paths:
        signed = sign_request(own.seed, own.id, "POST", path, b"", created=now, expires=now + 60, nonce=b"n" * 16)
        for method, headers in (("POST", {}), ("GET", {}), ("POST", signed), ("DELETE", {}), ("OPTIONS", {})):
            found = wire.send(path, headers=headers, method=method)
            answers.add((found.status, found.data))
    assert len(answers) == 1
    ((status, body),) = answers
    assert status == 401
    assert read_trouble(body).message == "not signed in"


ELSEWHERE = ("0.0.0.0", "::", "192.168.0.1", "2001:db8::1", "169.254.1.1", "::ffff:10.0.0.1", "", "localhost", "example.org")


@pytest.mark.parametrize("host", ELSEWHERE)
def test_no_setting_listens_elsewhere_without_a_certificate(host, monkeypatch, capsys, tmp_path):
    """Whatever address is written, on any of the three servers' command lines or in a program: plain http stays on loopback."""
    bound, text = [], f"[{host}]:1" if ":" in host else f"{host}:1"
    monkeypatch.setattr(socket.socket, "bind", lambda _self, at: bound.append(at))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strongroom.toml").write_text('room = "r"\nkeys = "http://127.0.0.1:1"\n')
    for words in (["keymaster", "serve", "--keys", "k"], ["serve"], ["witness", "serve", "folder", "--log", "l"]):
        with pytest.raises(SystemExit) as told:
            main([*words, "--listen", text])
        assert told.value.code == 2
        assert re.search("only loopback is listened on|listen on an address and a port", capsys.readouterr().err)
    for attempt in (lambda: parse_listen(text), lambda: Listen(host, 1)):
        with pytest.raises(strongroom.UsageError):
            attempt()
    assert bound == []


def test_control_with_a_certificate_it_listens_there_and_strangers_are_refused_all_the_same(room, tmp_path):
    """Control: on every address of the machine, over TLS; who has a credential is answered, nobody else."""
    pem, key = certificate(tmp_path)
    with Served(room.keymaster(), parse_listen("0.0.0.0:0", pem, key), pem) as served:
        assert served.of("ada").head().number > 0
        pool = urllib3.PoolManager(retries=False, timeout=20, ca_certs=str(pem))
        for path in ("/", f"/v1/{served.room_id.hex()}/hello", "/metrics"):
            assert pool.urlopen("POST", served.url + path, body=b"").status == 401


def pressed(served, count, send):
    """Open connections that send something and then nothing."""
    found = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", served._server.port), timeout=20)
        one.sendall(send)
        found.append(one)
    return found


def test_slow_callers_are_let_go_and_others_are_answered(served, monkeypatch):
    """Hundreds of connections that never finish a request: answered meanwhile is who asks, and they are closed soon."""
    monkeypatch.setattr(connection, "HEADER_SECONDS", 2.0)
    slow = pressed(served, 400, b"POST /v1/x HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    began = time.monotonic()
    assert served.of("ada").head().number > 0
    assert time.monotonic() - began < 2
    time.sleep(max(0.0, 3.0 - (time.monotonic() - began)))
    for one in slow:
        assert one.recv(10) == b""
        one.close()
    assert served.of("ada").head().number > 0


def test_control_without_the_limit_they_stay(served, monkeypatch):
    """Control: with a limit of a day the same connections are open still."""
    monkeypatch.setattr(connection, "HEADER_SECONDS", 86_400.0)
    (one,) = pressed(served, 1, b"POST /v1/x HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    one.settimeout(3.0)
    with pytest.raises(TimeoutError):
        one.recv(10)
    one.close()


def test_a_caller_who_is_let_in_cannot_send_more_than_a_body_may_have(served, monkeypatch):
    """The length is looked at before the body; a body without one, or longer than it said, is not read."""
    monkeypatch.setattr(service, "most_of", lambda _path: 1000)
    own = served.credential("ada")
    wire = Wire(served)
    path = f"/v1/{served.room_id.hex()}/hello"
    now = int(time.time())
    body = bytes(2000)
    headers = sign_request(own.seed, own.id, "POST", path, body, created=now, expires=now + 60, nonce=b"l" * 16)
    assert wire.send(path, body, headers).status == 400
    headers = sign_request(own.seed, own.id, "POST", path, body, created=now, expires=now + 60, nonce=b"m" * 16)
    chunked = wire.send(path, iter([body]), headers | {"Transfer-Encoding": "chunked"})
    assert chunked.status == 400
    assert "has a length" in read_trouble(chunked.data).message


def test_a_direct_caller_makes_no_stand_ins(served):
    """Who could ask for the stand-in of any value would know whose it is: a server asks, for values it has opened."""
    with served.connect(served.credential("ada")) as keys:
        reading = keys.begin_reading(actor="ada", purpose="case-work", reason="r").reading_id
        with pytest.raises(DeniedError, match="for a server only"):
            keys.stand_ins(reading, "persons", "mobile", ["13800000000"])


def test_many_callers_at_once_are_each_answered_with_their_own(served):
    """Sixteen connections, hundreds of calls: nobody gets what another asked for."""
    wrong = []

    def work(number):
        with served.connect(served.credential("ada")) as keys:
            asked = list(range(number, 300, 16))
            wanted = [served.keymaster._core.subject.one(f"P-{n:06d}".encode()) for n in asked]
            reading = keys.begin_reading(actor=keys.actor, purpose="case-work", reason="r").reading_id
            found = [keys.subject_tokens(reading, "persons", [f"P-{n:06d}"])[0].tobytes() for n in asked]
        if found != wanted:
            wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_body_that_is_not_the_signed_one_is_refused(captured):
    """Under a signature of its own, with another body: refused before it is decoded."""
    wire, (path, _, _), own = captured
    now = int(time.time())
    headers = sign_request(own.seed, own.id, "POST", path, b"one", created=now, expires=now + 60, nonce=b"i" * 16)
    found = wire.send(path, b"two", headers)
    assert found.status == 400
    assert "not the one that was signed" in read_trouble(found.data).message
