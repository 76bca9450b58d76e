"""Whoever may read the log asks whom somebody read: tokens that name nobody, opened only under a purpose."""

import pytest
from keymaster_fixtures import ask
from small_room import POLICY

import strongroom
from strongroom.errors import DeniedError
from strongroom.keymaster.log.api import Which


@pytest.fixture
def touched(room):
    """A keymaster, and the tokens of five persons whom ada read."""
    with room.keymaster() as keymaster:
        with strongroom.open(str(room.bucket), keys=keymaster, actor="ada") as opened:
            with opened.read(purpose="case-work", reason="r") as desk:
                for number in range(5):
                    desk.get("persons", f"P-{number:06d}")
        yield keymaster, keymaster.logs.persons("kit", Which(of="ada"), "curious")


def ask_for(keymaster, tokens):
    """A release of the keys of these persons, by whoever has their tokens."""
    batch = keymaster._core.state.read().execute("SELECT id FROM batch WHERE state = 'committed'").fetchone()[0]
    grant = keymaster.begin_reading(actor="kit", purpose="case-work", reason="curious")
    return keymaster.release(grant.reading_id, ask(tokens, batch))


def test_the_log_alone_names_nobody_and_opens_nobody(touched):
    """Tokens are not made of anything that the asker has; no purpose, no key; and the question stands in the log."""
    keymaster, found = touched
    assert len(found) == 5
    with pytest.raises(DeniedError):
        ask_for(keymaster, found.tokens)
    (noted,) = [e for e in keymaster.log_entries("kit") if e["act"] == "touched"]
    assert (noted["actor"], noted["count"], noted["extras"]["of"]) == ("kit", 5, "ada")


def test_control_with_a_purpose_the_same_tokens_open_and_are_charged(touched):
    """Control: where the policy gives the asker a purpose, each of the five is counted."""
    keymaster, found = touched
    keymaster.set_policy("kit", POLICY.replace('[actors.kit]\nroles = ["clerk"]', '[actors.kit]\nroles = ["clerk", "officer"]'))
    released = ask_for(keymaster, found.tokens)
    assert released.persons == 5
    assert released.remaining["persons/actor/kit/purpose/case-work/hour"] == 995
