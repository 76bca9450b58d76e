"""What a policy says of exports: read strictly, decided by Cedar, shown by explain, rehearsed on the past."""

import pytest
from purpose_fixtures import SCHEMA

from strongroom.errors import PolicyError
from strongroom.purpose.budget import limits
from strongroom.purpose.cedar import Decider
from strongroom.purpose.explain import explain
from strongroom.purpose.model import Budget, CanaryRule, ExportRule, Policy
from strongroom.purpose.policy import parse_policy
from strongroom.purpose.rehearse import rehearse

HEAD = """
[room]
budget = { day = 100 }
[roles.sender]
[roles.chief]
[actors.ana]
roles = ["sender"]
"""
EXTRACT = """
[purposes.extract]
legal_basis = "research act"
roles = ["sender"]
verbs = ["export"]
tables.persons = { identity = "plain", area = "plain" }
export = { recipients = ["uni-north"], budget = { day = 100_000 }, canaries = { colluders = 2, sample = 750_000 } }
"""


def parsed(text=EXTRACT, head=HEAD):
    return parse_policy(head + text, SCHEMA)


def test_an_export_rule_is_read_and_kept():
    """Recipients, budget and canaries; the stored form gives the same policy back; the only verb needs no other budget."""
    policy = parsed()
    rule = policy.purposes["extract"]
    assert rule.export == ExportRule(("uni-north",), Budget(day=100_000), CanaryRule(2, 750_000))
    assert rule.budget == Budget(day=100_000)
    assert Policy.from_json(policy.to_json()) == policy
    decides = parsed(EXTRACT.replace("canaries = { colluders = 2, sample = 750_000 }", "decides = true"))
    assert decides.purposes["extract"].export == ExportRule(("uni-north",), Budget(day=100_000), decides=True)
    assert Policy.from_json(decides.to_json()) == decides


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('verbs = ["export"]', 'verbs = ["get"]\nbudget = { day = 1 }', "both ways or not at all"),
        ('recipients = ["uni-north"], ', "", "no recipients"),
        ('["uni-north"]', '["uni north"]', "a name of a recipient"),
        ('["uni-north"]', '["a", "a"]', "twice"),
        ("budget = { day = 100_000 }, ", "", "has no budget"),
        (", canaries = { colluders = 2, sample = 750_000 }", "", "canaries, or say that it decides"),
        ("sample = 750_000 }", "sample = 750_000 }, decides = true", "not both"),
        ("colluders = 2", "colluders = 0", "whole number from 1"),
        ("colluders = 2", "colluders = 6", "at most 5"),
        ("colluders = 2, ", "", "must say colluders"),
        ("sample = 750_000 }", "sample = 750_000, size = 3 }", "unknown key"),
        ("sample = 750_000 }", 'sample = 750_000 }, statutory = "law 3"', "agreement every time"),
        ("recipients =", 'to = "x", recipients =', "unknown key"),
        ('"export"]', '"export", "get"]', "has no budget"),
    ],
)
def test_what_an_export_rule_may_not_say_is_refused_with_its_place(old, new, told):
    """Every key is known, every number has its range, and nothing is half said."""
    assert old in EXTRACT
    with pytest.raises(PolicyError, match=told) as caught:
        parsed(EXTRACT.replace(old, new))
    assert "purposes.extract" in str(caught.value)


def test_exports_are_decided_by_table_and_by_what_selects_persons():
    """All records, or named subjects; of a sensitive table named subjects only, but under a law; a sealed field selects nobody."""
    text = EXTRACT.replace("tables.persons", 'tables.cases = { identity = "plain" }\nsensitive = "x"\ntables.persons')
    decider = Decider(parsed(text), SCHEMA)

    def rule(verb, table="persons", where=()):
        decision = decider.decide_read("ana", "extract", verb, table, None, list(where))
        return decision.allowed or decision.rule

    assert rule("export") is True
    assert rule("export", where=["area"]) is True
    assert rule("export", where=["name"]) == "room.export-filter"
    assert rule("export-named", "cases") is True
    assert rule("export", "cases") == "room.sensitive-table"
    assert rule("export-statutory", "cases") == "purposes.extract.export.statutory"
    assert rule("get") == "purposes.extract.verbs"
    law = text.replace("sample = 750_000 }", 'sample = 750_000 }, statutory = "law 3"')
    decider = Decider(parsed(law + 'approval = { roles = ["chief"], always = true }'), SCHEMA)
    assert rule("export-statutory", "cases") is True
    assert rule("export", "cases") == "room.sensitive-table"


def test_exports_have_budgets_of_their_own():
    """Per actor and purpose; in the room's for reads where it has none for exports."""
    own = "exports/actor/ana/purpose/extract"
    assert {limit.scope: limit.limit for limit in limits(parsed(), "ana", "extract", "exports")} == {own: 100_000, "persons/room": 100}
    apart = parsed(head=HEAD.replace("budget = { day = 100 }", "budget = { day = 100 }\nexports = { day = 500_000 }"))
    assert {limit.scope: limit.limit for limit in limits(apart, "ana", "extract", "exports")} == {
        own: 100_000,
        "exports/room": 500_000,
    }
    assert Policy.from_json(apart.to_json()) == apart


def test_explain_tells_recipients_marks_and_how_many_may_leave():
    """The most in a day has the exports in it."""
    apart = parsed(head=HEAD.replace("budget = { day = 100 }", "budget = { day = 100 }\nexports = { day = 500_000 }"))
    told = explain(apart, SCHEMA, "ana", None, "persons")
    assert (told.allowed, told.most_per_day) == (True, 100_000)
    text = "\n".join(told.lines)
    assert "exports to: uni-north; canary persons against 2 together, in a sample of 750000 rows" in text
    assert "copies that are too small for them take another\n  person's agreement, and this purpose takes none" in text
    assert "export budget: 100000 in any 24 hours (exports/actor/ana/purpose/extract)" in text
    assert explain(parsed(), SCHEMA, "ana", None, "persons").most_per_day == 100


def test_a_proposed_policy_is_held_against_past_exports():
    """By each table of the entry, its fields, and how its persons were chosen."""
    entry = {
        "decision": "allowed", "actor": "ana", "act": "export", "purpose": "extract", "table": "persons", "leaf": 7,
        "fields": ["name", "area", "cases.text"], "extras": {"tables": "persons,cases", "as": "export,export-named"},
    }  # fmt: skip
    text = EXTRACT.replace("tables.persons", 'tables.cases = { sensitive = "plain" }\nsensitive = "x"\ntables.persons')
    assert rehearse(parsed(text), SCHEMA, [entry]) == []
    (refused,) = rehearse(parsed(), SCHEMA, [entry])
    assert (refused.rule, refused.requests) == ("purposes.extract.tables", 1)
    (refused,) = rehearse(parsed(text.replace('area = "plain"', 'area = "withheld"')), SCHEMA, [entry])
    assert refused.rule == "purposes.extract.tables.persons"
