"""Why, in words."""

from purpose_fixtures import SCHEMA, changed, policy

from strongroom.purpose.explain import explain


def test_explain_says_which_rule_allows_and_how_fields_show():
    """Allowed: basis, verbs, how each field shows, budgets, the most in a day."""
    found = explain(policy(), SCHEMA, "ada", "delivery", "persons")
    text = "\n".join(found.lines)
    assert found.allowed
    assert found.rule == "purposes.delivery.tables.persons"
    assert "contract, GDPR 6(1)(b)" in text
    assert "masked: mobile (contact, last4)" in text
    assert "withheld: person_id (identity), email (contact)" in text
    assert "groups of at least 20 persons, no rows" in text
    assert "50 in any 24 hours (persons/actor/ada/purpose/delivery)" in text
    assert "10000 in any 24 hours (persons/room)" in text
    assert found.most_per_day == 50


def test_explain_says_which_rule_refuses():
    """Refused: the rule, and nothing can leave."""
    found = explain(policy(), SCHEMA, "bob", "delivery", "persons")
    assert (found.allowed, found.rule, found.most_per_day) == (False, "purposes.delivery.deny", 0)
    field = explain(policy(), SCHEMA, "ada", "delivery", "persons", "ethnicity")
    assert field.lines[0] == (
        "refused under delivery: purpose delivery withholds field ethnicity of table persons"
        " (rule purposes.delivery.tables.persons)"
    )


def test_explain_names_verbs_that_a_sensitive_table_refuses():
    """A table of which nothing starts is still reached by get, and says so."""
    text = "\n".join(explain(policy(), SCHEMA, "cleo", "inquiry", "cases").lines)
    assert "get, not find (rule room.sensitive-table)" in text
    assert "sensitive because: the inquiry is about these facts" in text


def test_without_a_purpose_every_purpose_is_told():
    """All purposes are listed, and their budgets add up within the room's."""
    text = changed('[actors.cleo]\nroles = ["officer",', '[actors.cleo]\nroles = ["dispatcher", "officer",')
    found = explain(policy(text), SCHEMA, "cleo", None, "persons")
    assert found.most_per_day == 55
    assert "may put into persons" in found.lines[-2]
    small = text.replace("day = 10000, month = 50000", "day = 7")
    assert explain(policy(small), SCHEMA, "cleo", None, "persons").most_per_day == 7


def test_explain_of_unknown_things_refuses_without_failing():
    """Nobody, no purpose, no table, no field: a refusal by name."""
    assert explain(policy(), SCHEMA, "zoe", "delivery", "persons").rule == "actors"
    assert explain(policy(), SCHEMA, "ada", "x", "persons").rule == "purposes"
    assert explain(policy(), SCHEMA, "ada", "delivery", "x").rule == "schema.tables"
    assert explain(policy(), SCHEMA, "ada", "delivery", "persons", "x").rule == "schema.fields"
