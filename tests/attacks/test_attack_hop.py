"""The key that a server shares with a keymaster's process: made up, outlived, of another, or of who is no server."""

from __future__ import annotations

import os
import time

import pytest
from served_room import Served

from strongroom.errors import DeniedError
from strongroom.identity.signing import RequestSigner
from strongroom.keyserver import callers
from strongroom.keyserver.asking import Asking
from strongroom.keyserver.calls import Original
from strongroom.keyserver.frames import pack
from strongroom.keyserver.hops import hop_id, hop_key


@pytest.fixture
def served(room):
    with Served(room.keymaster()) as made:
        yield made


def sent(served, key, name, call="head", body=None):
    """The status of a call that is signed with a shared key under a name."""
    service = served._server._app.inner._service
    path, body = f"/v1/{served.room_id.hex()}/{service._instance}/{call}", pack({}) if body is None else body
    headers = RequestSigner(key, name, time.time, os.urandom, shared=True).headers(path, body)
    wire = Asking(served.url, served.credential("ada"), None, time.time, os.urandom)._wire
    try:
        return wire.post(path, body, headers)[0]
    finally:
        wire.close()


def secret(served):
    return served._server._app.inner._service.callers._secret


def test_a_shared_key_is_of_one_server_one_process_and_some_minutes(served):
    """Made up, of another process, for later than it was given, under another name, or after its end: 401."""
    own, other = served.credential("kit", server=True), served.credential("kit", server=True)
    until, past = int(time.time()) + 600, int(time.time()) - 1
    key = hop_key(secret(served), own.id, until)
    for wrong, name in (
        (os.urandom(32), hop_id(own.id, until)),
        (hop_key(os.urandom(32), own.id, until), hop_id(own.id, until)),
        (key, hop_id(own.id, until + 1)),
        (key, hop_id(other.id, until)),
        (key, own.id),
        (hop_key(secret(served), own.id, past), hop_id(own.id, past)),
        (key, f"{own.id}.{until}x"),
        (key, f"{own.id}."),
    ):
        assert sent(served, wrong, name) == 401


def test_control_the_key_in_force_is_answered(served):
    """Control: the same call under the key that its server was given."""
    own = served.credential("kit", server=True)
    until = int(time.time()) + 600
    assert sent(served, hop_key(secret(served), own.id, until), hop_id(own.id, until)) == 200


def test_nobody_but_a_server_has_one(served):
    """A direct caller is given none, and one made with the process's very secret is none."""
    own = served.credential("ada")
    asking = Asking(served.url, own, None, time.time, os.urandom)
    asking.greet()
    assert asking._hop is None
    asking.close()
    until = int(time.time()) + 600
    assert sent(served, hop_key(secret(served), own.id, until), hop_id(own.id, until)) == 401


def test_a_server_that_is_revoked_has_none_at_once(served):
    """The key was given a moment ago and has ten minutes to go."""
    own = served.credential("kit", server=True)
    with served.connect(own) as keys:
        assert keys.asking._hop is not None
        assert keys.head().number > 0
        served.keymaster.credentials.revoke("kit", own.id)
        with pytest.raises(DeniedError, match="revoked"):
            keys.head()


def test_with_it_a_server_signs_for_no_caller(served):
    """A request that is handed on bears its caller's own signature, or it is nobody's."""
    own = served.credential("kit", server=True)
    until = int(time.time()) + 600
    key, name = hop_key(secret(served), own.id, until), hop_id(own.id, until)
    path, body = f"/v1/rooms/{served.room_id.hex()}/whoami", b"{}"
    forged = RequestSigner(key, name, time.time, os.urandom, shared=True).headers(path, body)
    headers = {name.lower(): value for name, value in forged.items()}
    with served.connect(own) as keys, pytest.raises(DeniedError, match="not signed in"):
        keys.asking.ask("served.whoever", request=Original("POST", path, headers, body, "127.0.0.1"))


def test_a_captured_call_under_it_is_answered_once(served):
    """The very bytes again: refused, as with any signature."""
    own = served.credential("kit", server=True)
    with served.connect(own) as keys:
        seen, real = [], keys.asking._wire.post
        keys.asking._wire.post = lambda *args: seen.append(args) or real(*args)
        keys.head()
        assert real(*seen[-1])[0] == 403


def test_control_without_the_memory_of_nonces_it_is_answered_again(served, monkeypatch):
    """Control: the same bytes are answered when nobody remembers nonces."""
    monkeypatch.setattr(callers.Callers, "_once", lambda *_: None)
    own = served.credential("kit", server=True)
    with served.connect(own) as keys:
        seen, real = [], keys.asking._wire.post
        keys.asking._wire.post = lambda *args: seen.append(args) or real(*args)
        keys.head()
        assert real(*seen[-1])[0] == 200


def test_when_its_time_is_over_the_server_greets_again(served):
    """Nobody notices: a new key is asked for with the key pair."""
    with served.connect(served.credential("kit", server=True)) as keys:
        signer, _ = keys.asking._hop
        keys.asking._hop = (signer, 0.0)
        assert keys.head().number > 0
        assert keys.asking._hop[1] > time.monotonic()


def test_another_process_answers_and_nobody_notices(served):
    """It does not know the key: the server greets it with the key pair, and is answered."""
    with served.connect(served.credential("kit", server=True)) as keys:
        assert keys.head().number > 0
        service = served._server._app.inner._service
        service._instance, service.callers._secret = "f" * 16, os.urandom(32)
        assert keys.head().number > 0
