"""`canaries.toml`: what it may say, and that what it may not is refused by place, without a value."""

import pytest
from canary_kit import city_schema
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import UsageError
from strongroom.trace.canary.planfile import parse_canaries

SCHEMA = city_schema()
LISTS = {"numbers.txt": ["13800000001", "13800000002", "13800000001"], "texts.txt": ["one", "two"]}


def lines(name):
    if name not in LISTS:
        raise UsageError(f"cannot read {name} as UTF-8 text")
    return LISTS[name]


def test_everything_it_can_say():
    """Sources, lists from files, kinds, what is avoided, texts, tables and units."""
    found = parse_canaries(
        """
        unit = 3
        sensitive_tables = ["criminal_cases"]
        [sources.persons]
        resident_id = "complete"
        mobile = { own = "numbers.txt" }
        [kinds.deliveries]
        tracking_no = "code"
        [avoid.police_reports]
        station = ["x"]
        [texts.police_reports]
        text = "texts.txt"
        """,
        SCHEMA,
        lines,
    )
    assert (found.unit, found.sensitive_tables) == (3, ("criminal_cases",))
    assert found.sources["persons.resident_id"].kind == "complete"
    assert found.sources["persons.mobile"].values.to_pylist() == ["13800000001", "13800000002"]
    assert found.kinds == {"deliveries.tracking_no": "code"}
    assert found.avoid == {"police_reports.station": ("x",)}
    assert found.texts["police_reports.text"].to_pylist() == ["one", "two"]
    assert parse_canaries("", SCHEMA, lines).unit == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("unit = 0", "unit must be a whole number from 1 up"),
        ("unit = 65", "unit is over 64 persons"),
        ("units = 3", "unknown key 'units'"),
        ('sensitive_tables = ["persons"]', "sensitive_tables names persons, which is not sensitive"),
        ('sensitive_tables = ["nothing"]', "sensitive_tables names an unknown 'nothing'"),
        ('[sources.people]\nmobile = "null"', "sources.people names no table"),
        ('[sources.persons]\nmobil = "null"', "sources.persons.mobil names no field of table persons"),
        ('[sources.persons]\nmobile = "13800138000"', "sources.persons.mobile is no source of identifiers"),
        ("[sources.persons]\nmobile = 13800138000", "sources.persons.mobile must be a table"),
        ("[sources.persons]\nmobile = { }", "sources.persons.mobile names no file"),
        ('[sources.persons]\nmobile = { own = "n.txt" }', "cannot read n.txt"),
        ('[sources.persons]\nmobile = { owned = "numbers.txt" }', "unknown key 'owned'"),
        ('[kinds.persons]\nmobile = "telephone"', "kinds.persons.mobile is no kind of field"),
        ("[avoid.persons]\nsex = []", "avoid.persons.sex lists nothing"),
        ("[avoid.persons]\nsex = [1]", "avoid.persons.sex must be a list of texts"),
        ("[texts.persons]\nname = 3", "texts.persons.name must be text"),
        ("sources = 3", "sources must be a table"),
        ("[sources", "is not TOML"),
    ],
)
def test_what_it_may_not_say(text, told):
    """The place and what is wrong; a number or a word that stood there is not repeated."""
    with pytest.raises(UsageError, match=".") as refused:
        parse_canaries(text, SCHEMA, lines)
    assert told in str(refused.value)
    assert "13800138000" not in str(refused.value)


@given(st.text(max_size=200) | st.builds(lambda a, b: f"[sources.persons]\n{a} = {b}", st.text(max_size=20), st.text(max_size=40)))
def test_any_text_is_read_or_refused(text):
    """Nothing but this library's own errors comes out."""
    try:
        parse_canaries(text, SCHEMA, lines)
    except UsageError:
        pass
