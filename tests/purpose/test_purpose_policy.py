"""What a policy may say, and what it may not."""

import contextlib
import string
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from purpose_fixtures import SCHEMA, TEXT, changed, policy

from strongroom.errors import IntegrityError, PolicyError, StrongroomError
from strongroom.purpose.policy import Budget, Policy, check_policy, parse_policy


def test_a_good_policy_says_what_its_text_says():
    """Every key of the text is found in the parsed policy."""
    found = policy()
    delivery = found.purposes["delivery"]
    assert found.room == Budget(2000, 10000, 50000)
    assert delivery.legal_basis == "contract, GDPR 6(1)(b)"
    assert delivery.verbs == ("get", "find", "sql")
    assert delivery.lookups == Budget(100, 500, None)
    assert delivery.total == Budget(None, 5000, None)
    assert delivery.sql.min_group == 20
    assert not delivery.sql.rows
    assert found.roles["clerk"].put.tables == ("persons",)
    assert found.actors["cleo"].roles == ("officer", "clerk", "loader")


def test_look_ups_that_are_not_limited_get_ten_times_the_budget_of_persons():
    """A purpose cannot be used to try values without end because its text forgot to say so."""
    assert policy().purposes["inquiry"].lookups == Budget(None, 50, None)


def test_a_field_beats_its_class_and_the_rest_is_withheld():
    """Class contact is masked, email of the same class is withheld by name, what is not named is withheld."""
    views = policy().purposes["delivery"].views(SCHEMA)["persons"]
    assert {name: view.show for name, view in views.items()} == {
        "person_id": "withheld",
        "name": "plain",
        "mobile": "masked",
        "email": "withheld",
        "ethnicity": "withheld",
        "member_of": "withheld",
        "birth_year": "withheld",
        "area": "plain",
    }
    assert views["mobile"].mask == "last4"
    assert views["name"].mask is None


def test_a_word_that_is_a_field_and_a_class_means_the_field():
    """A class that happens to be called as one of its fields is not opened by the field's word."""
    persons = SCHEMA.tables["persons"]
    odd = replace(persons, fields=(*persons.fields, replace(persons.fields[0], name="contact", find=False)))
    schema = replace(SCHEMA, tables={**SCHEMA.tables, "persons": odd})
    views = parse_policy(TEXT, schema).purposes["delivery"].views(schema)["persons"]
    assert views["contact"].show == "masked"
    assert views["mobile"].show == "withheld"


def test_a_masked_field_without_a_mask_gets_the_default_of_its_type():
    """Text is hidden whole, unless the schema names a mask."""
    views = policy(changed('area = "plain"', 'area = "masked"')).purposes["delivery"].views(SCHEMA)["persons"]
    assert views["area"].mask == "all"


def test_json_gives_an_equal_policy_back():
    """What the keymaster stores is what was parsed."""
    found = policy()
    assert Policy.from_json(found.to_json()) == found
    assert Policy.from_json(found.to_json()).to_json() == found.to_json()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"room":1}', '{"room":{"week":1}}', "[" * 100_000])
def test_stored_json_that_is_no_policy_is_an_integrity_error(text):
    """No foreign error comes out of a damaged stored policy."""
    with pytest.raises(IntegrityError):
        Policy.from_json(text)


@pytest.mark.parametrize(
    ("old", "new", "says", "hint"),
    [
        (
            'legal_basis = "contract, GDPR 6(1)(b)"',
            "",
            "purposes.delivery has no legal_basis",
            "legal_basis =",
        ),
        ('legal_basis = "contract, GDPR 6(1)(b)"', 'legal_basis = " "', "must be text", None),
        ("legal_basis", "legal_bases", "unknown key 'legal_bases'", "did you mean legal_basis?"),
        ('roles = ["officer"]\nverbs', "verbs", "purposes.inquiry has no roles", None),
        ("budget = { hour = 20, day = 50, month = 500 }", "", "purposes.delivery has no budget", "budget ="),
        ("budget = { day = 5 }", "budget = {}", "names no window", None),
        ("budget = { day = 5 }", "budget = { week = 5 }", "unknown key 'week'", None),
        (
            "budget = { day = 5 }",
            "budget = { day = -5 }",
            "purposes.inquiry.budget.day must be a whole number",
            None,
        ),
        ("budget = { day = 5 }", "budget = { day = true }", "must be a whole number", None),
        ("budget = { day = 5 }", "budget = { day = 5.5 }", "must be a whole number", None),
        ("budget = { hour = 2000, day = 10000, month = 50000 }", "", "room has no budget", None),
        (
            "tables.persons = { identity",
            "tables.person = { identity",
            "unknown table 'person'",
            "did you mean persons",
        ),
        ('name = "plain"', 'nam = "plain"', "names 'nam'", "did you mean name?"),
        ('contact = "masked"', 'contacts = "masked"', "names 'contacts'", "did you mean contact?"),
        ('name = "plain"', 'name = "clear"', "must be one of plain, masked, token, withheld", None),
        ('area = "plain"', 'birth_year = "masked"', "no mask is for int", "withheld"),
        ('name = "plain"', 'name = "token"', "shows a token of field name", "token = true"),
        (
            'name = "plain"',
            'ethnicity = "plain"',
            "shows field ethnicity of sensitive class sensitive",
            "sensitive =",
        ),
        ('name = "plain"', 'member_of = "masked"', "sensitive class union", "sensitive ="),
        ('sensitive = "the inquiry', '# "the inquiry', "does not say why", "sensitive ="),
        (
            'verbs = ["get", "find", "sql", "rejects"]',
            'verbs = ["gte"]',
            "unknown 'gte'",
            "did you mean get?",
        ),
        ('verbs = ["get", "find", "sql", "rejects"]', 'verbs = ["get"]', "its verbs leave sql out", None),
        ('verbs = ["get", "find", "sql", "rejects"]', "verbs = []", "is empty", None),
        ("min_group = 20", "min_group = 1", "min_group must be a whole number from 2", None),
        ("min_group = 20", "min_grop = 20", "unknown key 'min_grop'", "did you mean min_group?"),
        ('deny = ["bob"]', 'deny = ["bop"]', "unknown 'bop'", "did you mean bob?"),
        ('deny = ["bob"]', 'deny = "bob"', "must be a list", None),
        ('deny = ["bob"]', 'deny = ["bob", "bob"]', "twice", None),
        ("[actors.bob]\nroles", "[actors.bob]\nroll", "unknown key 'roll'", "roles"),
        ('[actors.bob]\nroles = ["dispatcher"]', "[actors.bob]", "actors.bob has no roles", None),
        ('[actors.bob]\nroles = ["dispatcher"]', '[actors.bob]\nroles = ["x"]', "unknown 'x'", "known:"),
        ("[actors.bob]", '[actors."bob jr"]', "a name of an actor", "letters"),
        ("may_know_erased = true", 'may_know_erased = "yes"', "must be true or false", None),
        ('may = ["put", "compact", "check"]', 'may = ["compact"]', "must give put both ways", None),
        ('may = ["put", "compact", "check"]', 'may = ["put", "vanish"]', "unknown 'vanish'", None),
        (
            'put = { tables = ["persons"], ',
            'put = { tables = ["person"], ',
            "unknown table 'person'",
            "persons",
        ),
        ('put = { tables = ["persons"], ', "put = { tables = [], ", "names no tables", None),
        (
            'purposes = ["delivery"]',
            "purposes = []",
            "disagree about role dispatcher and purpose delivery",
            "add it",
        ),
        ('purposes = ["delivery"]', 'purposes = ["delivery", "inquiry"]', "disagree about role", "add it"),
        ('purposes = ["delivery"]', 'purposes = ["deliver"]', "unknown 'deliver'", "did you mean delivery?"),
        ("[room]", "[room", "is not TOML (at line 2", None),
        ("[room]", "[rooms]", "unknown key 'rooms'", "did you mean room?"),
        ("[room]", "room = 1\n[x]", "", None),
    ],
)
def test_a_policy_that_says_what_it_may_not_is_refused(old, new, says, hint):
    """Each mistake is refused by place, with a hint where there is one to give."""
    with pytest.raises(PolicyError) as caught:
        policy(changed(old, new))
    assert says in str(caught.value)
    if hint:
        assert hint in caught.value.hint


def test_purpose_without_tables_is_refused():
    """A purpose that reaches nothing is a mistake."""
    text = TEXT.replace(
        'tables.persons = { name = "plain", contact = "masked", email = "withheld", area = "plain" }\n', ""
    )
    with pytest.raises(PolicyError, match="names no table"):
        policy(text)


def test_a_schema_that_changes_under_a_policy_is_checked_again():
    """A class that becomes sensitive, or a table that goes, makes the standing policy fail the check."""
    found = policy()
    check_policy(found, SCHEMA)
    without = replace(SCHEMA, tables={"persons": SCHEMA.tables["persons"]})
    with pytest.raises(PolicyError, match="unknown table 'cases'"):
        check_policy(found, without)
    stricter = replace(SCHEMA, classes={**SCHEMA.classes, "contact": replace(SCHEMA.classes["union"])})
    with pytest.raises(PolicyError, match="sensitive class contact"):
        check_policy(found, stricter)


def test_a_text_without_end_is_refused():
    """A text is limited before it is parsed."""
    with pytest.raises(PolicyError, match="longer than"):
        policy("#" * (2 << 20))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=string.printable + "é\ud800\x00", max_size=200))
def test_any_text_gives_only_errors_of_this_library(text):
    """Whatever the text, a policy or a StrongroomError comes out."""
    with contextlib.suppress(StrongroomError):
        policy(text)


_LINES = TEXT.splitlines()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(_LINES) - 1), st.integers(0, 80), st.text(max_size=3)), max_size=4),
    st.integers(0, len(_LINES)),
)
def test_a_mangled_policy_gives_only_errors_of_this_library(edits, gone):
    """Text inserted anywhere, a line dropped: a policy or a StrongroomError comes out, and JSON holds it."""
    lines = list(_LINES)
    for line, column, insert in edits:
        lines[line] = lines[line][:column] + insert + lines[line][column:]
    text = "\n".join(lines[:gone] + lines[gone + 1 :])
    try:
        found = policy(text)
    except StrongroomError:
        return
    assert Policy.from_json(found.to_json()) == found


def test_a_delay_is_whole_days_up_to_ten_years():
    """What is not said is told the next day; more than ten years, less than nothing or a text is refused with its place."""
    assert policy().purposes["inquiry"].delay_days == 0
    found = changed("[purposes.inquiry]", "[purposes.inquiry]\ndelay_days = 90")
    delayed = parse_policy(found, SCHEMA)
    assert delayed.purposes["inquiry"].delay_days == 90
    assert Policy.from_json(delayed.to_json()) == delayed
    for wrong in ("3651", "-1", '"90d"', "true"):
        with pytest.raises(PolicyError, match=r"purposes\.inquiry\.delay_days"):
            parse_policy(found.replace("= 90", f"= {wrong}"), SCHEMA)


def test_roles_are_those_that_let_an_actor():
    """Under a purpose the first role that it names and the actor has; for an act the first of theirs that may."""
    found = policy()
    assert found.role_under("cleo", "inquiry") == "officer"
    assert found.role_for("cleo", "put") == "clerk"
    assert found.role_under("nobody", "inquiry") is None
    assert found.role_for("nobody", "put") is None


def test_the_log_of_a_person_is_a_verb_that_nobody_has_unsaid():
    """`log` among the verbs of a purpose allows it on its tables; without the word it is refused."""
    from strongroom.purpose.cedar import Decider

    found = policy()
    actor = next(name for name, one in found.actors.items() if set(one.roles) & set(found.purposes["inquiry"].roles))
    assert not Decider(found, SCHEMA).decide_read(actor, "inquiry", "log", "persons").allowed
    purposes = {**found.purposes, "inquiry": replace(found.purposes["inquiry"], verbs=("log",))}
    given = Decider(replace(found, purposes=purposes), SCHEMA)
    assert given.decide_read(actor, "inquiry", "log", "persons").allowed
    assert not given.decide_read(actor, "inquiry", "get", "persons").allowed
