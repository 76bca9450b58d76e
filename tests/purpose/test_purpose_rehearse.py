"""A proposed policy on the past log: what it would have refused, by which rule, and nothing that it allows."""

from purpose_fixtures import SCHEMA, policy

from strongroom.purpose.cedar import Decider
from strongroom.purpose.rehearse import rehearse


def entry(leaf, act, actor, decision="allowed", **more):
    return {"leaf": leaf, "act": act, "actor": actor, "decision": decision, **more}


def test_the_policy_in_force_refuses_nothing_of_what_it_allowed():
    """Every read and act that the decider allows, as entries: none is told."""
    own = policy()
    decider, entries = Decider(own, SCHEMA), []
    for actor in own.actors:
        for name, purpose in own.purposes.items():
            for table in purpose.tables:
                for verb in ("get", "find", "rejects"):
                    if decider.decide_read(actor, name, verb, table).allowed:
                        entries.append(entry(len(entries), verb, actor, purpose=name, table=table))
        for act in ("log", "check", "compact", "policy"):
            if decider.decide_act(actor, act).allowed:
                entries.append(entry(len(entries), act, actor))
    assert len(entries) > 3
    assert rehearse(own, SCHEMA, entries) == []


def test_what_would_be_refused_is_told_by_kind():
    """A purpose without a role, an actor who is gone: counted, first and last; refused entries and others are left out."""
    own = policy()
    decider = Decider(own, SCHEMA)
    name, actor, table = next(
        (n, a, t)
        for n, p in own.purposes.items()
        for a in own.actors
        for t in p.tables
        if decider.decide_read(a, n, "get", t).allowed
    )
    entries = [
        entry(1, "get", actor, purpose=name, table=table),
        entry(2, "get", actor, purpose=name, table=table),
        entry(3, "get", "nobody", purpose=name, table=table),
        entry(4, "get", actor, "refused", purpose="none", table=table),
        entry(5, "open", actor, purpose="none"),
        entry(6, "commit", "nobody", table=table),
        entry(7, "copy", "keymaster"),
        entry(8, "compact", "nobody"),
        entry(9, "get", actor, purpose=name, table=table, fields=["no-such-field"]),
    ]
    found = rehearse(own, SCHEMA, entries)
    assert [(one.actor, one.act, one.requests, one.first, one.last) for one in found] == [
        ("nobody", "get", 1, 3, 3),
        ("nobody", "compact", 1, 8, 8),
        (actor, "get", 1, 9, 9),
    ]
    assert all(one.rule and one.reason for one in found)
    gone = entries[:3] * 2
    (most, *_) = rehearse(own, SCHEMA, [{**one, "purpose": "none"} for one in gone])
    assert (most.actor, most.requests) == (actor, 4)
