"""Who may do what: every rule, decided by Cedar."""

import time

import pytest
from purpose_fixtures import SCHEMA, TEXT, changed, policy

from strongroom.errors import PolicyError
from strongroom.purpose.cedar import Decider, cedar_text

DECIDER = Decider(policy(), SCHEMA)


@pytest.mark.parametrize(
    ("actor", "purpose", "verb", "table", "fields", "where", "rule"),
    [
        ("ada", "delivery", "get", "persons", None, (), "purposes.delivery.tables.persons"),
        ("ada", "delivery", "get", "persons", ("name", "mobile"), (), "purposes.delivery.tables.persons"),
        ("ada", "delivery", "find", "persons", None, ("mobile",), "purposes.delivery.tables.persons"),
        ("ada", "delivery", "sql", "persons", ("area",), ("area",), "purposes.delivery.tables.persons"),
        ("ada", "delivery", "sql", "persons", None, (), "purposes.delivery.tables.persons"),
        ("cleo", "inquiry", "get", "cases", None, (), "purposes.inquiry.tables.cases"),
        ("cleo", "inquiry", "get", "persons", ("ethnicity",), (), "purposes.inquiry.tables.persons"),
        ("cleo", "inquiry", "sql", "cases", ("year",), (), "purposes.inquiry.tables.cases"),
        ("cleo", "inquiry", "rows", "persons", ("area",), (), "purposes.inquiry.tables.persons"),
        ("cleo", "inquiry", "rejects", "persons", None, (), "purposes.inquiry.tables.persons"),
    ],
)
def test_what_the_policy_says_is_allowed(actor, purpose, verb, table, fields, where, rule):
    """A request that the policy describes is allowed, by the rule of its purpose and table."""
    found = DECIDER.decide_read(actor, purpose, verb, table, fields, where)
    assert (found.allowed, found.rule) == (True, rule)
    assert set(found.views) == {f.name for f in SCHEMA.tables[table].fields}


@pytest.mark.parametrize(
    ("actor", "purpose", "verb", "table", "fields", "where", "rule"),
    [
        ("zoe", "delivery", "get", "persons", None, (), "actors"),
        ("ada", "marketing", "get", "persons", None, (), "purposes"),
        ("ada", "inquiry", "get", "persons", None, (), "purposes.inquiry.roles"),
        ("bob", "delivery", "get", "persons", None, (), "purposes.delivery.deny"),
        ("ada", "delivery", "rejects", "persons", None, (), "purposes.delivery.verbs"),
        ("ada", "delivery", "rows", "persons", ("area",), (), "purposes.delivery.sql.rows"),
        ("ada", "delivery", "export", "persons", None, (), "purposes.delivery.verbs"),
        ("ada", "delivery", "get", "cases", None, (), "purposes.delivery.tables"),
        ("ada", "delivery", "get", "towns", None, (), "schema.tables"),
        ("ada", "delivery", "get", "persons", ("nme",), (), "schema.fields"),
        ("ada", "delivery", "get", "persons", ("name", "ethnicity"), (), "purposes.delivery.tables.persons"),
        ("ada", "delivery", "get", "persons", ("email",), (), "purposes.delivery.tables.persons"),
        ("ada", "delivery", "find", "persons", None, ("email",), "purposes.delivery.tables.persons"),
        ("ada", "delivery", "find", "persons", None, ("name",), "room.find-needs-index"),
        ("cleo", "inquiry", "find", "persons", None, ("ethnicity",), "room.sensitive-field"),
        ("cleo", "inquiry", "find", "persons", None, ("mobile", "ethnicity"), "room.sensitive-field"),
        ("cleo", "inquiry", "sql", "persons", ("area",), ("ethnicity",), "room.sensitive-field"),
        ("cleo", "inquiry", "sql", "persons", ("ethnicity",), (), "room.sql-open-fields"),
        ("cleo", "inquiry", "rows", "persons", ("mobile",), (), "room.sql-open-fields"),
        ("cleo", "inquiry", "sql", "persons", ("area",), ("mobile",), "room.sql-open-fields"),
        ("cleo", "inquiry", "find", "cases", None, ("person_id",), "room.sensitive-table"),
        ("cleo", "inquiry", "rows", "cases", ("year",), (), "room.sensitive-table"),
    ],
)
def test_everything_else_is_refused_by_the_rule_that_refuses(actor, purpose, verb, table, fields, where, rule):
    """Each refusal names its rule, gives a reason and shows nothing."""
    found = DECIDER.decide_read(actor, purpose, verb, table, fields, where)
    assert (found.allowed, found.rule) == (False, rule)
    assert found.reason
    assert found.views == {}


@pytest.mark.parametrize(
    ("actor", "verb", "table", "allowed", "rule"),
    [
        ("cleo", "put", "persons", True, None),
        ("cleo", "put", "cases", True, "roles.loader.put"),
        ("cleo", "compact", None, True, "roles.clerk.may"),
        ("cleo", "policy", None, False, "roles.may"),
        ("cleo", "put", "towns", False, "roles.put"),
        ("cleo", "put", None, False, "roles.put"),
        ("cleo", "destroy", None, False, "roles"),
        ("ada", "put", "persons", False, "roles.may"),
        ("zoe", "check", None, False, "actors"),
    ],
)
def test_acts_need_a_role_that_may(actor, verb, table, allowed, rule):
    """Acts without a purpose are allowed by role, put also by table."""
    found = DECIDER.decide_act(actor, verb, table)
    assert found.allowed is allowed
    assert rule is None or found.rule == rule


def test_deny_wins_over_any_role():
    """A denied actor stays denied with every role of the purpose."""
    text = changed('[actors.bob]\nroles = ["dispatcher"]', '[actors.bob]\nroles = ["dispatcher", "officer"]')
    assert not Decider(policy(text), SCHEMA).decide_read("bob", "delivery", "get", "persons").allowed
    assert Decider(policy(text), SCHEMA).decide_read("bob", "inquiry", "get", "persons").allowed


def test_a_forbid_that_fails_refuses():
    """Cedar skips a rule that hits an error and says Allow; the decider refuses all the same."""
    failing = '@id("mine") forbid(principal, action, resource) when { 9223372036854775807 + 1 > 0 };\n'
    import cedarpy

    broken = Decider(policy(), SCHEMA, failing)
    policies, entities, schema = broken._parsed()
    request = {
        "principal": 'Strongroom::Actor::"ada"',
        "action": 'Strongroom::Action::"read get"',
        "resource": 'Strongroom::Table::"persons"',
        "context": {"purpose": "delivery", "fields": ["name"], "where": []},
    }
    raw = cedarpy.is_authorized(request, policies, entities, schema)
    assert raw.decision == cedarpy.Decision.Allow
    assert raw.diagnostics.errors
    found = broken.decide_read("ada", "delivery", "get", "persons", ("name",))
    assert (found.allowed, found.rule) == (False, "room.rule-failed")
    assert broken.decide_act("cleo", "compact").rule == "room.rule-failed"


def test_a_further_forbid_wins_and_is_named():
    """Rules added in Cedar's own language refuse under their own id."""
    rule = '@id("no-dispatch") forbid(principal in Strongroom::Role::"dispatcher", action, resource);\n'
    found = Decider(policy(), SCHEMA, rule).decide_read("ada", "delivery", "get", "persons")
    assert (found.allowed, found.rule) == (False, "no-dispatch")


@pytest.mark.parametrize(
    "rule",
    [
        "forbid(principal, action, resource);",
        '@id("room.sensitive-table") forbid(principal, action, resource);',
        '@id("x") forbid(principal, action, resource) when { principal.age > 3 };',
        '@id("x") forbid(',
        '@id("x") permit(principal, action == Strongroom::Action::"fly", resource);',
    ],
)
def test_rules_that_cedar_or_we_cannot_accept_stop_before_the_first_decision(rule):
    """No id, a taken id, an unknown attribute or action, or no Cedar at all: refused when validated."""
    with pytest.raises(PolicyError):
        Decider(policy(), SCHEMA, rule).validate()


def test_names_cannot_break_out_of_the_generated_rules():
    """Quotes and Chinese letters in table and field names are data in the rules, not syntax."""
    from dataclasses import replace

    persons = SCHEMA.tables["persons"]
    evil = 'x"] || true || ["'
    odd = replace(persons, name="居民", fields=(*persons.fields, replace(persons.fields[7], name=evil)))
    schema = replace(SCHEMA, tables={**SCHEMA.tables, "居民": odd})
    text = TEXT + '[purposes.delivery.tables."居民"]\narea = "plain"\n'
    decider = Decider(policy_of(text, schema), schema)
    assert decider.decide_read("ada", "delivery", "get", "居民", ("area",)).allowed
    assert not decider.decide_read("ada", "delivery", "get", "居民", (evil,)).allowed
    assert not decider.decide_read('ada"', 'delivery" || true || "', "get", "居民", ("area",)).allowed


def policy_of(text, schema):
    from strongroom.purpose.policy import parse_policy

    return parse_policy(text, schema)


def test_a_table_that_shows_nothing_permits_nothing():
    """A table named with every field withheld is refused, whatever is asked."""
    text = TEXT + "[purposes.delivery.tables.cases]\n"
    with pytest.raises(PolicyError):
        policy(text)
    quiet = changed(
        'tables.persons = { name = "plain", contact = "masked", email = "withheld", area = "plain" }',
        'tables.persons = { name = "withheld" }',
    )
    found = Decider(policy(quiet), SCHEMA).decide_read("ada", "delivery", "get", "persons", ())
    assert (found.allowed, found.rule) == (False, "purposes.delivery.tables.persons")


def test_generated_text_has_an_id_for_every_rule():
    """Every permit and forbid can be named in a refusal."""
    text = cedar_text(policy(), SCHEMA)
    assert text.count("@id(") == text.count("permit(") + text.count("forbid(")


def test_deciders_of_the_same_rules_share_what_cedar_read():
    """A decider made anew, as after a freeze, parses nothing again; other rules are read on their own."""
    one, again = Decider(policy(), SCHEMA), Decider(policy(), SCHEMA)
    assert one._parsed() is again._parsed()
    more = Decider(policy(), SCHEMA, '@id("mine") forbid(principal, action, resource);\n')
    assert more._parsed() is not one._parsed()
    assert one.decide_read("ada", "delivery", "get", "persons", ("name",)).allowed
    assert not more.decide_read("ada", "delivery", "get", "persons", ("name",)).allowed


def test_decisions_are_remembered_for_one_policy():
    """The second identical question does not ask Cedar again."""
    decider = Decider(policy(), SCHEMA)
    first = decider.decide_read("ada", "delivery", "get", "persons", ("name", "mobile"))
    start = time.process_time()
    for _ in range(1000):
        assert decider.decide_read("ada", "delivery", "get", "persons", ("mobile", "name")) is first
    assert time.process_time() - start < 0.5


def test_refusals_of_long_names_are_not_kept():
    """Names that nobody has are refused each time alike; the long ones do not fill the memory."""
    decider = Decider(policy(), SCHEMA)
    for long in ({"table": "x" * 10_000}, {"fields": ("x" * 10_000,)}):
        asked = {"actor": "ada", "purpose": "delivery", "verb": "get", "table": "persons", "fields": None} | long
        assert not decider.decide_read(**asked).allowed
        assert not decider.decide_read(**asked).allowed
    assert decider._remembered == {}
    decider.decide_read("ada", "delivery", "get", "nothing")
    assert len(decider._remembered) == 1
