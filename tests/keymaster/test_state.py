"""The keymaster's database: its errors are this library's wherever they arise, and name no value."""

import pytest

from strongroom.errors import ConflictError, IntegrityError, UnavailableError
from strongroom.keymaster.database.sqlite import SqliteState


@pytest.fixture
def state(tmp_path):
    made = SqliteState.create(tmp_path / "keymaster.db")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (lambda rows: rows.execute("SELECT nothing FROM room"), IntegrityError),
        (lambda rows: rows.execute("SELECT 1 FROM nowhere").fetchone(), IntegrityError),
        (lambda rows: rows.executemany("INSERT INTO counter VALUES (?, ?)", [("pages", 7)]), ConflictError),
    ],
)
def test_errors_of_the_database_are_told_in_the_words_of_the_library(state, ask, kind):
    """Damage and conflicts, from a statement or from many, name neither statement nor value."""
    with pytest.raises(kind) as caught:
        ask(state.read())
    assert "the keymaster's database" in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_closed_database_is_told_as_closed(state):
    """Whoever kept rows of it learns that the keymaster was closed."""
    rows = state.read()
    state.close()
    with pytest.raises(UnavailableError, match="closed"):
        rows.execute("SELECT 1")


def test_a_page_that_was_overwritten_is_told_as_damage(tmp_path):
    """Bytes of the file changed underneath: the first row that cannot be read is damage, with the way out."""
    SqliteState.create(tmp_path / "keymaster.db").close()
    path = tmp_path / "keymaster.db"
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="damaged") as caught:
        SqliteState.open(path)
    assert "keys restore" in caught.value.hint
