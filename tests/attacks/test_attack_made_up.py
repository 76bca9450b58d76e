"""Strangers who sign with keys of their own at a room's server: the keymaster hardly hears of them, nor they of it."""

import os
import time
from types import SimpleNamespace

import pytest
import urllib3
from room_api import Api

from strongroom.errors import DeniedError, UnavailableError
from strongroom.identity import asked
from strongroom.identity.credential import new_credential
from strongroom.identity.signing import sign_request
from strongroom.keymaster.wanted import Wanted
from strongroom.keyserver.served import Served as Handed
from strongroom.server import callers


class Strangers:
    """Who sends requests from an address of this machine, and how often the keymaster is asked of a key meanwhile."""

    def __init__(self, api, address="127.0.0.2"):
        self.api = api
        self.pool = urllib3.PoolManager(retries=False, timeout=30, source_address=(address, 0))
        self.path = asked.path_of(api.keys.room_id, "whoami")

    def send(self, credential=None, body=b"{}", sent=None, headers=None):
        own = credential or new_credential(self.api.keys.room_id, "ada")
        now = int(time.time())
        signed = sign_request(
            own.seed, own.id, "POST", self.path, body, created=now, expires=now + 60, nonce=os.urandom(16)
        )
        found = self.pool.urlopen(
            "POST", self.api.url + self.path, body=sent or body, headers=signed if headers is None else headers
        )
        return found.status, found.data


@pytest.fixture
def heard(monkeypatch):
    """Every key that the keymaster is asked of."""
    real, found = Handed.caller, []

    def caller(self, server, key_id):
        found.append(key_id)
        return real(self, server, key_id)

    monkeypatch.setattr(Handed, "caller", caller)
    return found


@pytest.fixture
def api(room, heard):
    with Api(room) as made:
        heard.clear()
        yield made


def crowd(api, heard, number):
    """Calls to the keymaster for so many requests, each under a key that nobody has made known."""
    strangers, before = Strangers(api), len(heard)
    assert {strangers.send() for _ in range(number)} == {strangers.send(headers={})}
    return len(heard) - before


def test_made_up_keys_cost_the_keymaster_little(api, heard):
    """Of an address so many keys a second are asked of; who is known, or new at another address, is answered meanwhile."""
    limiter, now = api.server._listener._app._service._callers._limiter, [time.monotonic()]
    limiter.of_address, limiter._clock = 5, lambda: now[0]
    api.of("ada").whoami()
    assert crowd(api, heard, 200) == 5
    now[0] += 1.0
    assert crowd(api, heard, 50) == 5
    api.of("ada").whoami()
    assert Strangers(api, "127.0.0.3").send(api.keys.credential("mei"))[0] == 200


def test_control_without_a_limit_each_is_a_call(api, heard):
    """Control: the same crowd costs a call each."""
    limiter = api.server._listener._app._service._callers._limiter
    limiter.of_address = limiter.of_all = 10_000
    assert crowd(api, heard, 200) == 200


def test_what_is_remembered_of_strangers_is_bounded(api, heard, monkeypatch):
    """However many keys are made up."""
    monkeypatch.setattr(callers, "UNKNOWN_KEPT_MAX", 20)
    keys = api.server._listener._app._service._callers
    keys._limiter.of_address = keys._limiter.of_all = 10_000
    assert crowd(api, heard, 100) == 100
    assert len(keys._unknown) == 20


def test_one_key_that_is_unknown_is_asked_of_once_a_second_and_works_when_it_is_made(api, heard):
    """Who tries too early is let in within two seconds of being made known."""
    early, strangers = new_credential(api.keys.room_id, "ada"), Strangers(api)
    began = time.monotonic()
    while time.monotonic() - began < 0.5:
        assert strangers.send(early)[0] == 401
    assert len(heard) <= 1 + (time.monotonic() - began)
    api.keys.keymaster.credentials.add("kit", Wanted("ada", early.public_key, 1.0))
    added = time.monotonic()
    while strangers.send(early)[0] == 401:
        assert time.monotonic() - added < 2
        time.sleep(0.05)
    assert len(heard) <= 2 + (time.monotonic() - began)


def test_callers_who_come_together_are_all_let_in(api, heard):
    """Behind one address, at a server that knows nobody yet: who is known counts no more."""
    keys = api.server._listener._app._service._callers
    keys._limiter.of_address, keys._limiter.of_all = 3, 3
    strangers = Strangers(api)
    assert {strangers.send(api.keys.credential("ada"))[0] for _ in range(12)} == {200}
    assert len(heard) == 12


def test_a_known_key_is_not_asked_of_for_its_name_alone(api, heard):
    """A large request under a live caller's key id, signed by somebody else, is refused here."""
    live = api.keys.credential("ada")
    strangers = Strangers(api)
    assert strangers.send(live)[0] == 200
    heard.clear()
    forged = SimpleNamespace(id=live.id, seed=os.urandom(32))
    body = b"{" + b" " * 100_000 + b"}"
    assert strangers.send(forged, body)[0] == 401
    assert heard == []
    assert strangers.send(live, body)[0] == 200  # control: its owner's is asked of anew
    assert heard == [live.id]


# -- while the keymaster is down ---------------------------------------------------------------


@pytest.fixture
def down(room, monkeypatch):
    """A server whose keymaster has gone, and a caller whom it knew before."""
    with Api(room) as api:
        known = api.keys.credential("ada")
        assert Strangers(api).send(known)[0] == 200

        def gone(*_args):
            raise UnavailableError("the keymaster does not answer (ConnectionRefusedError)")

        monkeypatch.setattr(api.own.asking._wire, "post", gone)
        yield api, known


def said_to_strangers(api):
    """Every answer to somebody who is not known, of whatever form the request is."""
    strangers, own = Strangers(api), new_credential(api.keys.room_id, "ada")
    return {
        strangers.send(headers={}),
        strangers.send(headers={"Signature-Input": "sig1=()", "Signature": "sig1=:AA==:"}),
        strangers.send(own),
        strangers.send(own),
        strangers.send(),
        strangers.send(body=bytes(100_000)),
        strangers.send(sent=b"[]"),
    }


def test_strangers_do_not_learn_that_the_keymaster_is_down(down):
    """They get the one answer that they always get; who is known is told to come again."""
    api, known = down
    ((status, body),) = said_to_strangers(api)
    assert status == 401
    assert b"unavailable" not in body.lower()
    status, body = Strangers(api).send(known)
    assert status == 503
    assert b"urn:strongroom:problem:unavailable" in body


def test_control_where_the_error_goes_through_they_learn_it(down, monkeypatch):
    """Control: a server that hands on what the keymaster's absence raises tells everybody."""
    monkeypatch.setattr(callers.CallerKeys, "_find", lambda self, key_id, _address: self._asked(key_id))
    assert 503 in {status for status, _ in said_to_strangers(down[0])}


def test_a_keymaster_that_is_down_is_not_asked_for_each_stranger(room):
    """One try in a second; it is asked again when that is over, by its clock."""
    now, asked_of = [1000.0], []

    def ask(_name, key_id):
        asked_of.append(key_id)
        raise UnavailableError("gone")

    keys = callers.CallerKeys(ask, lambda: now[0])
    own = [new_credential(bytes(16), "ada") for _ in range(5)]

    def refused(one):
        headers = sign_request(one.seed, one.id, "POST", "/x", b"", created=1000, expires=1060, nonce=b"n" * 16)
        with pytest.raises(DeniedError, match="not signed in"):
            keys.check("POST", "/x", {name.lower(): value for name, value in headers.items()}, "10.0.0.1")

    for one in own:
        refused(one)
    assert asked_of == [own[0].id]
    now[0] += 1.5
    refused(own[1])
    assert asked_of == [own[0].id, own[1].id]
