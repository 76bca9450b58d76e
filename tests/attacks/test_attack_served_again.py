"""Whoever has taken a server gets no more out of what a caller sends again under one `Idempotency-Key`."""

import msgspec
import pyarrow as pa
import pytest
from small_room import person
from test_attack_served_acts import call, rejecting
from test_attack_taken_server import signed

from strongroom.errors import ConflictError, DeniedError, UsageError
from strongroom.identity import asked
from strongroom.keyserver import served
from strongroom.server.handed import HandedOn

__all__ = ["rejecting"]
KEY = {"further": {"idempotency-key": "K"}}
ONE = asked.ReputRejects(records=1)


@pytest.fixture
def own(rejecting):
    """The caller's credential, which signs each repeat anew."""
    return rejecting.api.keys.credential("kit")


def granted(thief, own, said=ONE):
    """The leases of a request that the caller signs anew under one key."""
    return [lease.lease_id for lease in call(thief, "served.leases", signed(thief, own, "reput-rejects", said, **KEY))]


def seal(thief, lease, subject):
    ask = thief.keys.asking.ask
    return ask("seal_subjects", lease=lease, batch=ask("mint_batch", lease=lease), identifiers=pa.array([subject]))


def sealed(thief, own, times=4):
    """How many records go in when a request for one is sent so many times."""
    count = 0
    for number in range(times):
        try:
            seal(thief, granted(thief, own)[0], f"Q-{number}")
        except DeniedError:
            continue
        count += 1
    return count


def test_what_is_sent_again_puts_no_more_than_was_signed_for(rejecting, own):
    """One record signed four times is one record, in whichever table."""
    assert len({tuple(granted(rejecting, own)) for _ in range(2)}) == 1  # the same leases
    assert sealed(rejecting, own) == 1
    with pytest.raises(DeniedError, match="more records"):
        seal(rejecting, granted(rejecting, own)[1], "Q-9")


def test_control_with_a_number_for_each_repeat_each_puts_anew(rejecting, own, monkeypatch):
    """Control: a keymaster that counts each repeat for itself takes four."""

    def anew(self, leases):
        for lease, made in leases:
            made.until = self._clock() + 60
            self._leased[lease.lease_id] = made

    monkeypatch.setattr(served.Served, "_keep", anew)
    monkeypatch.setattr(served.Served, "_left", lambda _self, _signer, records: served._Left(records))
    assert sealed(rejecting, own) == 4


def test_what_an_abandoned_lease_took_is_given_back(rejecting, own):
    """Nothing of it is ever put: the request that is sent again has the whole number, and not one more."""
    first = granted(rejecting, own)
    seal(rejecting, first[0], "Q-1")
    for lease in first:
        rejecting.keys.asking.ask("abandon", lease=lease)
    again = granted(rejecting, own)
    assert not set(again) & set(first)
    seal(rejecting, again[0], "Q-1")
    with pytest.raises(DeniedError, match="more records"):
        seal(rejecting, again[1], "Q-2")


def test_a_lease_is_of_the_server_that_began(rejecting, own):
    """Another server has none of it, and leaves none behind; the first goes on."""
    first = granted(rejecting, own)
    rejecting.keys.asking.ask("abandon", lease=first[1])
    keys = rejecting.api.keys
    other = keys.connect(keys.credential("front", server=True))
    try:
        request = rejecting.original(*signed(rejecting, own, "reput-rejects", ONE, **KEY))
        with pytest.raises(ConflictError, match="another server"):
            other.asking.ask("served.leases", request=request)
    finally:
        other.close()
    state = keys.keymaster._core.state.read()
    assert state.execute("SELECT count(*) FROM lease WHERE state = 'open'").fetchone()[0] == len(first) - 1
    seal(rejecting, first[0], "Q-1")  # control


# -- another request under the same key ---------------------------------------------------------


def test_another_request_under_the_key_puts_nothing_again(rejecting, own):
    """Other numbers, another put, and a put of records: refused while the first one runs, and by nothing kept."""
    first = granted(rejecting, own)
    for other in (asked.ReputRejects(records=5), asked.ReputRejects(records=1, put_id="00" * 16)):
        with pytest.raises(ConflictError, match="Idempotency-Key"):
            granted(rejecting, own, other)
    with pytest.raises(ConflictError, match="another request"), rejecting.api.client(own) as kit:
        kit.put("persons", [person(40)], records=1, idempotency_key="K")
    assert granted(rejecting, own) == first  # control


def test_another_put_under_the_key_has_no_lease_of_the_first(rejecting, own, monkeypatch):
    """More records than the first one said, while its lease is open: refused."""
    with rejecting.api.client(own) as kit:
        with monkeypatch.context() as broken:
            broken.setattr(HandedOn, "abandon", lambda *_: None)  # the server goes away
            with pytest.raises(UsageError):
                kit.put("persons", [{**person(40), "nickname": "x"}], records=1, strict=True, idempotency_key="P")
        with pytest.raises(ConflictError, match="another request"):
            kit.put("persons", [person(40), person(41)], records=2, idempotency_key="P")
        assert kit.put("persons", [person(40), person(41)], records=2, idempotency_key="Q").records == 2  # control


def test_a_count_of_rejects_is_no_request_to_put_them_again(rejecting, own):
    """A count is made anew each time under its key, which puts nothing again; nor do its leases."""
    with rejecting.api.client(own) as kit:
        for _ in range(2):
            kit.ask("rejects", msgspec.json.encode(asked.Rejects()), None, "K")
        with pytest.raises(ConflictError, match="Idempotency-Key"):
            kit.reput_rejects(records=5, idempotency_key="K")
        assert kit.reput_rejects(records=5, idempotency_key="L").rejected == 2  # control
        with pytest.raises(UsageError, match="Idempotency-Key"):
            kit.ask("rejects", msgspec.json.encode(asked.Rejects()), None, "L")
    count = signed(rejecting, own, "rejects", asked.Rejects(), **KEY)
    lease = call(rejecting, "served.leases", count)[0].lease_id
    with pytest.raises(DeniedError, match="its caller did not"):
        rejecting.keys.asking.ask("mint_batch", lease=lease)


# -- what is kept -------------------------------------------------------------------------------


def test_leases_that_ended_are_forgotten_before_one_that_runs(rejecting, own, monkeypatch):
    """However many others come and go, and whether or not they were abandoned, the oldest that runs goes on."""
    monkeypatch.setattr(served, "LEASES_KEPT_MAX", 7)
    kept = rejecting.api.keys._server._app.inner._service._served._leased
    ask, first = rejecting.keys.asking.ask, granted(rejecting, own)

    def count():
        request = rejecting.request("kit", "rejects", asked.Rejects())
        return [lease.lease_id for lease in call(rejecting, "served.leases", request)]

    for lease in count():
        ask("abandon", lease=lease)
    assert set(kept) == set(first)
    for lease in count():
        kept[lease].expires = 0.0
    more = count()
    assert set(kept) == {*first, *more}
    seal(rejecting, first[0], "Q-1")
    newest = count()  # all run: the oldest goes
    assert len(kept) == 7
    assert first[0] not in kept
    assert kept.keys() >= set(newest)
