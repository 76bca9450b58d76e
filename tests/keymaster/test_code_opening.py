"""One export's code row, opened by two people: it is what the log committed to, and a court judges by it without a key."""

import json

import pytest
from canary_pools import EXPORTING, PLAN, POOL, exported, new_pool, with_canaries
from keymaster_fixtures import Clock, make, noted
from planting_kit import contents

from strongroom.audit.note import parse_verifier_key
from strongroom.errors import ConflictError, DeniedError, IntegrityError, NotFoundError, UsageError
from strongroom.evidence.code import RARE, found, members
from strongroom.evidence.opening import Opened, PoolTree, Shown, check_accusation
from strongroom.evidence.rowfile import verify_row_file

POLICY = EXPORTING.replace('may = ["put", "log", "erase"]', 'may = ["put", "log", "erase", "disclose"]').replace(
    "[roles.chief]\n", '[roles.chief]\nmay = ["disclose"]\n'
)
WHY = "court, case 9"


@pytest.fixture
def master(tmp_path, either_database):
    with make(tmp_path / "keys", Clock(), policy=POLICY, **either_database) as made:
        yield made


@pytest.fixture
def export(master):
    """A started export with canaries: its id in hex, and how its pool was committed to."""
    return exported(master, *with_canaries(master))[1].hex()


def opened(master, export):
    asked = master.exports.ask_open("kit", export, WHY)
    master.approvals.decide("max", asked.id, agree=True)
    return master.exports.open_code("kit", export)


def verified(master, given):
    return verify_row_file(json.dumps(given.to_dict()), parse_verifier_key(master.log_key())[1])


def test_a_court_judges_by_the_row_that_two_people_opened(master, export):
    """The whole file is published: the row, its canaries with their paths and the finds accuse the export, without a key."""
    given = opened(master, export)
    proved = verified(master, given)
    row, commitment = proved.row, bytes.fromhex(proved.commitment)
    (offer,) = row.offers
    numbers = members(row)[offer.pool].tolist()
    pool = new_pool(RARE, POOL, "c")
    tree, texts = PoolTree(pool.digests[: offer.count]), contents(pool.salts)
    finds = found([offer.pool] * len(numbers), numbers)
    shown = tuple(Shown(offer.pool, number, texts[number], tree.path(number)) for number in numbers)
    case = Opened(given.row, finds, shown)
    verdict = check_accusation(case, commitment=commitment, finds=finds.digest, ever_issued=1)
    assert [one.export.hex() for one in verdict.accused] == [export]
    foreign = Shown(offer.pool, numbers[0], texts[numbers[0] + 1], tree.path(numbers[0]))
    with pytest.raises(IntegrityError):
        check_accusation(
            Opened(given.row, finds, (foreign, *shown[1:])),
            commitment=commitment,
            finds=finds.digest,
            ever_issued=1,
        )


def test_it_takes_two_is_noted_each_time_and_stays(master, export):
    """Before the agreement nothing is given; after it the ledger says by which entry, for good."""
    with pytest.raises(DeniedError) as error:
        master.exports.open_code("kit", export)
    assert error.value.rule == "disclose.not-agreed"
    asked = master.exports.ask_open("kit", export, WHY)
    with pytest.raises(DeniedError):
        master.approvals.decide("kit", asked.id, agree=True)
    with pytest.raises(DeniedError):
        master.exports.open_code("kit", export)
    master.approvals.decide("max", asked.id, agree=True)
    first, again = master.exports.open_code("kit", export), master.exports.open_code("max", export)
    assert [one.entry for one in (first.entry, first.opening)] == [one.entry for one in (again.entry, again.opening)]
    assert first.row == again.row
    (record,) = master.exports.all("kit")
    proved = verified(master, first)
    assert (proved.opened, proved.leaf, proved.asked, proved.agreed) == (record.opened, record.leaf, "kit", "max")
    later = verified(master, again)
    assert later.checkpoint.size > proved.checkpoint.size
    assert (later.row, later.opened, later.commitment) == (proved.row, proved.opened, record.commitment)
    acts = [(entry.act, entry.actor) for _, entry in noted(master, "disclose", "approve")]
    assert acts[-4:] == [("disclose", "max"), ("approve", "max"), ("disclose", "kit"), ("disclose", "max")]
    with pytest.raises(ConflictError):
        master.exports.ask_open("kit", export, WHY)


def test_who_may_not_and_what_is_not_there_is_refused(master, export):
    """An actor without the act, an export without canaries, an id that is none."""
    for attempt in (
        lambda: master.exports.ask_open("ada", export, WHY),
        lambda: master.exports.open_code("ada", export),
    ):
        with pytest.raises(DeniedError):
            attempt()
    reading = master.begin_reading(actor="ada", purpose="decide", reason="r").reading_id
    plain = master.exports.begin(reading, PLAN)
    master.exports.start(reading, plain)
    with pytest.raises(NotFoundError):
        master.exports.ask_open("kit", plain.hex(), WHY)
    with pytest.raises(NotFoundError):
        master.exports.open_code("kit", "00" * 16)
    for wrong in ("no id", "00", export + "00", export[:30] + " 0"):
        with pytest.raises(UsageError):
            master.exports.ask_open("kit", wrong, WHY)


def test_what_is_given_verifies_and_says_what_the_ledger_says(master, export):
    """However the id was written: recipient, purpose, persons, entries and row are those of the ledger; its key is shown to nobody."""
    asked = master.exports.ask_open("kit", export.upper(), WHY)
    master.approvals.decide("max", asked.id, agree=True)
    given = master.exports.open_code("kit", export.upper())
    (record,) = master.exports.all("kit")
    found = verified(master, given)
    said = (found.export, found.recipient, found.purpose, found.persons, found.actor, found.tables)
    assert said == (export, record.recipient, record.purpose, record.persons, record.actor, record.tables)
    assert (found.leaf, found.opened, found.commitment) == (record.leaf, record.opened, record.commitment)
    assert found.time // 1000 == int(record.at)
    assert found.row.key.hex() not in repr(found) + repr(given) + json.dumps(found.to_dict())


def noted_finds(master):
    """The entry of a trace that noted its finds, as `keymaster.tracing` writes it."""
    core, extras = master._core, {"sample": "ab" * 32, "finds": "cd" * 32, "persons": 3}

    def work(rows):
        return {"leaf": core.journal.note(rows, core.journal.entry(rows, "trace", "ada", extras=extras))}

    return core.act("trace", "ada", work)["leaf"]


def test_the_entry_of_a_trace_is_proved_beside_it(master, export):
    """Where it is asked for; an entry that is none of finds is not found, and one from after the opening proves nothing."""
    leaf = noted_finds(master)
    opened(master, export)
    found = verified(master, master.exports.open_code("kit", export, leaf)).finds
    assert (found.leaf, found.sample, found.finds) == (leaf, "ab" * 32, "cd" * 32)
    for wrong in (leaf - 1, -1, 1 << 40, 1 << 70):
        with pytest.raises(NotFoundError):
            master.exports.open_code("kit", export, wrong)
    late = master.exports.open_code("kit", export, noted_finds(master))
    with pytest.raises(IntegrityError, match="were not noted between"):
        verified(master, late)


def test_the_text_is_in_no_entry_and_in_no_answer_of_the_ledger(master, export):
    """What opens the row is given to who asks for it, and stands nowhere else in plain."""
    given = opened(master, export)
    key = verified(master, given).row.key.hex().encode()
    rows = master._core.state.read()
    for table, columns in (("leaf", "entry"), ("approval", "said"), ("request", "answer"), ("export", "said")):
        for (text,) in rows.execute(f"SELECT {columns} FROM {table}").fetchall():
            assert key not in (text if isinstance(text, bytes) else text.encode())
    assert key.decode() not in repr(given)
