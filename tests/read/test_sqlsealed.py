"""Questions over sealed fields: what may stand where, and what is refused by which rule."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import DeniedError, StrongroomError, UsageError
from strongroom.read.sqlcheck import ColumnView, TableView, check_sql
from strongroom.read.sqlplan import AMOUNT, INTERVAL, WHOLE, SealedUse

COLUMNS = {
    c.name: c
    for c in (
        ColumnView("id_number", "string", "identity", "withheld"),
        ColumnView("mobile", "string", "contact", "withheld"),
        ColumnView("religion", "string", "sensitive", "withheld"),
        ColumnView("ethnicity", "string", "sensitive", "withheld", sealed=SealedUse(whole=True)),
        ColumnView("smoker", "bool", "sensitive", "withheld", sealed=SealedUse(whole=True)),
        ColumnView("children", "int", "identity", "withheld", sealed=SealedUse(whole=True)),
        ColumnView("born", "date", "identity", "withheld", sealed=SealedUse(cuts=("1950-01-01", "1970-01-01"))),
        ColumnView("income", "int", "money", "withheld", sealed=SealedUse(cuts=(0, 1000), bounds=(0, 9000))),
        ColumnView("weight", "float", "money", "withheld", sealed=SealedUse(bounds=(0, 200))),
        ColumnView("sex", "string"),
        ColumnView("year", "int", nullable=False),
    )
}
TABLES = {"persons": TableView("persons", "one", COLUMNS, "health", step=10)}
STAND = "sealed fields stand whole"
BY_INTERVAL = "sealed fields are seen by interval"
DECLARED = "sealed fields have declared sums"


def plan(text, rows=False):
    return check_sql(text, TABLES, 20, rows)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("select ethnicity, count(*) from persons group by ethnicity", [WHOLE]),
        ("select distinct ethnicity from persons", [WHOLE]),
        ("select count(*) from persons where ethnicity in ('a', 'b') and not smoker", [WHOLE, WHOLE]),
        ("select count(*) from persons where 'a' = (ethnicity) or ethnicity is null", [WHOLE]),
        ("select count(*) from persons where children = 3 and smoker is not true", [WHOLE, WHOLE]),
        ("select born, sex, count(*) n from persons group by all having count(*) > 50 order by n desc", [INTERVAL]),
        ("select count(*) from persons where born <> '< 1950-01-01'", [INTERVAL]),
        ("select income, sum(income), avg(income) from persons group by 1", [INTERVAL, AMOUNT]),
        ("select sex, avg(weight), count(weight) from persons group by sex", [AMOUNT]),
        ("select case when ethnicity = 'a' then 1 else 0 end k, count(*) from persons group by k", [WHOLE]),
        ("select count(ethnicity) from persons", [WHOLE]),
        ("select ethnicity, count(*) from persons group by 1 order by ethnicity", [WHOLE]),
    ],
)
def test_declared_uses_are_planned(text, parts):
    """Dimensions stand whole, cut fields as intervals, sums as bounded amounts; what reaches the engine is rounded."""
    made = plan(text)
    assert [c.part for c in made.sealed] == parts
    assert set(made.fields) <= set(COLUMNS)
    if "count(" in made.scan.replace("count(*) as n", ""):
        assert "round(" in made.scan


REFUSED = [
    # a value of a cut field
    ("select count(*) from persons where income = 512", BY_INTERVAL),
    ("select count(*) from persons where born = '1961-04-12'", BY_INTERVAL),
    ("select count(*) from persons where born in ('< 1950-01-01', '1961-04-12')", BY_INTERVAL),
    ("select count(*) from persons where born is distinct from '1961-04-12'", BY_INTERVAL),
    ("select count(*) from persons where born = cast('1961-04-12' as date)", STAND),
    # anything but comparing
    ("select count(*) from persons where income > 100", STAND),
    ("select count(*) from persons where income between 1 and 2", STAND),
    ("select count(*) from persons where born >= '1950-01-01'", STAND),
    ("select count(*) from persons where ethnicity like 'a%'", STAND),
    ("select count(*) from persons where ethnicity ilike 'a%'", STAND),
    ("select count(*) from persons where lower(ethnicity) = 'a'", STAND),
    ("select count(*) from persons where ethnicity || sex = 'ax'", STAND),
    ("select count(*) from persons where ethnicity = sex", STAND),
    ("select count(*) from persons where sex = ethnicity", STAND),
    ("select count(*) from persons where ethnicity in ('a', sex)", STAND),
    ("select count(*) from persons where 'a' in (ethnicity, 'b')", STAND),
    ("select count(*) from persons where coalesce(ethnicity, 'a') = 'a'", STAND),
    ("select count(*) from persons where nullif(ethnicity, 'a') is null", STAND),
    ("select count(*) from persons where cast(children as text) = '3'", STAND),
    ("select count(*) from persons where children + 0 = 3", STAND),
    ("select count(*) from persons where children % 2 = 0", STAND),
    ("select count(*) from persons where -children = 3", STAND),
    ("select count(*) from persons where year = 1950 + children", STAND),
    ("select count(*) from persons where case ethnicity when 'a' then true else false end", STAND),
    ("select floor(income / 10) k, count(*) from persons group by k", STAND),
    ("select year(born) y, count(*) from persons group by y", STAND),
    ("select date_trunc('year', born) y, count(*) from persons group by y", STAND),
    ("select extract(year from born) y, count(*) from persons group by y", STAND),
    ("select left(ethnicity, 1) k, count(*) from persons group by k", STAND),
    ("select substring(ethnicity, 1, 1) k, count(*) from persons group by k", STAND),
    ("select coalesce(ethnicity, 'x') k, count(*) from persons group by k", STAND),
    ("select case when smoker then ethnicity end k, count(*) from persons group by k", STAND),
    ("select sex, count(*) from persons group by sex having ethnicity || 'x' = 'a'", STAND),
    ("select round(income, 0) k, count(*) from persons group by k", STAND),
    ("select length(ethnicity) k, count(*) from persons group by k", STAND),
    # sums
    ("select sum(children) from persons", DECLARED),
    ("select stddev(income) from persons", DECLARED),
    ("select variance(weight) from persons", DECLARED),
    ("select sum(ethnicity) from persons", DECLARED),
    ("select weight, count(*) from persons group by weight", "sealed fields are used as declared"),
    ("select count(*) from persons where weight = 70", "sealed fields are used as declared"),
    ("select sum(income + 0) from persons", "sql aggregates take bare fields"),
    ("select sum(case when year = 1950 then income end) from persons", "sql aggregates take bare fields"),
    ("select count(case when ethnicity = 'a' then 1 end) from persons", "sql aggregates take bare fields"),
    ("select max(income) from persons", "sql gives no single person's value"),
    ("select min(born) from persons", "sql gives no single person's value"),
    ("select list(ethnicity) from persons", "sql gives no single person's value"),
    ("select string_agg(ethnicity, ',') from persons", "sql gives no single person's value"),
    ("select any_value(ethnicity) from persons group by sex", "sql gives no single person's value"),
    # exact figures that tell who is in a group
    ("select count(distinct ethnicity) from persons", "sealed questions count persons in steps"),
    ("select ethnicity, count(distinct year) from persons group by 1", "sealed questions count persons in steps"),
    ("select ethnicity, sum(year) from persons group by 1", "sealed questions have declared sums"),
    ("select avg(year) from persons where ethnicity = 'a'", "sealed questions have declared sums"),
    ("select sex, stddev(year) from persons where smoker group by 1", "sealed questions have declared sums"),
    ("select sex, count(*) from persons where smoker group by sex having sum(year) > 1", "sealed questions have declared sums"),
    ("select sex, count(*) from persons where smoker group by sex order by avg(year)", "sealed questions have declared sums"),
    # rows
    ("select ethnicity from persons limit 5", "purpose health allows no sql rows"),
    ("select sex from persons where ethnicity = 'a' limit 5", "purpose health allows no sql rows"),
    # what is not declared
    ("select religion, count(*) from persons group by 1", "sensitive fields are never a filter"),
    ("select count(*) from persons where mobile = '1' and ethnicity = 'a'", "sql reads open fields only"),
    ("select id_number, ethnicity, count(*) from persons group by all", "sql reads open fields only"),
]


@pytest.mark.parametrize(("text", "rule"), REFUSED)
def test_every_other_use_is_refused_by_its_rule(text, rule):
    """What would look at a single value, or tell who is in a group, is refused; the refusal names the rule."""
    with pytest.raises(DeniedError) as refused:
        plan(text)
    assert refused.value.rule == rule


def test_rows_are_refused_even_where_a_purpose_allows_rows():
    """Where rows are allowed, none shows or follows a sealed field."""
    for text in ("select ethnicity from persons limit 5", "select sex from persons where ethnicity = 'a' limit 5",
                 "select sex from persons order by born limit 5"):  # fmt: skip
        with pytest.raises(DeniedError) as refused:
            plan(text, rows=True)
        assert refused.value.rule == "sealed fields give no rows"


def test_a_question_of_open_fields_is_as_exact_as_before():
    """A question that touches no sealed field is not rounded."""
    assert "round(" not in plan("select sex, count(*), sum(year) from persons group by sex").scan


def test_a_star_stands_for_no_sealed_field():
    """A star is the open fields shown."""
    assert plan("select * from persons limit 5", rows=True).names == ("sex", "year")


WORDS = st.sampled_from(
    ["select", "from", "where", "group", "by", "having", "order", "limit", "persons", "count", "sum", "avg", "(", ")", "*", ",", "=", "<>", "<", "in", "between", "like", "is", "not", "null", "and", "or", "case", "when", "then", "else", "end", "as", "distinct", "cast", "coalesce", "lower", "floor", "year", "sex", "ethnicity", "smoker", "children", "born", "income", "weight", "religion", "mobile", "'a'", "'<", "0'", "'[0,", "1000)'", "'<", "1950-01-01'", "3", "512", "1.5", "+", "-", "/", "%", "||", "true", "all", "max", "list"]
)
SHAPES = st.sampled_from(
    [
        "select {}",
        "select count(*) from persons where {}",
        "select {}, count(*) from persons group by 1",
        "select sex, count(*) from persons group by sex having {}",
        "select {} from persons",
    ]
)


@settings(max_examples=600)
@given(st.lists(WORDS, max_size=16), SHAPES)
def test_whatever_the_words_sealed_fields_stand_as_declared(words, shape):
    """Any words give a plan or our own error, and in a plan each sealed column stands alone, compared or counted."""
    try:
        made = plan(shape.format(" ".join(words)))
    except StrongroomError:
        return
    assert not set(made.fields) & {"religion", "mobile", "id_number"}
    assert made.kind == "aggregate"
    names = {f"c{i}": c for i, c in enumerate(made.columns)}
    for name, column in names.items():
        if column.part:
            for inside in ("lower(", "floor(", "coalesce(", "cast(", "try(", "year(", "length("):
                assert f"{inside}{name}" not in made.scan
            assert f"{name} <" not in made.scan.replace(f"{name} <>", "")
            assert f"{name} like" not in made.scan
            assert f"{name} between" not in made.scan
        if column.part == INTERVAL:
            compared = re.findall(rf"{name} (?:=|<>) ('[^']*'|\w+)", made.scan)
            assert set(compared) <= {"'< 0'", "'[0, 1000)'", "'>= 1000'", "'< 1950-01-01'", "null"}
    if made.sealed:
        assert "distinct c" not in made.scan


@settings(max_examples=200)
@given(st.text(max_size=40), st.sampled_from(["ethnicity = '{}'", "{} = ethnicity", "born in ('{}')", "ethnicity {}"]))
def test_whatever_the_characters_our_own_error_comes_out(text, shape):
    """Any characters around a sealed field give a plan or an error of this library that does not repeat them."""
    question = f"select count(*) from persons where {shape.format(text)}"
    said = ""
    try:
        assert plan(question).kind == "aggregate"
    except (UsageError, DeniedError) as error:
        said = str(error)
    assert len(text) < 5 or text not in said
