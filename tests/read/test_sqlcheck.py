"""What a question over open columns may not be, and that nothing but our own errors comes out."""

from __future__ import annotations

import logging
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import DeniedError, StrongroomError, UsageError
from strongroom.read.sqlcheck import ColumnView, TableView, check_sql

COLUMNS = {
    c.name: c
    for c in (
        ColumnView("id_number", "string", "identity"),
        ColumnView("mobile", "string", "contact", "masked", "last4"),
        ColumnView("ethnicity", "string", "sensitive", "withheld"),
        ColumnView("hidden", "string", "open", "withheld"),
        ColumnView("coded", "string", "open", "token"),
        ColumnView("sex", "string"),
        ColumnView("education", "string"),
        ColumnView("born", "date", "open", "masked", "year"),
        ColumnView("created_at", "timestamp"),
        ColumnView("year", "int", nullable=False),
        ColumnView("height", "float"),
        ColumnView("active", "bool"),
        ColumnView("性别", "string"),
    )
}
VIEW = TableView("persons", "one", COLUMNS, "statistics")
CASES = TableView("cases", "many", COLUMNS, "statistics", sensitive=True)
TABLES = {"persons": VIEW, "cases": CASES}


def plan(text, rows=True, min_group=5):
    return check_sql(text, TABLES, min_group, rows)


@pytest.mark.parametrize("name", ["id_number", "mobile", "ethnicity", "hidden", "coded"])
@pytest.mark.parametrize(
    "shape",
    [
        "select {} from persons limit 5",
        "select count(*) from persons where {} like '138%'",
        "select count(*) from persons where sex = 'x' or {} is null",
        "select sex from persons order by {} limit 1",
        "select sex, count(*) from persons group by sex order by {}",
        "select {}, count(*) from persons group by 1",
        "select sex, count(*) from persons group by sex, {}",
        "select count({}) from persons",
        "select count(distinct {}) from persons",
        "select case when {} = 'x' then 1 else 0 end as y, count(*) from persons group by y",
        "select sex, count(*) from persons group by sex having {} = 'x'",
        "select coalesce({}, 'x') from persons limit 5",
        "select cast({} as int) from persons limit 5",
        "select sex || {} from persons limit 5",
        "select P.{} from persons as P limit 5",
        "select count(*) from persons where persons.{} in ('1', '2')",
        "select distinct {} from persons",
        "select count(*) from persons where upper({}) between 'a' and 'b'",
    ],
)
def test_a_field_that_may_not_be_seen_may_stand_nowhere(name, shape):
    """Sealed, sensitive and withheld fields are refused in every clause, and the refusal names field and rule."""
    with pytest.raises(DeniedError) as refused:
        plan(shape.format(name))
    assert name in str(refused.value)
    assert refused.value.rule


@pytest.mark.parametrize(
    "text",
    [
        "select a from persons, cases limit 1",
        "select sex from persons join cases using (sex) limit 1",
        "select p.sex from persons p join persons q on p.year = q.year limit 1",
        "select count(*) from persons union select count(*) from cases",
        "select count(*) from (select * from persons) as persons",
        "select count(*) from persons where year in (select year from cases)",
        "select count(*) from persons where exists (select 1 from cases)",
        "select (select count(*) from cases) from persons limit 1",
        "with x as (select * from persons) select count(*) from x",
        "select count(*) from persons, lateral (select 1) x",
        "select count(*) from read_csv('/etc/passwd')",
        "select count(*) from read_parquet('x')",
        "select count(*) from '/etc/passwd'",
        "select count(*) from glob('*')",
        "select count(*) from range(1000000000000)",
        "select count(*) from generate_series(1, 1000000000000)",
        "select unnest(range(1000000000)) from persons limit 1",
        "select sleep(100) from persons limit 1",
        "select repeat('x', 1000000000) from persons limit 1",
        "select getenv('HOME') from persons limit 1",
        "select current_setting('threads') from persons limit 1",
        "select count(*) from information_schema.tables",
        "select count(*) from duckdb_settings()",
        "select count(*) from main.persons",
        "select count(*) from persons; select 1",
        "select count(*) from persons; drop table persons",
        "pragma database_list",
        "set threads = 4",
        "attach 'x.db'",
        "copy persons to 'x.csv'",
        "install httpfs",
        "load httpfs",
        "explain select count(*) from persons",
        "describe persons",
        "summarize persons",
        "from persons",
        "values (1)",
        "create table x as select * from persons",
        "select count(*) into x from persons",
        "select sex, row_number() over () from persons limit 1",
        "select sex, count(*) over () from persons limit 1",
        "select sex from persons qualify row_number() over () = 1",
        "select count(*) filter (where year = 1950) from persons",
        "select count(*) from persons group by rollup (sex)",
        "select count(*) from persons group by cube (sex)",
        "select count(*) from persons group by grouping sets ((sex), ())",
        "select count(*) from persons tablesample 10%",
        "select count(*) from persons using sample 3",
        "select distinct on (sex) sex from persons",
        "select sex from persons limit 5 percent",
        "select columns('.*') from persons limit 1",
        "select * exclude (sex) from persons limit 1",
        "select * replace (1 as sex) from persons limit 1",
        "select persons from persons limit 1",
        "select _person, count(*) from persons group by 1",
        "select _row from persons limit 1",
        "select _file from persons limit 1",
        "select rowid from persons limit 1",
        "select c0 from persons limit 1",
        "select sex[1] from persons limit 1",
        "select {'a': sex} from persons limit 1",
        "select [sex] from persons limit 1",
        "select regexp_matches(sex, 'x') from persons limit 1",
        "select count(*) from persons where sex like any ('x', 'y')",
        "select count(*) from persons where $1 = 1",
        "select count(*) from persons where ? = 1",
        "select sex from persons limit (select 3)",
        "select sex from persons limit -1",
        "select sex from persons limit 100000",
        "select count(*) from persons where",
        "select",
        "",
        ";",
        "select 1",
        "(select count(*) from persons)",
        "select sex, count(*) from persons",
        "select year + count(*) from persons group by sex",
        "select count(*) from persons where count(*) > 3",
        "select sum(distinct year) from persons",
        "select avg(sex) from persons",
        "select sum(active) from persons",
        "select count(*) from persons where sex = 5",
        "select count(*) from persons where year = 'x'",
        "select count(*) from persons where year",
        "select count(*) from persons where created_at > 'yesterday'",
        "select count(*) from persons where active + 1 = 2",
        "select count(*) from nobody",
        "select " + "(" * 5000 + "1" + ")" * 5000 + " from persons limit 1",
        "select " + "-" * 1 + " ".join("not" for _ in range(3000)) + " true from persons limit 1",
        "select count(*) from persons where sex = '" + "x" * 2000 + "'",
        "select count(*) from persons where sex = 'x\0'",
        "select count(*) from persons -- " + "x" * 20_000,
    ],
)
def test_what_is_not_one_plain_select_is_refused(text):
    """Constructs that are not offered end in a usage error, whatever they are."""
    with pytest.raises(UsageError):
        plan(text)


@pytest.mark.parametrize(
    "expression",
    [
        "min(year)", "max(created_at)", "any_value(sex)", "first(sex)", "last(sex)", "list(sex)", "array_agg(sex)",
        "string_agg(sex, ',')", "arg_min(sex, year)", "arg_max(sex, year)", "median(year)", "mode(sex)",
        "quantile_cont(year, 0.5)", "approx_quantile(year, 0.5)", "histogram(year)", "min_by(sex, year)",
        "1 + max(year)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["select {} from persons", "select sex, {} from persons group by sex",
                                   "select sex, count(*) from persons group by sex having {} is null"])  # fmt: skip
def test_a_single_persons_value_is_refused(expression, shape):
    """Functions that return one person's value are refused, wherever they stand."""
    with pytest.raises(DeniedError) as refused:
        plan(shape.format(expression))
    assert "single" in str(refused.value.rule)


@pytest.mark.parametrize(
    "expression",
    [
        "sum(case when year = 1950 then height end)",
        "sum(height * 0)",
        "count(case when year = 1950 then 1 end)",
        "count(nullif(sex, 'x'))",
        "avg(year + 0)",
        "count(distinct case when year = 1950 then sex end)",
        "count(1)",
        "count(distinct (sex, year))",
    ],
)
def test_a_condition_cannot_hide_in_an_aggregate(expression):
    """An aggregate takes a bare field, or it would single out a person within a large group."""
    with pytest.raises(DeniedError):
        plan(f"select {expression} from persons")


def test_rows_need_leave_a_limit_and_a_table_that_is_not_sensitive():
    """Rows of persons are refused without leave, without a limit, and always from a sensitive table."""
    assert plan("select sex from persons limit 5").kind == "rows"
    with pytest.raises(DeniedError):
        plan("select sex from persons limit 5", rows=False)
    with pytest.raises(UsageError, match="limit"):
        plan("select sex from persons")
    with pytest.raises(DeniedError, match="sensitive"):
        plan("select sex from cases limit 5")
    assert plan("select sex, count(*) from cases group by sex").kind == "aggregate"


def test_a_star_is_only_what_the_purpose_shows():
    """A star stands for the open fields shown, not for the others."""
    names = plan("select * from persons limit 5").names
    assert names == ("sex", "education", "born", "created_at", "year", "height", "active", "性别")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("select sex, count(*) n from persons group by sex order by n desc limit 3", ("sex", "n")),
        ("SELECT Sex, COUNT(*) FROM Persons GROUP BY 1 HAVING count(*) > 10", ("Sex", "count")),
        ("select floor(year / 10) * 10 as decade, avg(height) from persons group by decade", ("decade", "avg")),
        ("select count(*), count(*) from persons;", ("count", "count_2")),
        ("select date_trunc('month', created_at) m, sum(height) / count(sex) from persons group by all", ("m", "div")),
        ("select year(created_at) y, extract(month from created_at) m, count(*) from persons group by y, m",
         ("y", "m", "count")),
        ("select 性别, count(*) from persons where created_at >= '2024-01-01' group by 性别", ("性别", "count")),
        ("select case when year < 1950 then 'a' else 'b' end age, count(*) from persons group by 1", ("age", "count")),
        ("select distinct sex from persons", ("sex",)),
        ("select count(*) /* a ; comment */ from persons -- another", ("count",)),
        ("select p.sex, stddev(p.height) from persons as p group by p.sex order by 2 nulls first", ("sex", "stddev")),
        ("select born, count(*) from persons where born >= '1980' group by born", ("born", "count")),
        ("select year as created_at, count(*) from persons group by year order by created_at", ("created_at", "count")),
    ],
)  # fmt: skip
def test_plain_questions_are_planned(text, names):
    """Ordinary questions of counts and averages get a plan."""
    made = plan(text, rows=False)
    assert made.kind == "aggregate"
    assert made.names == names


def test_nothing_of_the_caller_reaches_the_engine_but_literals():
    """Names of fields, tables and aliases do not occur in what is run."""
    made = plan("select sex as drop_me, count(*) as evil from persons as x where education = 'b' group by sex")
    for word in ("sex", "drop_me", "evil", "persons", "education"):
        assert word not in made.scan + made.answer
    assert "'b'" in made.scan


def test_quotes_in_a_literal_stay_in_it():
    """A quote in a text literal cannot end it."""
    made = plan("select count(*) from persons where sex = 'a'' or true --'")
    assert "'a'' or true --'" in made.scan


def test_no_error_or_log_line_holds_the_question(caplog):
    """Values in a question do not come back in messages, causes, contexts or logs."""
    caplog.set_level(logging.DEBUG)
    secret = "13800138000"
    for text in (
        f"select count(*) from persons where mobile = '{secret}'",
        f"select count(*) from persons where '{secret}' = = 1",
        f"select f_{secret}(sex) from persons limit 1",
        f"select count(*) from persons where created_at = '{secret}'",
        f"select '{secret} from persons",
        f"select cast('{secret}' as date) from persons limit 1",
        f"call x('{secret}')",
        f'select "{secret}" from persons limit 1',
        f"select sex from persons limit {secret}",
        f'select "{secret}"(sex) from persons limit 1',
        f"select 1e{secret} from persons limit 1",
        f'select sex from "{secret}" limit 1',
    ):
        with pytest.raises(StrongroomError) as caught:
            plan(text)
        assert secret not in str(caught.value) + str(caught.value.hint)
        assert secret not in "".join(traceback.format_exception_only(caught.value))
        assert caught.value.__context__ is None or secret not in str(caught.value.__context__)
    assert secret not in caplog.text


WORDS = st.sampled_from(
    [
        "select",
        "from",
        "where",
        "group",
        "by",
        "having",
        "order",
        "limit",
        "offset",
        "persons",
        "cases",
        "count",
        "(",
        ")",
        "*",
        ",",
        ".",
        ";",
        "+",
        "-",
        "/",
        "%",
        "||",
        "::",
        "'x'",
        "1",
        "1.5",
        "'it''s'",
        '"',
        "'",
        "sex",
        "year",
        "mobile",
        "ethnicity",
        "created_at",
        "born",
        "height",
        "active",
        "null",
        "true",
        "case",
        "when",
        "then",
        "else",
        "end",
        "as",
        "and",
        "or",
        "not",
        "in",
        "between",
        "like",
        "is",
        "distinct",
        "cast",
        "date",
        "interval",
        "int",
        "over",
        "partition",
        "filter",
        "union",
        "all",
        "with",
        "recursive",
        "lateral",
        "join",
        "on",
        "using",
        "[",
        "]",
        "{",
        "}",
        "=>",
        "->",
        "$1",
        "?",
        "@",
        "#",
        "~",
        "\\",
        "--",
        "/*",
        "*/",
        "sum",
        "avg",
        "min",
        "list",
        "date_trunc",
        "'month'",
        "extract",
        "exists",
        "values",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(WORDS, max_size=25))
def test_any_words_give_a_plan_or_our_own_error(words):
    """Whatever the words after select, a plan or an error of this library comes out, and no forbidden field."""
    try:
        made = plan("select " + " ".join(words))
    except StrongroomError:
        return
    assert not set(made.fields) & {"mobile", "ethnicity", "id_number", "hidden", "coded"}


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=60), st.sampled_from(["{}", "select {} from persons limit 1", "select 1 from persons where {}"])
)
def test_any_text_gives_a_plan_or_our_own_error(text, shape):
    """Whatever the characters, a plan or an error of this library comes out."""
    try:
        made = plan(shape.format(text))
    except StrongroomError:
        return
    assert made.kind in ("aggregate", "rows")
