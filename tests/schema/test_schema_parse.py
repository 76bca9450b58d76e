"""Reading schema.toml: what is kept, what is refused, and where a message points."""

import json
import os
from contextlib import suppress

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schema_tables import EVERY_TYPE, every_type

from strongroom.errors import SchemaError, StrongroomError
from strongroom.schema.model import Schema
from strongroom.schema.parse import FIELDS_MAX, parse_schema
from strongroom.schema.stored import table_from_json, table_to_json
from strongroom.schema.vocabulary import PHONE_REGIONS


def _parse(text, previous=None):
    return parse_schema(text, previous, os.urandom)


def _refused(text, previous=None):
    with pytest.raises(SchemaError) as caught:
        _parse(text, previous)
    return str(caught.value)


def _with_field(line):
    return EVERY_TYPE + line + "\n"


def test_classes_are_in_order_of_first_appearance():
    """Sealed classes stand in the order in which fields first use them, and open is not one of them."""
    table = every_type().table("persons")
    assert table.classes == ("identity", "contact", "sensitive", "medical")
    assert [f.name for f in table.open_fields] == ["born", "school"]
    assert set(table.compartments) == set(table.classes)
    assert (table.pad_of("medical"), table.pad_of("sensitive"), table.pad_of("identity")) == (32, 32, 0)


def test_the_stored_form_is_lossless():
    """A schema and a table come back equal from their JSON."""
    schema = every_type()
    assert Schema.from_json(schema.to_json()) == schema
    assert Schema.from_json(schema.to_json()).to_json() == schema.to_json()
    table = schema.table("persons")
    assert table_from_json(table_to_json(table)) == table


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"tables": [1], "classes": {}, "number": 1}', "[" * 100_000])
def test_what_is_not_a_stored_schema_is_refused(text):
    """Other JSON, and what is not JSON, is a SchemaError."""
    with pytest.raises(SchemaError):
        Schema.from_json(text)
    with pytest.raises(SchemaError):
        table_from_json(text)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('x = { type = "string", class = "sensitive", find = true }', "can never be searched"),
        ('x = { type = "string", class = "medical", find = true }', "can never be searched"),
        ('sex = { type = "string", class = "identity", find = true }', "few distinct values"),
        ('民族 = { type = "string", class = "identity", find = true }', "not TOML"),
        ('"民族" = { type = "string", class = "identity", find = true }', "few distinct values"),
        ('x = { type = "string", class = "identity", find = true, low_cardinality = true }', "few distinct values"),
        ('x = { type = "bool", class = "identity", find = true }', "cannot be searched"),
        ('x = { type = "float", class = "identity", find = true }', "cannot be searched"),
        ('x = { type = "date", class = "identity", find = true }', "cannot be searched"),
        ('x = { type = "string", class = "contct" }', "did you mean contact?"),
        ('x = { type = "strin", class = "contact" }', "did you mean string?"),
        ('x = { type = "string", class = "contact", fnd = true }', "did you mean find?"),
        ('x = { type = "string", class = "contact", mask = "last5" }', "did you mean last4?"),
        ('x = { type = "string", class = "contact", normalise = ["trm"] }', "did you mean trim?"),
        ('x = { type = "string", class = "contact", normalise = ["phone:QQ"] }', "unknown normalisation"),
        ('x = { type = "string", class = "contact", normalise = ["phone:CN", "trim"] }', "last step"),
        ('x = { type = "int", class = "contact", normalise = ["trim"] }', "only string fields"),
        ('x = { type = "int", class = "contact", mask = "last4" }', "is for string"),
        ('x = { type = "string", class = "open" }', "needs a stated reason"),
        ('x = { class = "contact" }', "has no type"),
        ('x = { type = "int" }', "has no class"),
        ('x = { type = "int", class = "contact", find = "yes" }', "true or false"),
        ("x = 3", "a table of settings"),
        ('Name = { type = "int", class = "contact" }', "differ in case only"),
        ('"a b" = { type = "int", class = "contact" }', "not an identifier"),
        ('_x = { type = "int", class = "contact" }', "not an identifier"),
        (f'{"x" * 65} = {{ type = "int", class = "contact" }}', "longer than 64"),
    ],
)
def test_a_field_that_may_not_be_is_refused(line, says):
    """Each rule of a field refuses what breaks it and says so."""
    assert says in _refused(_with_field(line))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('subject = "id"', "", "whom a record is about"),
        ('subject = "id"', 'subject = "idd"', "did you mean id?"),
        ('subject = "id"', 'subject = "day"', "string or an int"),
        ('subject = "id"', 'subject = "note"', "may not be of the sensitive class"),
        ('class = "identity", normalise = ["trim", "upper"]', 'class = "identity", nullable = true', "may not be null"),
        ('records = "one"', 'records = "some"', "unknown records some"),
        ('records = "one"', 'class = "sensitive"', "has no index"),
        ("sensitive = true", "sensitive = true\npad = 0", "is padded"),
        ("[classes.medical]", "[classes.identity]", "built in"),
        ("[tables.persons]", "[table.persons]", "unknown key table"),
    ],
)
def test_a_table_that_may_not_be_is_refused(old, new, says):
    """Each rule of a table or class refuses what breaks it and says so."""
    assert says in _refused(EVERY_TYPE.replace(old, new, 1))


def test_messages_name_line_table_and_field():
    """A message says where the fault stands."""
    line = EVERY_TYPE.split("\n").index(next(row for row in EVERY_TYPE.split("\n") if row.startswith("mobile"))) + 1
    message = _refused(EVERY_TYPE.replace('class = "contact", find', 'class = "nothing", find'))
    assert message.startswith(f"schema line {line}, table persons, field mobile: unknown class nothing")


def test_there_is_a_limit_of_fields():
    """One field more than the limit is refused."""
    rows = "\n".join(f'f{i} = {{ type = "int", class = "open" }}' for i in range(FIELDS_MAX + 1))
    text = '[tables.t]\nsubject = "f0"\n[tables.t.fields]\n' + rows
    assert f"at most {FIELDS_MAX}" in _refused(text)


def test_an_unchanged_text_is_the_same_schema():
    """Parsing the same text again keeps ids, versions and the number."""
    schema = every_type()
    assert _parse(EVERY_TYPE, schema) == schema


def test_adding_a_field_is_a_new_version_with_the_old_ids():
    """A field added in the middle bumps the version of its table; everything else keeps its id."""
    schema = every_type()
    text = EVERY_TYPE.replace("mobile  =", 'home = { type = "string", class = "contact" }\nmobile  =')
    old, new = schema.table("persons"), _parse(text, schema).table("persons")
    assert (new.version, new.id, new.compartments) == (2, old.id, old.compartments)
    assert all(new.field(f.name).id == f.id for f in old.fields)
    assert new.field("home").id not in {f.id for f in old.fields}


def test_renames_keep_ids_and_may_stay_in_the_text():
    """`was` renames a table and a field; the text parses again without another change."""
    schema = every_type()
    text = EVERY_TYPE.replace("tables.persons", "tables.people").replace(
        "[tables.people]", '[tables.people]\nwas = "persons"'
    )
    text = text.replace("mobile  = { type", 'phone = { was = "mobile", type')
    renamed = _parse(text, schema)
    old, new = schema.table("persons"), renamed.table("people")
    assert (new.id, new.field("phone").id) == (old.id, old.field("mobile").id)
    assert _parse(text, renamed) == renamed


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('number  = { type = "int"', 'number  = { type = "float"', "type cannot change"),
        ('number  = { type = "int", class = "identity"', 'number  = { type = "int", class = "contact"', "class cannot"),
        ('records = "one"', 'records = "many"', "cannot change"),
        ('subject = "id"', 'subject = "name"', "subject"),
        ("name    =", "# name    =", "field name of the schema in force is missing"),
        ("tables.persons", "tables.others", "table persons of the schema in force is missing"),
        ('name    = { type = "string",', 'name    = { type = "string", find = true,', "index cannot be added"),
        ('["phone:CN"]', '["digits"]', "normalisation of an indexed field"),
        ('["trim", "upper"]', '["trim"]', "normalisation of the subject"),
        ("number  =", 'late = { type = "int", class = "identity", nullable = false }\nnumber  =', "may be null"),
    ],
)
def test_a_change_that_would_lose_records_is_refused(old, new, says):
    """What older records depend on stays, and the message says why."""
    assert says in _refused(EVERY_TYPE.replace(old, new), every_type())


def test_what_is_given_up_must_be_named():
    """A field listed as dropped may go."""
    text = EVERY_TYPE.replace("name    =", "# name    =").replace(
        'subject = "id"', 'subject = "id"\ndropped = ["name"]'
    )
    table = _parse(text, every_type()).table("persons")
    assert (table.has_field("name"), table.version) == (False, 2)


def test_the_phone_regions_are_those_of_the_library():
    """Every region a schema may name is known to the phone library."""
    assert set(phonenumbers.SUPPORTED_REGIONS) >= PHONE_REGIONS


_WORDS = st.sampled_from(
    ["string", "int", "open", "identity", "sensitive", "one", "id", "x", "trim", "phone:CN", "last4", "", "a b", "X", 1]
)
_VALUES = st.recursive(
    st.one_of(_WORDS, st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)
_KEYS = st.sampled_from(["type", "class", "find", "normalise", "mask", "reason", "nullable", "token", "was", "zz"])
_FIELDS = st.dictionaries(
    st.sampled_from(["id", "ID", "x", "sex", "a b", "_"]), st.one_of(st.dictionaries(_KEYS, _VALUES), _VALUES)
)
_TABLES = st.fixed_dictionaries(
    {"fields": _FIELDS}, optional={"subject": _VALUES, "records": _VALUES, "class": _VALUES, "dropped": _VALUES}
)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_schema_or_a_schema_error(text):
    """Only our errors come out of arbitrary text."""
    for whole in (text, EVERY_TYPE + text):
        with suppress(StrongroomError):
            _parse(whole)


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "tables": st.dictionaries(
                st.sampled_from(["t", "persons", "T", ""]), st.one_of(_TABLES, _VALUES), max_size=3
            )
        },
        optional={
            "classes": st.one_of(st.dictionaries(st.sampled_from(["m", "open"]), _VALUES), _VALUES),
            "dropped": _VALUES,
        },
    )
)
def test_any_toml_is_a_schema_or_a_schema_error(data):
    """Only our errors come out of arbitrary values in the places where a schema has some."""
    text = "\n".join(f"{name} = {_toml(value)}" for name, value in data.items())
    for previous in (None, _BEFORE):
        with suppress(StrongroomError):
            _parse(text, previous)


_BEFORE = every_type()


def _toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
