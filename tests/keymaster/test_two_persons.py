"""What takes two persons: approvals of reads and changes, freezes, and what broken glass leaves behind."""

import os

import numpy as np
import pytest
from keymaster_fixtures import POLICY, SCHEMA, ask, identifiers, make, put, reopen

from strongroom.errors import ConflictError, DeniedError, NotFoundError, PolicyError, UsageError
from strongroom.keymaster.approvals import WAITS_SECONDS
from strongroom.keymaster.wanted import Wanted

CAREFUL = POLICY.replace("[roles.reader]", "[roles.reader]\n[roles.chief]").replace(
    '[actors.bob]\nroles = ["reader"]',
    '[actors.bob]\nroles = ["reader", "chief"]\n[actors.eve]\nroles = ["chief", "clerk"]',
) + """
[purposes.careful]
legal_basis = "statute"
roles = ["reader"]
verbs = ["get", "find"]
tables.persons = { name = "plain", mobile = "plain" }
budget = { hour = 200, day = 200 }
approval = { roles = ["chief"], over = 5, hours = 2 }
break_glass = ["reader"]

[purposes.always]
legal_basis = "statute"
roles = ["reader"]
verbs = ["get"]
tables.persons = { name = "plain" }
budget = { day = 100 }
approval = { roles = ["chief"], always = true }

[purposes.by-class]
legal_basis = "statute"
roles = ["reader"]
verbs = ["get"]
tables.persons = { name = "plain", mobile = "plain" }
budget = { day = 100 }
approval = { roles = ["chief"], classes = ["contact"] }
"""


@pytest.fixture
def master(tmp_path, clock):
    with make(tmp_path / "keys", clock, policy=CAREFUL) as made:
        made.batch, made.sealing = put(made, identifiers(100))
        yield made


def read(master, first, last, purpose="careful", actor="ada", fields=None, **leave):
    grant = master.begin_reading(actor=actor, purpose=purpose, reason="r", **leave)
    tokens = np.ascontiguousarray(master.sealing.tokens[first:last])
    return master.release(grant.reading_id, ask(tokens, master.batch, fields=fields))


def agreed(master, persons=50, actor="ada", by="bob", purpose="careful"):
    asked = master.approvals.ask_read(actor, purpose, persons, "case 7")
    return master.approvals.decide(by, asked.id, agree=True)


def said(master, act):
    return [e for e in master.log_entries("kit") if e["act"] == act]


# -- reads -------------------------------------------------------------------------------------


def test_up_to_so_many_an_hour_one_person_reads_alone(master, clock):
    """The sixth person of the hour needs another's agreement; seen ones do not count again; the hour goes by."""
    assert read(master, 0, 5).persons == 5
    assert read(master, 0, 5).persons == 5
    with pytest.raises(DeniedError, match="more persons in an hour") as refused:
        read(master, 5, 6)
    assert refused.value.rule == "approval.needed"
    clock.now += 3700 + 300
    assert read(master, 5, 6).persons == 1


def test_with_an_agreement_so_many_are_read_and_no_more(master, clock):
    """Counted by person, over several readings, in its own scope and in all others; then it is spent, later it ends."""
    approval = agreed(master, persons=20)
    first = read(master, 0, 12, approval=approval.id)
    assert first.remaining[f"persons/approval/{approval.id}/month"] == 8
    assert first.remaining["persons/actor/ada/purpose/careful/hour"] == 188
    assert read(master, 4, 20, approval=approval.id).persons == 16
    with pytest.raises(DeniedError) as spent:
        read(master, 19, 21, approval=approval.id)
    assert spent.value.rule == f"persons/approval/{approval.id}/month"
    clock.now += 2 * 3600 + 1
    with pytest.raises(DeniedError, match="has ended"):
        read(master, 0, 1, approval=approval.id)


def test_an_agreement_ends_within_an_open_reading(master, clock):
    """The reading was opened in time; the release after the end is refused."""
    approval = agreed(master)
    clock.now += 1.5 * 3600
    grant = master.begin_reading(actor="ada", purpose="careful", reason="r", approval=approval.id)
    tokens = np.ascontiguousarray(master.sealing.tokens[:10])
    assert master.release(grant.reading_id, ask(tokens, master.batch)).persons == 10
    clock.now += 0.5 * 3600 + 1
    with pytest.raises(DeniedError, match="has ended"):
        master.release(grant.reading_id, ask(tokens, master.batch))


def test_an_agreement_is_for_its_actor_and_purpose(master):
    """Another's, another purpose's, one that waits, one that was refused, one that never was."""
    approval = agreed(master)
    for actor, purpose in (("bob", "careful"), ("ada", "always")):
        with pytest.raises(DeniedError, match="no approval of this id"):
            read(master, 0, 1, purpose, actor, approval=approval.id)
    waiting = master.approvals.ask_read("ada", "careful", 5, "case 8")
    refused = master.approvals.ask_read("ada", "careful", 5, "case 9")
    master.approvals.decide("bob", refused.id, agree=False)
    told = {waiting.id: "nobody has agreed to this yet"}
    for ident in (waiting.id, refused.id, "0" * 16):
        with pytest.raises(DeniedError, match=told.get(ident, "no approval of this id")):
            read(master, 0, 1, approval=ident)


def test_always_and_for_a_class(master):
    """Where every read needs it not one person is released alone; by class it depends on what is asked for."""
    with pytest.raises(DeniedError, match="needs another person's agreement"):
        read(master, 0, 1, "always")
    assert read(master, 0, 1, "always", approval=agreed(master, purpose="always").id).persons == 1
    with pytest.raises(DeniedError, match="needs another person's agreement"):
        read(master, 0, 1, "by-class")
    with pytest.raises(DeniedError, match="needs another person's agreement"):
        read(master, 0, 1, "by-class", fields=("name", "mobile"))
    assert read(master, 0, 1, "by-class", fields=("name",)).persons == 1


def test_nobody_agrees_to_what_they_asked(master):
    """Bob is a chief too: not his own; nor one without the role; nor twice; nor after its time."""
    own = master.approvals.ask_read("bob", "careful", 5, "case 1")
    with pytest.raises(DeniedError, match="another person decides") as refused:
        master.approvals.decide("bob", own.id, agree=True)
    assert refused.value.rule == "room.second-person"
    with pytest.raises(DeniedError, match="does not approve"):
        master.approvals.decide("ada", own.id, agree=True)
    assert master.approvals.decide("eve", own.id, agree=True).state == "approved"
    with pytest.raises(ConflictError, match="was approved by eve"):
        master.approvals.decide("eve", own.id, agree=False)
    with pytest.raises(NotFoundError):
        master.approvals.decide("eve", "0" * 16, agree=True)
    assert [e["decision"] for e in said(master, "approve")] == ["refused", "refused", "allowed"]


def test_a_request_that_waited_too_long_is_over(master, clock):
    """Seven days later nobody agrees to it, and it is not listed."""
    asked = master.approvals.ask_read("ada", "careful", 5, "case 1")
    assert [one.id for one in master.approvals.waiting("bob")] == [asked.id]
    clock.now += WAITS_SECONDS + 1
    assert master.approvals.waiting("bob") == []
    with pytest.raises(ConflictError, match="time is over"):
        master.approvals.decide("bob", asked.id, agree=True)


def test_who_sees_what_waits(master):
    """Who asked and who may decide, with the reason; nobody else. The reason is in no column in plain."""
    asked = master.approvals.ask_read("ada", "careful", 5, "the very secret case")
    for actor, seen in (("ada", True), ("bob", True), ("eve", True), ("kit", False), ("tom", False)):
        assert bool(master.approvals.waiting(actor)) is seen
    (one,) = master.approvals.waiting("bob")
    assert (one.reason, one.said["persons"]) == ("the very secret case", 5)
    master._core.state.read().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"very secret" not in (master.folder / "keymaster.db").read_bytes()
    assert asked.id in {e["extras"]["approval"] for e in said(master, "ask")}


def test_asking_for_what_needs_no_asking(master):
    """A purpose without approvals, somebody else's purpose, nobody, no reason."""
    with pytest.raises(DeniedError, match="takes no approvals"):
        master.approvals.ask_read("ada", "support", 5, "r")
    with pytest.raises(DeniedError, match="may not read"):
        master.approvals.ask_read("kit", "careful", 5, "r")
    with pytest.raises(DeniedError):
        master.approvals.ask_read("ada", "none", 5, "r")
    for persons, reason in ((0, "r"), (-1, "r"), (5, " ")):
        with pytest.raises(UsageError):
            master.approvals.ask_read("ada", "careful", persons, reason)


def test_what_was_agreed_to_is_there_after_reopening(tmp_path, clock):
    """State is in the database: another process has it, and the count of what it let through."""
    with make(tmp_path / "keys", clock, policy=CAREFUL) as master:
        master.batch, master.sealing = put(master, identifiers(100))
        approval = agreed(master, persons=10)
        read(master, 0, 8, approval=approval.id)
        batch, sealing = master.batch, master.sealing
    with reopen(tmp_path / "keys", clock) as again:
        again.batch, again.sealing = batch, sealing
        with pytest.raises(DeniedError):
            read(again, 8, 11, approval=approval.id)
        assert read(again, 8, 10, approval=approval.id).persons == 2


# -- broken glass ------------------------------------------------------------------------------


def test_broken_glass_reads_at_once_and_is_reviewed_by_another(master):
    """No agreement needed; all other budgets hold; it is told, listed, and closed by somebody else with a text."""
    master.notices.begin()
    released = read(master, 0, 50, break_glass=True)
    assert released.persons == 50
    assert released.remaining["persons/actor/ada/purpose/careful/hour"] == 150
    (notice,) = master.notices.next()
    assert (notice.event, notice.actor, notice.purpose) == ("break-glass", "ada", "careful")
    assert "r" not in notice.to_dict(master.room_id).values()  # the reason
    (entry,) = said(master, "break-glass")
    (review,) = master.reviews.all("bob")
    assert (notice.leaf, review.leaf) == (entry["leaf"], entry["leaf"])
    assert (review.actor, review.closed, review.reason) == ("ada", 0.0, "r")
    assert [one.id for one in master.reviews.all("ada")] == [review.id]
    assert master.reviews.all("tom") == []
    with pytest.raises(DeniedError, match="another person closes"):
        master.reviews.close("ada", review.id, "fine")
    with pytest.raises(DeniedError, match="does not review"):
        master.reviews.close("kit", review.id, "fine")
    with pytest.raises(UsageError):
        master.reviews.close("bob", review.id, "")
    master.reviews.close("bob", review.id, "a child was in danger")
    with pytest.raises(ConflictError):
        master.reviews.close("bob", review.id, "again")
    with pytest.raises(NotFoundError):
        master.reviews.close("bob", "0" * 16, "none")
    (closed,) = master.reviews.all("bob")
    assert (closed.closed_by, closed.text) == ("bob", "a child was in danger")


def test_glass_that_may_not_be_broken(master):
    """A purpose that names nobody for it, an approval beside it."""
    with pytest.raises(DeniedError) as refused:
        read(master, 0, 1, "always", break_glass=True)
    assert refused.value.rule == "purposes.always.break_glass"
    with pytest.raises(UsageError):
        read(master, 0, 1, approval="0" * 16, break_glass=True)
    assert master.reviews.all("bob") == []


def test_a_policy_that_changes_holds_for_readings_that_are_open(master):
    """Fewer alone, and glass that may not be broken any more: the next release goes by the policy of now."""
    alone = master.begin_reading(actor="ada", purpose="careful", reason="r").reading_id
    broken = master.begin_reading(actor="ada", purpose="careful", reason="r", break_glass=True).reading_id
    tokens = np.ascontiguousarray(master.sealing.tokens[:4])
    assert master.release(alone, ask(tokens, master.batch)).persons == 4
    assert master.release(broken, ask(np.ascontiguousarray(master.sealing.tokens[:9]), master.batch)).persons == 9
    stricter = CAREFUL.replace("over = 5", "over = 1").replace('break_glass = ["reader"]', 'break_glass = ["chief"]')
    master.set_policy("kit", stricter)
    for reading in (alone, broken):
        with pytest.raises(DeniedError) as refused:
            master.release(reading, ask(np.ascontiguousarray(master.sealing.tokens[20:23]), master.batch))
        assert refused.value.rule == "approval.needed"


# -- freezes -----------------------------------------------------------------------------------


def test_a_frozen_actor_does_nothing_not_even_what_was_begun(master):
    """Readings and leases that are open stop too; others go on; two others lift it."""
    grant = master.begin_reading(actor="ada", purpose="bulk", reason="r")
    lease = master.begin_put(actor="tom", table="persons", request_id=os.urandom(16))
    tokens = np.ascontiguousarray(master.sealing.tokens[:2])
    for name in ("ada", "tom"):
        master.freezing.freeze("kit", "actor", name, "their laptops were stolen")
    with pytest.raises(DeniedError) as refused:
        master.release(grant.reading_id, ask(tokens, master.batch))
    assert refused.value.rule == "freeze.actor.ada"
    with pytest.raises(DeniedError):
        master.mint_batch(lease)
    with pytest.raises(DeniedError):
        master.begin_reading(actor="ada", purpose="bulk", reason="r")
    assert read(master, 0, 2, "bulk", "bob").persons == 2
    with pytest.raises(ConflictError):
        master.freezing.freeze("kit", "actor", "ada", "again")
    asked = master.freezing.ask_lift("kit", "actor", "ada", "a new laptop")
    for nobody, why in (("kit", "another person"), ("ada", "frozen")):
        with pytest.raises(DeniedError, match=why):
            master.approvals.decide(nobody, asked.id, agree=True)
    master.approvals.decide("eve", asked.id, agree=True)
    assert master.release(grant.reading_id, ask(tokens, master.batch)).persons == 2
    assert [one.name for one in master.freezing.all()] == ["tom"]


def test_a_frozen_purpose_and_a_frozen_room(master, tmp_path, clock):
    """Another process stops too; in a frozen room the log can be read and the freeze lifted, nothing else."""
    with reopen(tmp_path / "keys", clock) as other:
        other.batch, other.sealing = master.batch, master.sealing
        assert read(other, 0, 2, "bulk", "bob").persons == 2
        master.freezing.freeze("kit", "purpose", "bulk", "incident")
        with pytest.raises(DeniedError) as refused:
            read(other, 0, 2, "bulk", "bob")
        assert refused.value.rule == "freeze.purpose.bulk"
        assert read(other, 0, 2, "support", "bob", fields=("name",)).persons == 2
        master.freezing.freeze("kit", "room", "room", "incident")
        for act in (
            lambda: read(other, 0, 2, "support", "bob", fields=("name",)),
            lambda: other.set_policy("kit", CAREFUL),
            lambda: other.begin_maintenance(actor="kit", verb="erase"),
            lambda: other.key_copies.copy("kit", str(tmp_path / "copy")),
            lambda: other.credentials.add("kit", Wanted("ada", bytes(32), 1)),
        ):
            with pytest.raises(DeniedError) as refused:
                act()
            assert refused.value.rule == "freeze.room"
        assert other.log_entries("kit")
        asked = other.freezing.ask_lift("kit", "room", "room", "over")
        other.approvals.decide("eve", asked.id, agree=True)
        assert read(master, 0, 2, "support", "bob", fields=("name",)).persons == 2


def test_what_cannot_be_frozen(master):
    """Unknown names and kinds, no reason, no right; what is not frozen is not lifted."""
    for kind, name in (("actor", "nobody"), ("purpose", "nothing")):
        with pytest.raises(NotFoundError):
            master.freezing.freeze("kit", kind, name, "r")
    for kind, name in (("table", "persons"), ("room", "x"), ("actor", "room")):
        with pytest.raises((UsageError, NotFoundError)):
            master.freezing.freeze("kit", kind, name, "r")
    with pytest.raises(UsageError):
        master.freezing.freeze("kit", "actor", "ada", "")
    with pytest.raises(DeniedError):
        master.freezing.freeze("ada", "actor", "bob", "r")
    with pytest.raises(NotFoundError, match="is not frozen"):
        master.freezing.ask_lift("kit", "actor", "ada", "r")


# -- changes -----------------------------------------------------------------------------------


def test_changes_that_are_asked_are_made_when_another_agrees(master):
    """Policy, schema and credentials; what could not be made is refused at once, or by what changed meanwhile."""
    from strongroom.identity.credential import new_credential

    policy = master.changes.ask("kit", "policy", CAREFUL + "# asked\n")
    schema = master.changes.ask("kit", "schema", SCHEMA.replace("birth_year = {", 'school = { type = "string", class = "contact" }\nbirth_year = {'))
    own = new_credential(master.room_id, "ada")
    key = master.credentials.ask_add("kit", Wanted("ada", own.public_key, 3, ("10.0.0.0/8",)))
    number = master._core.standing.policy_number
    assert {one.kind for one in master.approvals.waiting("eve")} == {"policy", "schema", "actors"}
    with pytest.raises(DeniedError, match="another person"):
        master.approvals.decide("kit", policy.asked, agree=True)
    assert master._core.standing.policy_number == number
    for ident in (policy.asked, schema.asked, key.id):
        master.approvals.decide("eve", ident, agree=True)
    master.schema()
    assert master._core.standing.policy_number == number + 1
    assert "school" in {f.name for f in master.schema().table("persons").fields}
    assert master.credentials.find(own.id).networks == ("10.0.0.0/8",)
    assert [e["actor"] for e in said(master, "policy")][-1] == "eve"
    assert said(master, "policy")[-1]["extras"]["asked"] == "kit"
    with pytest.raises(PolicyError):
        master.changes.ask("kit", "policy", "[room]\n")
    with pytest.raises(DeniedError):
        master.changes.ask("ada", "policy", CAREFUL)


def test_a_policy_says_what_needs_two(master):
    """Settings that ask nobody, that lift nothing, of unknown roles, or too long."""
    good = 'approval = { roles = ["chief"], over = 5, hours = 2 }'
    for wrong in (
        "approval = { over = 5 }",
        'approval = { roles = ["chief"] }',
        'approval = { roles = ["nobody"], over = 5 }',
        'approval = { roles = ["chief"], over = -1 }',
        'approval = { roles = ["chief"], over = 5, hours = 200 }',
        'approval = { roles = ["chief"], over = 5, minutes = 2 }',
        "",
    ):
        with pytest.raises(PolicyError):
            master.set_policy("kit", CAREFUL.replace(good, wrong))
