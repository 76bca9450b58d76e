"""Canary persons: they agree with themselves, are nobody, stand everywhere, and are made the same from the same chance."""

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from canary_kit import (
    CLINIC,
    ENTROPY,
    city_policy,
    city_schema,
    city_tables,
    clinic_policy,
    clinic_schema,
    clinic_tables,
    nhs,
)

from strongroom.errors import InputError, UsageError
from strongroom.trace.canary.making import learn
from strongroom.trace.canary.policy import CanaryPolicy, Source

PERSONS, CANARIES = 4000, 800


@pytest.fixture(scope="module")
def model():
    """A model of the city that may have canaries in its criminal cases."""
    policy = city_policy(PERSONS, 4 * CANARIES, sensitive_tables=("criminal_cases",))
    return learn(city_schema(), city_tables(PERSONS), policy)


@pytest.fixture(scope="module")
def canaries(model):
    """Canaries of the city."""
    return model.make(CANARIES, ENTROPY)


@pytest.fixture(scope="module")
def clinic():
    """A model of the clinic and canaries of it."""
    model = learn(clinic_schema(), clinic_tables(), clinic_policy())
    return model, model.make(300, ENTROPY)


def rows(canaries, table):
    return canaries.tables[table].to_pylist()


def joined(canaries, table):
    """Rows of a table beside those of their persons."""
    persons = {r["person_id"]: r for r in rows(canaries, "persons")}
    return [(r, persons[r["person_id"]]) for r in rows(canaries, table)]


def test_resident_ids_are_valid_and_agree_with_the_person(canaries):
    """Every id passes an independent validator, area and year included, and says the person's birth date and sex."""
    from stdnum.cn import ric

    for r in rows(canaries, "persons"):
        text = r["resident_id"]
        assert ric.is_valid(text)
        assert ric.get_birth_date(text) == r["birth_date"]
        assert (int(text[16]) % 2 == 1) == (r["sex"] == "男")
        assert r["birth_decade"] == r["birth_date"].year // 10 * 10


def test_places_and_years_agree_across_tables(canaries):
    """Address, station and court lie in the district; a report's and a case's number begins with the year of its date."""
    persons = rows(canaries, "persons")
    assert all(r["district"] in r["address"] for r in persons)
    reports, cases = joined(canaries, "police_reports"), joined(canaries, "criminal_cases")
    assert len(reports) > 100
    assert len(cases) > 50
    assert np.mean([r["station"].startswith(p["district"]) for r, p in reports]) > 0.99
    assert np.mean([p["district"] in r["court"] for r, p in cases]) > 0.99
    assert all(r["report_no"][1:5] == str(r["reported_at"].year) for r, _ in reports)
    assert all(r["case_no"][1:5] == str(r["opened_on"].year) for r, _ in cases)


def test_cases_are_those_of_adults_as_in_the_city():
    """Nobody born after 2003 has a case, though one person of twelve is: cases dealt to persons by chance would show it."""
    size, count = 12_000, 2000
    policy = city_policy(size, 4 * count, sensitive_tables=("criminal_cases",))
    city = {name: city_tables(size)[name] for name in ("persons", "criminal_cases")}
    made = learn(city_schema(), city, policy).make(count, ENTROPY)
    grown = np.array([born.year < 2004 for born in made.tables["persons"]["birth_date"].to_pylist()])
    owner = made.owner["criminal_cases"]
    dealt = np.random.default_rng(1).integers(0, count, (500, len(owner)))
    assert len(owner) > 200
    assert grown[owner].mean() > 0.98 > np.quantile(grown[dealt].mean(axis=1), 0.998)


def test_records_repeat_the_person_as_real_ones_do(canaries):
    """A report has the canary's own number in its text; parcels go to own number and address as often as in the city."""
    reports, parcels = joined(canaries, "police_reports"), joined(canaries, "deliveries")
    assert all(p["mobile"] in r["text"] for r, p in reports)
    assert np.mean([r["recipient_mobile"] == p["mobile"] for r, p in parcels]) == pytest.approx(0.9, abs=0.03)
    assert np.mean([r["recipient_address"] == p["address"] for r, p in parcels]) == pytest.approx(0.8, abs=0.03)
    letters = {"顺丰": "SF", "中通": "ZT", "圆通": "YT", "韵达": "YD", "申通": "ST", "邮政": "EM"}
    assert all(r["tracking_no"].startswith(letters[r["courier"]]) for r, _ in parcels)
    assert all((int(r["tracking_no"][2:]) - 10**12) % 211 == 0 for r, _ in parcels)


def test_what_a_parcel_says_of_another_person_is_of_the_same_unit(canaries):
    """A number that is not the canary's own is another canary's of its unit, never a real person's."""
    unit_of = {r["mobile"]: int(u) for r, u in zip(rows(canaries, "persons"), canaries.unit, strict=True)}
    others = 0
    for (r, p), owner in zip(joined(canaries, "deliveries"), canaries.owner["deliveries"], strict=True):
        if r["recipient_mobile"] != p["mobile"]:
            others += 1
            assert unit_of[r["recipient_mobile"]] == canaries.unit[owner]
    assert others > 50


def test_nobody_real_is_a_canary(canaries):
    """No identifier of a canary is anybody's, and no two facts that single a person out are one person's."""
    city = city_tables(PERSONS)
    for table, field in (
        ("persons", "person_id"), ("persons", "resident_id"), ("persons", "mobile"), ("persons", "address"),
        ("deliveries", "tracking_no"), ("deliveries", "recipient_mobile"), ("deliveries", "recipient_address"),
        ("police_reports", "report_no"), ("police_reports", "text"), ("criminal_cases", "case_no"),
    ):  # fmt: skip
        column = canaries.tables[table][field]
        taken = pc.is_in(column, city[table][field].combine_chunks())
        assert not pc.any(taken).as_py(), (table, field)
    real = {(r["name"], r["birth_date"]) for r in city["persons"].select(["name", "birth_date"]).to_pylist()}
    assert not real & {(r["name"], r["birth_date"]) for r in rows(canaries, "persons")}


def test_what_a_text_has_from_people_many_have_alike(canaries):
    """Every stretch of a report between its numbers stands in reports of at least five persons."""
    pattern = r"[0-9]+"
    cut = lambda column: pc.split_pattern_regex(column, pattern)  # noqa: E731
    city = city_tables(PERSONS)["police_reports"]
    many = {}
    for parts, person in zip(cut(city["text"]).to_pylist(), city["person_id"].to_pylist(), strict=True):
        for part in parts:
            many.setdefault(part, set()).add(person)
    for parts in cut(canaries.tables["police_reports"]["text"]).to_pylist():
        assert all(len(many[part]) >= 5 for part in parts)


def test_identifiers_are_those_the_operator_holds(canaries):
    """Every mobile number is of the declared pool, and no two canaries have the same."""
    pool = set(city_policy(PERSONS, 4 * CANARIES).sources["persons.mobile"].values.to_pylist())
    mobiles = canaries.tables["persons"]["mobile"].to_pylist()
    assert set(mobiles) <= pool
    assert len(set(mobiles)) == len(mobiles) == CANARIES


def test_what_somebody_has_is_drawn_anew(model):
    """Identifiers that the room's index knows are given to no canary, whatever their field."""
    asked = set()

    def collides(table, field, values):
        asked.add(f"{table}.{field}")
        return np.array([v is not None and str(v)[-1] in "02468" for v in values.to_pylist()])

    made = model.make(100, ENTROPY, collides)
    assert asked == {
        "persons.person_id", "persons.resident_id", "persons.mobile", "deliveries.tracking_no",
        "police_reports.report_no", "criminal_cases.case_no",
    }  # fmt: skip
    for table, field in (("persons", "resident_id"), ("persons", "mobile"), ("deliveries", "tracking_no")):
        assert all(v[-1] not in "02468" for v in made.tables[table][field].to_pylist())


def test_the_same_chance_gives_the_same_canaries(model, canaries):
    """Sample, policy and seed decide every cell; another seed gives others."""
    again = learn(city_schema(), city_tables(PERSONS), model.policy).make(CANARIES, ENTROPY)
    other = model.make(CANARIES, ENTROPY + b"!")
    assert again.tables == canaries.tables
    assert other.tables["persons"] != canaries.tables["persons"]
    ids = [set(c.tables["persons"]["resident_id"].to_pylist()) for c in (canaries, other)]
    assert not ids[0] & ids[1]


def test_every_partition_has_its_share(canaries):
    """Districts, sexes and decades have as many canaries as their share of the people, to the nearest few."""
    city = city_tables(PERSONS)["persons"]
    for field in ("district", "sex", "birth_decade"):
        real = {r["values"]: r["counts"] for r in pc.value_counts(city[field]).to_pylist()}
        made = {r["values"]: r["counts"] for r in pc.value_counts(canaries.tables["persons"][field]).to_pylist()}
        for value, count in real.items():
            share = count / PERSONS * CANARIES
            assert made.get(value, 0) == pytest.approx(share, abs=max(5, 0.25 * share)), (field, value)


def test_partitions_with_few_canaries_are_named(model):
    """Where a district would have fewer canaries than one hit needs, it is said so."""
    thin = model.make(100, ENTROPY).thin
    assert any(name.startswith("persons.district=") for name in thin)
    assert all(count < 14 for count in thin.values())


def test_rows_are_of_the_schema_and_have_their_canary(model, canaries):
    """Every table has the schema's fields and types, and each row's subject is its owner's."""
    from strongroom.schema.columns import arrow_type

    persons = canaries.tables["persons"]["person_id"]
    for name, made in canaries.tables.items():
        assert made.schema == pa.schema([(f.name, arrow_type(f.type)) for f in model.schema.table(name).fields])
        assert made["person_id"].to_pylist() == persons.take(pa.array(canaries.owner[name])).to_pylist()


def test_numbers_of_a_dense_series_are_named(canaries):
    """The city's person numbers leave no gap, so canaries have higher ones, and the caller is told to export tokens."""
    assert canaries.dense == ("persons.person_id",)


def test_numbers_of_records_are_as_many_as_the_city_has():
    """Parcels a person are distributed as in the city."""
    model = learn(city_schema(), city_tables(PERSONS), city_policy(PERSONS, 8000))
    made = model.make(4000, ENTROPY)
    owners = city_tables(PERSONS)["deliveries"]["person_id"].value_counts().field("counts").to_numpy()
    real = np.bincount(np.append(owners, np.zeros(PERSONS - len(owners), int)), minlength=300)[:12] / PERSONS
    ours = np.bincount(np.bincount(made.owner["deliveries"], minlength=4000), minlength=300)[:12] / 4000
    assert ours == pytest.approx(real, abs=0.03)


def test_nothing_stands_in_a_sensitive_table_unless_the_policy_names_it():
    """By default no canary has a criminal case."""
    made = learn(city_schema(), city_tables(PERSONS), city_policy(PERSONS, 400)).make(100, ENTROPY)
    assert set(made.tables) == {"persons", "deliveries", "police_reports"}


def test_values_to_avoid_are_nobodys():
    """No canary is a suspect where the policy says so."""
    policy = city_policy(PERSONS, 2000, avoid={"police_reports.role": ("嫌疑人",)})
    made = learn(city_schema(), city_tables(PERSONS), policy).make(500, ENTROPY)
    roles = set(made.tables["police_reports"]["role"].to_pylist())
    assert "嫌疑人" not in roles
    assert len(roles) == 3


def test_void_ids_cannot_be_issued():
    """Ids of that source have an area that was not there for the birth; check digit, date and sex are right all the same."""
    from stdnum.cn import ric
    from stdnum.iso7064 import mod_11_2

    made = learn(city_schema(), city_tables(PERSONS), city_policy(PERSONS, 2000, resident="void")).make(500, ENTROPY)
    for r in rows(made, "persons"):
        assert mod_11_2.is_valid(r["resident_id"])
        assert r["resident_id"][6:14] == r["birth_date"].strftime("%Y%m%d")
        assert not ric.is_valid(r["resident_id"])


def test_numbers_that_reach_somebody_need_a_source():
    """Without a declared source of mobile numbers nothing is made, and the message names the field and what to do."""
    policy = CanaryPolicy(sources={"persons.resident_id": Source("complete")})
    with pytest.raises(UsageError, match=r"persons\.mobile: a canary's phone must reach nobody") as caught:
        learn(city_schema(), city_tables(PERSONS), policy)
    assert "own" in caught.value.hint


def test_a_pool_that_is_too_small_is_refused():
    """Fewer numbers than canaries: nothing is made."""
    model = learn(city_schema(), city_tables(PERSONS), city_policy(PERSONS, 50))
    with pytest.raises(UsageError, match="identifiers are 50, more are needed"):
        model.make(200, ENTROPY)


def test_bad_policies_and_samples_are_refused():
    """Unknown sources and kinds, missing columns, too few persons: each is an error that says which."""
    with pytest.raises(UsageError, match="there are own, complete"):
        Source("chance")
    with pytest.raises(UsageError, match="lists them"):
        Source("own")
    with pytest.raises(UsageError, match="no such kind"):
        CanaryPolicy(kinds={"a.b": "telephone"})
    city = city_tables(PERSONS)
    with pytest.raises(InputError, match=r"sample of persons: there is no column mobile"):
        learn(city_schema(), {"persons": city["persons"].drop_columns(["mobile"])}, city_policy(PERSONS, 10))
    few = {"persons": city["persons"].slice(0, 50)}
    with pytest.raises(UsageError, match="50 persons"):
        learn(city_schema(), few, city_policy(PERSONS, 10))
    with pytest.raises(UsageError, match="16 bytes"):
        learn(city_schema(), {"persons": city["persons"]}, city_policy(PERSONS, 10)).make(5, b"short")


def test_messages_have_no_values():
    """An error names fields and counts, never what a record holds."""
    city = city_tables(PERSONS)
    avoid = city_policy(PERSONS, 10, avoid={"persons.name": (city["persons"]["name"][0].as_py(),)})
    with pytest.raises(UsageError, match=r"persons\.name: values can be avoided only") as caught:
        learn(city_schema(), city, avoid)
    assert city["persons"]["name"][0].as_py() not in str(caught.value)


def test_a_clinic_of_another_country(clinic):
    """Check digits nobody declared, lags between dates, letters that name the patient, nulls of children: all as in the sample."""
    _, made = clinic
    patients = {r["patient_no"]: r for r in rows(made, "patients")}
    assert all(nhs(p["nhs_no"].replace(" ", "")[:9]) == p["nhs_no"] for p in patients.values())
    visits = rows(made, "visits")
    assert all(v["admitted"] < v["discharged"] for v in visits)
    assert all(v["visit_ref"][1:5] == str(v["admitted"].year) for v in visits)
    assert all(patients[v["patient_no"]]["full_name"] in v["letter"] for v in visits)
    assert all(v["diagnosis"] in v["letter"] for v in visits)
    assert all((v["contact"] is None) == (patients[v["patient_no"]]["phone"] is None) for v in visits)
    towns = {"Leeds": "LS", "York": "YO", "Bath": "BA", "Derby": "DE"}
    codes = [towns[p["address"].rpartition(", ")[2]] == p["postcode"][:2] for p in patients.values()]
    assert np.mean(codes) > 0.95
    children = [p for p in patients.values() if p["born"] > date(2008, 1, 1)]
    assert np.mean([p["phone"] is None for p in children]) == pytest.approx(0.9, abs=0.12)
    assert all(p["phone"] for p in patients.values() if p["born"] < date(2007, 1, 1))


def test_a_clinic_keeps_the_shape_of_numbers(clinic):
    """Weights have one decimal, photos are bytes, patient numbers stay on their grid and are nobody's."""
    _, made = clinic
    patients = rows(made, "patients")
    real = clinic_tables()["patients"]
    assert all(p["weight"] is None or round(p["weight"], 1) == p["weight"] for p in patients)
    assert all((p["patient_no"] - 1_000_000) % 7 == 0 for p in patients)
    assert not {p["patient_no"] for p in patients} & set(real["patient_no"].to_pylist())
    assert {type(p["photo"]) for p in patients} == {bytes}
    assert not {p["photo"] for p in patients} & set(real["photo"].to_pylist())
    spaced = np.mean([" " in p["phone"] for p in patients if p["phone"]])
    assert spaced == pytest.approx(1 / 3, abs=0.1)


def test_texts_with_nothing_in_common_are_left_empty():
    """Letters that share no form are null and named; in a field that may not be null they are an error with a way out."""
    rng = np.random.default_rng(1)
    tables = dict(clinic_tables())
    words = ["".join(rng.choice(list("abcdefghij "), rng.integers(30, 60))) for _ in range(len(tables["visits"]))]
    unlike = pa.array([w.replace("a", chr(33 + i % 14)) for i, w in enumerate(words)])
    at = tables["visits"].column_names.index("letter")
    tables["visits"] = tables["visits"].set_column(at, "letter", unlike)
    made = learn(clinic_schema(), tables, clinic_policy()).make(100, ENTROPY)
    assert made.unmade == ("visits.letter",)
    assert made.tables["visits"]["letter"].null_count == len(made.tables["visits"])
    strict = CLINIC.replace("letter      = { type", "letter      = { nullable = false, type")
    from strongroom.schema.parse import parse_schema

    schema = parse_schema(strict, None, rng.bytes)
    with pytest.raises(UsageError, match=r"visits\.letter: no two texts"):
        learn(schema, tables, clinic_policy())
    texts = pa.array(["You were seen today.", "Please see your doctor."])
    given = learn(schema, tables, clinic_policy(texts={"visits.letter": texts})).make(100, ENTROPY)
    assert set(given.tables["visits"]["letter"].to_pylist()) == set(texts.to_pylist())
