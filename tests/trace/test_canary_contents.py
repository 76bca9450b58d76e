"""What commits to a canary's contents: all its records and nothing else, in whatever order they are read again."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from strongroom.audit.disclosure import disclosed_digest, open_disclosure
from strongroom.errors import IntegrityError, UsageError
from strongroom.trace.canary.contents import commitments, opening_of, unit_contents

PERSONS = pa.table({"id": ["a", "b", "c"], "born": pa.array([1, None, 70], pa.date32()), "note": pa.nulls(3, pa.string())})
PARCELS = pa.table({"id": ["a", "c", "a"], "no": [5, 6, 7]})
UNITS = {"persons": np.array([0, 0, 1]), "parcels": np.array([0, 1, 0])}


def contents(persons=PERSONS, parcels=PARCELS, units=UNITS):
    return unit_contents({"persons": persons, "parcels": parcels}, units, 2)


def test_by_another_maker():
    """Netstrings of the fields that have values, by name, under RFC 6962's leaf hash; sorted; hashed once more."""

    def leaf(data):
        return hashlib.sha256(b"\0" + data).digest()

    def text(*values):
        return b"".join(b"-," if v is None else b"%d:%s," % (len(v), v) for v in values)

    own = [
        leaf(text(b"persons(born,id)", b"1", b"a")),
        leaf(text(b"persons(born,id)", None, b"b")),
        leaf(text(b"parcels(id,no)", b"a", b"5")),
        leaf(text(b"parcels(id,no)", b"a", b"7")),
    ]
    assert contents()[0].tobytes() == leaf(b"".join(sorted(own)))


def test_order_says_nothing_and_every_value_does():
    """Rows and columns in another order give the same; one other value, or a row elsewhere, does not."""
    order = np.array([2, 0, 1])
    turned = PERSONS.select(["note", "born", "id"]).take(pa.array(order))
    same = contents(persons=turned, units={**UNITS, "persons": UNITS["persons"][order]})
    assert same.tobytes() == contents().tobytes()
    other = contents(parcels=pa.table({"id": ["a", "c", "a"], "no": [5, 6, 8]}))
    assert other[0].tobytes() != contents()[0].tobytes()
    assert other[1].tobytes() == contents()[1].tobytes()


def test_the_commitment_opens_with_its_salt_alone():
    """A disclosure of the digest; without the salt the same contents commit to something else."""
    salts = np.arange(32, dtype=np.uint8).reshape(2, 16)
    made = commitments(salts, contents())
    text = opening_of(salts[1].tobytes(), contents()[1].tobytes())
    assert disclosed_digest(text) == made[1].tobytes()
    assert open_disclosure(text, "canary", made[1].tobytes()) == (salts[1].tobytes(), contents()[1].tobytes().hex())
    with pytest.raises(IntegrityError):
        open_disclosure(text, "canary", made[0].tobytes())


def test_misuse_is_refused():
    """Units for other rows, a unit without any, salts for others."""
    with pytest.raises(UsageError, match="persons has not as many"):
        contents(units={**UNITS, "persons": np.array([0])})
    with pytest.raises(UsageError, match="has no record"):
        unit_contents({"parcels": PARCELS}, {"parcels": np.array([0, 2, 0])}, 3)
    with pytest.raises(UsageError, match="a salt for each"):
        commitments(np.zeros((1, 16), np.uint8), contents())
