"""A small schema and policy for the tests of purposes."""

from strongroom.purpose.policy import Policy, parse_policy
from strongroom.schema.model import BUILT_IN_CLASSES, ClassInfo, Field, Schema, Table


def field(name, klass, kind="string", **more):
    return Field(name=name, type=kind, klass=klass, id=name.encode().ljust(16, b"-")[:16], **more)


def table(name, klass, *fields):
    used = dict.fromkeys(f.klass for f in fields)
    classes = {**BUILT_IN_CLASSES, "union": ClassInfo(pad=32, sensitive=True)}
    return Table(
        name=name,
        id=name.encode().ljust(16, b"-")[:16],
        klass=klass,
        subject=fields[0].name,
        records="one",
        fields=fields,
        version=1,
        compartments={k: k.encode().ljust(16, b"-") for k in used if k != "open"},
        class_info={k: classes[k] for k in used},
    )


SCHEMA = Schema(
    tables={
        "persons": table(
            "persons",
            "plain",
            field("person_id", "identity", find=True),
            field("name", "identity", mask="first1"),
            field("mobile", "contact", find=True, mask="last4", token=True),
            field("email", "contact", find=True),
            field("ethnicity", "sensitive"),
            field("member_of", "union", find=False),
            field("birth_year", "open", "int"),
            field("area", "open"),
        ),
        "cases": table(
            "cases",
            "sensitive",
            field("person_id", "identity", find=True),
            field("year", "open", "int"),
            field("text", "sensitive"),
        ),
    },
    classes={**BUILT_IN_CLASSES, "union": ClassInfo(pad=32, sensitive=True)},
    number=1,
)

TEXT = """
[room]
budget = { hour = 2000, day = 10000, month = 50000 }

[roles.dispatcher]
purposes = ["delivery"]
[roles.officer]
[roles.clerk]
may = ["put", "compact", "check"]
put = { tables = ["persons"], budget = { day = 1000 } }
[roles.loader]
may = ["put"]
put = { tables = ["persons", "cases"], budget = { hour = 10, day = 5000 } }

[actors.ada]
roles = ["dispatcher"]
[actors.bob]
roles = ["dispatcher"]
[actors.cleo]
roles = ["officer", "clerk", "loader"]

[purposes.delivery]
legal_basis = "contract, GDPR 6(1)(b)"
roles = ["dispatcher"]
deny = ["bob"]
tables.persons = { name = "plain", contact = "masked", email = "withheld", area = "plain" }
budget = { hour = 20, day = 50, month = 500 }
total = { day = 5000 }
lookups = { hour = 100, day = 500 }
sql = { min_group = 20, rows = false }

[purposes.inquiry]
legal_basis = "criminal procedure act, section 163"
roles = ["officer"]
verbs = ["get", "find", "sql", "rejects"]
tables.persons = { identity = "plain", contact = "plain", sensitive = "plain", open = "plain" }
tables.cases = { identity = "plain", sensitive = "plain", year = "plain" }
budget = { day = 5 }
sql = { rows = true }
sensitive = "the inquiry is about these facts"
may_know_erased = true
"""


def policy(text: str = TEXT) -> Policy:
    return parse_policy(text, SCHEMA)


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)
