"""Names of signed requests, by which each is answered once."""

from __future__ import annotations

from strongroom.keymaster.core import REQUEST_ID_BYTES
from strongroom.keymaster.warrant import TIME_BYTES, Signer

NOW = 1_800_000_000


def name(nonce="n", created=NOW, credential="c"):
    return Signer.of("ada", credential, "front", nonce, created, "").request


def test_a_request_has_one_name_and_shares_it_with_no_other():
    """The same request has the same name; another nonce, time or credential gives another."""
    others = [name("m"), name(created=NOW + 1), name(credential="d"), name("1", NOW), name("11", NOW // 10)]
    assert name() == name()
    assert len({name(), *others}) == 1 + len(others)
    assert {len(one) for one in (name(), *others)} == {REQUEST_ID_BYTES}


def test_names_stand_in_the_order_of_their_times():
    """Requests of one second stand together in the database, and behind those of the second before."""
    names = [name(str(number), NOW + second) for second in range(3) for number in range(50)]
    seconds = [int.from_bytes(one[:TIME_BYTES], "big") - NOW for one in sorted(names)]
    assert seconds == [0] * 50 + [1] * 50 + [2] * 50
    assert name("n", 999_999_999_999) > name()  # the latest that a signature can say
