"""One export's code row, opened by two people: it is what the log committed to, and a court judges by it without a key."""

import pytest
from canary_pools import EXPORTING, PLAN, POOL, entry_of, exported, new_pool, with_canaries
from keymaster_fixtures import Clock, make, noted
from planting_kit import contents

from strongroom.errors import ConflictError, DeniedError, IntegrityError, NotFoundError, UsageError
from strongroom.evidence.code import RARE, found, members
from strongroom.evidence.coderow import open_row
from strongroom.evidence.opening import Opened, PoolTree, Shown, check_accusation

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


def test_a_court_judges_by_the_row_that_two_people_opened(master, export):
    """The whole file is published: the row, its canaries with their paths and the finds accuse the export, without a key."""
    given = opened(master, export)
    row = open_row(given.row, given.commitment)
    (offer,) = row.offers
    numbers = members(row)[offer.pool].tolist()
    pool = new_pool(RARE, POOL, "c")
    tree, texts = PoolTree(pool.digests[: offer.count]), contents(pool.salts)
    finds = found([offer.pool] * len(numbers), numbers)
    shown = tuple(Shown(offer.pool, number, texts[number], tree.path(number)) for number in numbers)
    case = Opened(given.row, finds, shown)
    verdict = check_accusation(case, commitment=given.commitment, finds=finds.digest, ever_issued=1)
    assert [one.export.hex() for one in verdict.accused] == [export]
    entry = entry_of(master, given.leaf)
    assert entry.extras["commitment"] == given.commitment.hex()
    foreign = Shown(offer.pool, numbers[0], texts[numbers[0] + 1], tree.path(numbers[0]))
    with pytest.raises(IntegrityError):
        check_accusation(
            Opened(given.row, finds, (foreign, *shown[1:])),
            commitment=given.commitment,
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
    assert first == again
    (record,) = master.exports.all("kit")
    assert record.opened == first.opened
    assert entry_of(master, first.opened).act == "disclose"
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
    with pytest.raises(UsageError):
        master.exports.ask_open("kit", "no id", WHY)


def test_the_text_is_in_no_entry_and_in_no_answer_of_the_ledger(master, export):
    """What opens the row is given to who asks for it, and stands nowhere else in plain."""
    given = opened(master, export)
    key = open_row(given.row, given.commitment).key.hex().encode()
    rows = master._core.state.read()
    for table, columns in (("leaf", "entry"), ("approval", "said"), ("request", "answer"), ("export", "said")):
        for (text,) in rows.execute(f"SELECT {columns} FROM {table}").fetchall():
            assert key not in (text if isinstance(text, bytes) else text.encode())
    assert key.decode() not in repr(given)
