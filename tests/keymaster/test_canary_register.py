"""The register of canary persons: two people, before anybody is put, sealed, and known to the keymaster's process alone."""

import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from canary_pools import POLICY, agreed_reading, new_pool, planted
from hypothesis import given
from hypothesis import strategies as st
from keymaster_fixtures import SCHEMA, Clock, identifiers, make, noted, put, reopen

from strongroom.errors import BudgetError, ConflictError, DeniedError, IntegrityError, PolicyError, UsageError
from strongroom.evidence.code import HALF, RARE, members
from strongroom.evidence.coderow import CodeRow, Offer
from strongroom.evidence.opening import PoolTree
from strongroom.keymaster.canaries import pool as canarypool
from strongroom.purpose.policy import parse_policy
from strongroom.schema.parse import parse_schema


@pytest.fixture
def master(tmp_path, either_database):
    with make(tmp_path / "keys", Clock(), policy=POLICY, **either_database) as made:
        yield made


def test_pools_are_numbered_noted_and_found_again_by_token(master):
    """Pools count from 0; the log has bias, count and root of each; who is one is told by token, anybody else is none."""
    rare, half = new_pool(RARE, 300, "r"), new_pool(HALF, 100, "h", unit=2)
    assert master.canaries.register(agreed_reading(master, 400), [rare, half]) == [0, 1]
    (first, zero), (second, one) = noted(master, "plant")
    assert (zero.count, zero.extras["bias"], zero.extras["canaries"]) == (300, RARE, 300)
    assert (one.extras["pool"], one.extras["canaries"], one.purpose) == (1, 50, "planting")
    assert [(p.number, p.bias, p.count, p.persons, p.leaf) for p in master.canaries.pools("kit")] == [
        (0, RARE, 300, 300, first), (1, HALF, 50, 100, second),
    ]  # fmt: skip
    assert one.extras["root"] == PoolTree(half.digests).root.hex()
    _batch, sealing = put(master, half.subjects)
    _batch, people = put(master, identifiers(500))
    asked = np.concatenate([people.tokens, sealing.tokens])
    which = master._canaries.which(asked)
    assert not which.found[:500].any()
    assert which.found[500:].all()
    assert (which.pool[500:] == 1).all()
    assert (which.number[500:] == half.numbers).all()
    assert len(master._canaries.all()) == 400
    assert len(master._canaries.ordinals()) == 100


def test_what_an_export_holds_is_whole_units_by_their_coins(master):
    """Both persons of a unit are held or neither; of those that were never put nobody is."""
    half, rare = new_pool(HALF, 400, "h", unit=2), new_pool(RARE, 200, "r")
    planted(master, [half, rare], put_only=1)
    offers = (Offer(0, HALF, 150, b"\1" * 32), Offer(1, RARE, 200, b"\2" * 32))
    row = CodeRow(master.room_id, os.urandom(16), os.urandom(32), offers)
    own = members(row)[0]
    tokens, ordinals = master._canaries.persons_of({0: own})
    assert set(master._canaries.held(row)) == set(ordinals.tolist())
    which = master._canaries.which(tokens)
    assert sorted(which.number.tolist()) == sorted([*own.tolist(), *own.tolist()])
    assert int(own.max()) < 150


def test_who_has_records_or_was_registered_or_erased_is_no_canary(master):
    """Somebody who is there already would become false; nothing is registered then, and nothing noted."""
    put(master, identifiers(3))
    planted(master, [new_pool(HALF, 10, "h")], put_only=0)
    for one in (new_pool(HALF, 3, "p"), new_pool(RARE, 10, "h")):
        with pytest.raises(ConflictError, match="registered already"):
            master.canaries.register(agreed_reading(master, 10), [new_pool(RARE, 5, "fresh"), one])
    assert len(master._canaries.records()) == 1
    assert len(noted(master, "plant")) == 1


def test_another_person_agrees_to_so_many(master):
    """Nobody plants alone, or more than was agreed to, or under a purpose that does not plant."""
    pool = new_pool(HALF, 10, "h")
    alone = master.begin_reading(actor="ana", purpose="planting", reason="canaries").reading_id
    with pytest.raises(DeniedError) as error:
        master.canaries.register(alone, [pool])
    assert error.value.rule == "approval.needed"
    with pytest.raises(BudgetError):
        master.canaries.register(agreed_reading(master, 9), [pool])
    other = master.begin_reading(actor="ada", purpose="bulk", reason="canaries").reading_id
    with pytest.raises(DeniedError):
        master.canaries.register(other, [pool])
    with pytest.raises(DeniedError):
        master.canaries.pools("ada")
    assert master._canaries.records() == []


def test_only_fields_of_the_schema_are_noted_as_dense(master):
    """What stands in the log of a planting is names of pools and fields, whatever the caller's program says."""
    planted(master, [new_pool(HALF, 10, "h")], put_only=0)
    reading = agreed_reading(master, 1)
    for dense in (["persons.13800138000"], ["persons"], ["persons.name,persons.mobile"]):
        with pytest.raises(UsageError):
            master.canaries.planted(reading, [0], dense)
    with pytest.raises(UsageError, match="each once"):
        master.canaries.planted(reading, [0, 0], [])
    assert noted(master, "planted") == []
    master.canaries.planted(reading, [0], ["persons.name"])
    assert [entry.extras["dense"] for _, entry in noted(master, "planted")] == ["persons.name"]
    assert master.canaries.dense("kit") == ["persons.name"]


@pytest.mark.parametrize(
    "broken",
    [
        {"numbers": np.array([0, 1, 3], np.uint32)},
        {"numbers": np.array([0, 1], np.uint32)},
        {"numbers": np.array([0, 1, 2], np.int64)},
        {"numbers": np.array([0, 1, 2**32 - 1], np.uint32)},
        {"salts": np.zeros((2, 16), np.uint8)},
        {"digests": np.zeros((3, 31), np.uint8)},
        {"bias": 0},
        {"bias": 1 << 32},
        {"subjects": identifiers(0)},
        {"subjects": pa.array(["a", "a", "b"])},
        {"subjects": pa.array(["a", None, "b"])},
    ],
)
def test_a_pool_of_another_shape_is_refused(tmp_path, broken):
    """What cannot be a pool is said so before anything is kept."""
    with make(tmp_path / "keys", policy=POLICY) as master:
        pool = replace(new_pool(HALF, 3, "h"), **broken)
        with pytest.raises(UsageError):
            master.canaries.register(agreed_reading(master, 3), [pool])
        assert master._canaries.records() == []


def test_a_keymaster_that_is_opened_again_knows_them(tmp_path):
    """The register is in the database; it opens by the room's keys alone, each pool in its place."""
    with make(tmp_path / "keys", policy=POLICY) as master:
        planted(master, [new_pool(HALF, 10, "h"), new_pool(RARE, 7, "r")])
        before = master._canaries.all()
    with reopen(tmp_path / "keys") as master:
        assert np.array_equal(master._canaries.all(), before)
        with master._core.state.write() as rows:
            swapped = rows.execute("SELECT sealed FROM canary_pool WHERE number = 1").fetchone()[0]
            rows.execute("UPDATE canary_pool SET sealed = ? WHERE number = 0", (swapped,))
        with pytest.raises(IntegrityError):
            master._canaries.pool(0)


@given(st.binary(max_size=300), st.integers(0, 6), st.integers(0, 6))
def test_a_sealed_text_that_is_no_pool_is_an_integrity_error(rest, persons, count):
    """Whatever lies sealed under a pool's key: it is a pool of just that length, or refused."""
    root, room = bytes(32), bytes(16)
    head = b"strongroom pool 1" + persons.to_bytes(4, "little") + count.to_bytes(4, "little")
    for plain in (rest, head + rest, head + rest[: 20 * persons + 48 * count]):
        sealed = canarypool.wrap(canarypool._key(root, 7), plain, canarypool._bound(room, 7))
        try:
            pool = canarypool.open_pool(root, room, 7, sealed)
        except IntegrityError:
            continue
        assert canarypool.seal_pool(root, room, 7, pool) != sealed  # another nonce
        assert (len(pool.tokens), pool.count) == (persons, count)
        assert len(plain) == len(head) + 20 * persons + 48 * count


@pytest.mark.parametrize("verb", ["plant", "ask-canary"])
def test_a_policy_lets_nobody_do_it_alone(verb):
    """Both verbs need another person every time, and no glass is broken for them."""
    schema = parse_schema(SCHEMA, None, os.urandom)
    with pytest.raises(PolicyError, match="agreement every time"):
        parse_policy(POLICY.replace('verbs = ["plant"]', f'verbs = ["{verb}"]').replace("always = true", "over = 5"), schema)
    glass = POLICY.replace('verbs = ["plant"]', f'verbs = ["{verb}"]\nbreak_glass = ["planter"]')
    with pytest.raises(PolicyError, match="alone"):
        parse_policy(glass, schema)
    assert verb in parse_policy(POLICY.replace('["plant"]', f'["{verb}"]'), schema).purposes["planting"].verbs
