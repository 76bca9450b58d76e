"""What a policy may say of adding up sealed fields, and what it may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from purpose_fixtures import field, table

from strongroom.errors import PolicyError
from strongroom.purpose.cedar import Decider
from strongroom.purpose.explain import explain
from strongroom.purpose.model import Policy
from strongroom.purpose.policy import check_policy, parse_policy
from strongroom.purpose.rehearse import rehearse
from strongroom.purpose.sealed import SealedRule, intervals
from strongroom.schema.model import BUILT_IN_CLASSES, Schema

SCHEMA = Schema(
    tables={
        "persons": table(
            "persons",
            "plain",
            field("person_id", "identity"),
            field("name", "identity"),
            field("resident", "identity", normalise=("id",)),
            field("mail", "identity", normalise=("email",)),
            field("phone", "contact", normalise=("phone:CN",)),
            field("mobile", "contact", find=True, low_cardinality=True),
            field("coded", "contact", token=True, low_cardinality=True),
            field("note", "contact"),
            field("degree", "contact", low_cardinality=True),
            field("born", "identity", "date"),
            field("height", "contact", "float"),
            field("income", "contact", "int"),
            field("blob", "contact", "binary"),
            field("ethnicity", "sensitive", low_cardinality=True),
            field("area", "open"),
        )
    },
    classes=BUILT_IN_CLASSES,
    number=1,
)
TEXT = """
[room]
budget = { day = 10000 }
[roles.analyst]
[roles.other]
[actors.lin]
roles = ["analyst"]
[actors.bob]
roles = ["other"]
[purposes.health]
legal_basis = "statistics act"
roles = ["analyst"]
verbs = ["sql"]
tables.persons = { area = "plain" }
budget = { day = 1000 }
sensitive = "published statistics"
sql = { min_group = 20 }
[purposes.health.sealed.persons]
dimensions = ["ethnicity", "degree"]
cuts = { born = [1950-01-01, "1970-01-01"], income = [0, 1000], height = [150, 180.5] }
sums = { income = [0, 100000], height = [50, 250.0] }
"""


def changed(*pairs):
    text = TEXT
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


def test_a_policy_says_what_may_be_added_up_and_is_kept_whole():
    """Dimensions, cut points and sums are read, survive storing, and make rules that Cedar accepts."""
    policy = parse_policy(TEXT, SCHEMA)
    rule = policy.purposes["health"].sealed["persons"]
    assert rule == SealedRule(
        ("ethnicity", "degree"),
        {"born": ("1950-01-01", "1970-01-01"), "income": (0, 1000), "height": (150, 180.5)},
        {"income": (0, 100000), "height": (50, 250.0)},
    )
    assert (policy.purposes["health"].sql.step, policy.purposes["health"].lookups.day) == (10, 100)
    assert Policy.from_json(policy.to_json()) == policy
    Decider(policy, SCHEMA).validate()
    check_policy(policy, SCHEMA)
    assert intervals(rule.cuts["born"]) == ("< 1950-01-01", "[1950-01-01, 1970-01-01)", ">= 1970-01-01")


def test_a_policy_stored_before_says_nothing_of_sealed_fields():
    """A policy kept without these words reads as one that adds nothing up."""
    import json

    stored = json.loads(parse_policy(TEXT, SCHEMA).to_json())
    for purpose in stored["purposes"].values():
        del purpose["sealed"], purpose["sql"]["step"]
    assert Policy.from_json(json.dumps(stored)).purposes["health"].sealed == {}


REFUSED = [
    (('"ethnicity", "degree"', '"ethnicity", "area"'), "open already"),
    (('"ethnicity", "degree"', '"ethnicity", "note"'), "many values"),
    (('"ethnicity", "degree"', '"ethnicity", "born"'), "whole and cut"),
    (('"ethnicity", "degree"', '"ethnicity", "person_id"'), "who somebody is"),
    (('"ethnicity", "degree"', '"ethnicity", "resident"'), "who somebody is"),
    (('"ethnicity", "degree"', '"ethnicity", "mail"'), "who somebody is"),
    (('"ethnicity", "degree"', '"ethnicity", "phone"'), "who somebody is"),
    (('"ethnicity", "degree"', '"ethnicity", "mobile"'), "who somebody is"),
    (('"ethnicity", "degree"', '"ethnicity", "coded"'), "who somebody is"),
    (('"ethnicity", "degree"', '"ethnicity", "blob"'), "many values"),
    (('"ethnicity", "degree"', '"ethnicty"'), "no field of table"),
    (('"ethnicity", "degree"', '"ethnicity", "ethnicity"'), "twice"),
    (('sensitive = "published statistics"\n', ""), "does not say why"),
    (("min_group = 20", "min_group = 9"), "below 10"),
    (("min_group = 20", "min_group = 20, rows = true"), "returns rows"),
    (("min_group = 20", "min_group = 20, step = 21"), "larger than its min_group"),
    (("min_group = 20", "min_group = 20, step = 0"), "from 1 up"),
    (("income = [0, 1000]", "income = [1000, 0]"), "ascending"),
    (("income = [0, 1000]", "income = [0, 0]"), "ascending"),
    (("income = [0, 1000]", "income = []"), "cut points"),
    (("income = [0, 1000]", "income = [0.5]"), "another kind"),
    (("income = [0, 1000]", 'income = ["0"]'), "another kind"),
    (("income = [0, 1000]", "income = [true]"), "numbers or dates"),
    (("income = [0, 1000]", f"income = {list(range(101))}"), "1 to 100"),
    (("income = [0, 1000]", "income = 5"), "numbers or dates"),
    (("income = [0, 1000]", "note = [0, 1000]"), "only numbers and dates"),
    (('"1970-01-01"', '"1970"'), "another kind"),
    (('"1970-01-01"', "1970"), "another kind"),
    (('"1970-01-01"', "1970-01-01T00:00:00"), "numbers or dates"),
    (("[150, 180.5]", "[150, nan]"), "another kind"),
    (("[0, 100000]", "[100000, 0]"), "no range"),
    (("[0, 100000]", "[0, 1, 2]"), "the least and the most"),
    (("[0, 100000]", "[0, 1000000000000000000]"), "no range"),
    (("[0, 100000]", "[0, 0.5]"), "another kind"),
    (("income = [0, 100000]", "born = [0, 1]"), "only numbers have sums"),
    (('verbs = ["sql"]', 'verbs = ["get"]'), "leave sql out"),
    (("sealed.persons", "sealed.parcels"), "unknown table"),
    (("dimensions", "dimension"), "unknown key"),
]


@pytest.mark.parametrize(("pair", "said"), REFUSED)
def test_what_could_show_a_person_is_refused(pair, said):
    """Identifiers, free text, fine cuts, small groups, rows beside: refused, with the place and without a value."""
    with pytest.raises(PolicyError, match=said) as refused:
        parse_policy(changed(pair), SCHEMA)
    assert "purposes.health" in str(refused.value)


def test_sealed_needs_a_table_of_the_purpose_and_sql():
    """A table that the purpose does not reach, a purpose without sql, and an empty rule are refused."""
    with pytest.raises(PolicyError, match="for sql"):
        parse_policy(changed(('verbs = ["sql"]', 'verbs = ["get"]'), ("sql = { min_group = 20 }\n", "")), SCHEMA)
    with pytest.raises(PolicyError, match="does not reach"):
        parse_policy(changed(("tables.persons", "tables.others")), _two())
    head = TEXT[: TEXT.index("dimensions")]
    with pytest.raises(PolicyError, match="names no field"):
        parse_policy(head, SCHEMA)


def _two():
    other = table("others", "plain", field("person_id", "identity"), field("area", "open"))
    return Schema({**SCHEMA.tables, "others": other}, BUILT_IN_CLASSES, 1)


def test_sums_need_one_record_a_subject():
    """Where a subject has many records no range bounds what a person adds: no sums, but counts."""
    from dataclasses import replace

    many = Schema({"persons": replace(SCHEMA.tables["persons"], records="many")}, BUILT_IN_CLASSES, 1)
    with pytest.raises(PolicyError, match="many records"):
        parse_policy(TEXT, many)
    text = changed(("sums = { income = [0, 100000], height = [50, 250.0] }\n", ""))
    assert parse_policy(text, many).purposes["health"].sealed


def test_only_declared_fields_are_decided_for_and_only_under_that_word():
    """The rule of a purpose reaches its declared and its open fields, for aggregates; find, rows and others have none."""
    decider = Decider(parse_policy(TEXT, SCHEMA), SCHEMA)

    def rule(verb, *fields, actor="lin"):
        found = decider.decide_read(actor, "health", verb, "persons", list(fields))
        return found.allowed, found.rule

    assert rule("aggregate", "ethnicity", "income", "area") == (True, "purposes.health.sealed.persons")
    assert rule("aggregate", "ethnicity", "note") == (False, "purposes.health.sealed.persons")
    assert rule("aggregate", "ethnicity", "mobile") == (False, "room.aggregate-names")
    assert rule("aggregate", "person_id") == (False, "room.aggregate-names")
    assert rule("aggregate", "ethnicity", actor="bob") == (False, "purposes.health.roles")
    assert rule("sql", "ethnicity") == (False, "room.sql-open-fields")
    assert rule("rows", "ethnicity")[0] is False
    assert rule("get", "ethnicity") == (False, "purposes.health.verbs")
    assert rule("sql", "area")[0]
    plain = parse_policy(TEXT[: TEXT.index("[purposes.health.sealed")], SCHEMA)
    found = Decider(plain, SCHEMA).decide_read("lin", "health", "aggregate", "persons", ["ethnicity"])
    assert (found.allowed, found.rule) == (False, "purposes.health.sealed")


def test_explain_says_what_is_added_up():
    """The explanation of a table, and of one field, says how it is seen, in which groups and steps."""
    policy = parse_policy(TEXT, SCHEMA)
    said = "\n".join(explain(policy, SCHEMA, "lin", "health", "persons").lines)
    assert "at least 20 persons, in steps of 10, through a server: ethnicity; degree; born as < 1950-01-01, [19" in said
    assert "sums of income, each record between 0 and 100000" in said
    one = explain(policy, SCHEMA, "lin", "health", "persons", "born")
    assert one.allowed
    assert "ethnicity" not in "\n".join(line for line in one.lines if "sealed" in line)
    assert not explain(policy, SCHEMA, "lin", "health", "persons", "note").allowed


VALUES = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["1950-01-01", '"1950-01-01"', '"x"', "true", "[]", "{}", "nan", "inf", "07:00:00", '"1950-13-01"']),
)


@given(st.lists(VALUES, max_size=5), st.sampled_from(["born", "income", "height", "note", "ethnicity"]),
       st.sampled_from(["cuts", "sums"]))  # fmt: skip
def test_any_points_are_read_or_refused_with_our_own_error(points, name, kind):
    """Whatever stands as cut points or range: a policy that stores and reads back, or a PolicyError."""
    head = TEXT[: TEXT.index("dimensions")]
    try:
        policy = parse_policy(f"{head}{kind}.{name} = [{', '.join(points)}]", SCHEMA)
    except PolicyError:
        return
    assert Policy.from_json(policy.to_json()) == policy
    Decider(policy, SCHEMA).validate()


def test_past_questions_over_sealed_fields_are_rehearsed_as_such():
    """Entries of such questions, the plan and its batches: allowed where the proposed policy declares the fields."""
    said = {"decision": "allowed", "act": "sql", "actor": "lin", "purpose": "health", "table": "persons"}
    entries = [
        {**said, "leaf": 1, "fields": ["ethnicity", "area"], "extras": {"groups": 0, "persons": 9}},
        {**said, "leaf": 2, "fields": ["ethnicity", "area"], "extras": {"records": 9}},
        {**said, "leaf": 3, "fields": ["area"], "extras": {"groups": 0}},
    ]
    assert rehearse(parse_policy(TEXT, SCHEMA), SCHEMA, entries) == []
    (found,) = rehearse(parse_policy(changed(('"ethnicity", "degree"', '"degree"')), SCHEMA), SCHEMA, entries)
    assert (found.rule, found.requests, found.first, found.last) == ("purposes.health.sealed.persons", 2, 1, 2)
