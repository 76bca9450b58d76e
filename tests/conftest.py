"""Settings for every test: Hypothesis draws the same examples each time, no test sees other settings."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "strongroom",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("long", parent=settings.get_profile("strongroom"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "strongroom"))

MEMORY, LEAST = Path("/dev/shm"), 4 << 30


def pytest_configure(config: pytest.Config) -> None:
    """Put folders of tests into memory where there is room: nothing waits for a disk, and every sync is asked for still."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= LEAST:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture(scope="session", autouse=True)
def _stretched_once():
    """Remember what Argon2id makes of a passphrase: tests open the same rooms over and over, at the least cost allowed."""
    from strongroom.keys import slot_passphrase

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slot_passphrase, "argon2id", functools.lru_cache(maxsize=256)(slot_passphrase.argon2id))
        yield


@pytest.fixture(scope="session")
def project() -> Path:
    """The folder that holds `pyproject.toml`."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away variables of the caller's that would change what the program does or how it prints."""
    for name in [name for name in os.environ if name.startswith(("STRONGROOM_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERMINAL_WIDTH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def s3_server():
    """A real S3 server, started once per worker of the test run; without one the test is skipped and says so."""
    import tempfile

    import radosgw

    if reason := radosgw.missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="rgw") as folder, radosgw.Radosgw(Path(folder) / "r") as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a new bucket on the server, which the AWS_* variables lead to."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return s3_server.new_bucket()


@pytest.fixture(scope="session")
def filled_template(tmp_path_factory: pytest.TempPathFactory):
    """A filled small room, made once; tests get copies of it."""
    import small_room

    return _filled(small_room.SmallRoom(tmp_path_factory.mktemp("template")), small_room.fill)


@pytest.fixture
def room(filled_template, tmp_path: Path):
    """A filled small room of the test's own: 300 persons, 600 parcels, 42 cases."""
    return filled_template.copy_to(tmp_path / "room")


@pytest.fixture(scope="session")
def export_template(tmp_path_factory: pytest.TempPathFactory):
    """A room that may export, made once; tests get copies of it."""
    import export_room

    return export_room.make(tmp_path_factory.mktemp("export"))


@pytest.fixture
def sending(export_template, tmp_path: Path):
    """A room that may export, of the test's own: 300 persons, 600 parcels, 42 cases."""
    return export_template.copy_to(tmp_path / "room")


@pytest.fixture(scope="session")
def tracing_template(tmp_path_factory: pytest.TempPathFactory):
    """A room that may export and trace, made once; tests get copies of it."""
    import tracing_room

    return tracing_room.make(tmp_path_factory.mktemp("tracing"))


@pytest.fixture(scope="session")
def city_template(tmp_path_factory: pytest.TempPathFactory):
    """A made-up city without canaries, made once; tests get copies of it."""
    import planted_city

    return planted_city.make(tmp_path_factory.mktemp("city"))


@pytest.fixture(scope="session")
def planted_template(city_template, tmp_path_factory: pytest.TempPathFactory):
    """The same city with canaries, planted once, and what the planting said."""
    import planted_city

    return planted_city.planted(city_template.copy_to(tmp_path_factory.mktemp("planted") / "room"))


@pytest.fixture(scope="session")
def survey_template(tmp_path_factory: pytest.TempPathFactory):
    """A room with sealed fields to add up, made once; tests get copies of it."""
    import survey_room

    return _filled(survey_room.SurveyRoom(tmp_path_factory.mktemp("survey")), survey_room.fill)


def _filled(room, fill):
    """A room, made and filled."""
    room.create()
    fill(room)
    return room


@pytest.fixture
def survey(survey_template, tmp_path: Path):
    """A room with sealed fields to add up, of the test's own: 3,000 persons, 5,000 visits of 400 of them."""
    return survey_template.copy_to(tmp_path / "room")


@pytest.fixture
def clock():
    """A clock that the test sets."""
    import keymaster_fixtures

    return keymaster_fixtures.Clock()


@pytest.fixture
def master(tmp_path: Path, clock):
    """A small keymaster of the test's own, which goes by that clock."""
    import keymaster_fixtures

    with keymaster_fixtures.make(tmp_path / "keys", clock) as made:
        yield made


@pytest.fixture(params=["embedded", "postgres", "served"])
def either_keymaster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The keymaster of a test's room with a file, with PostgreSQL, and behind its server: a room notices no difference."""
    if request.param == "postgres":
        import small_room

        server = request.getfixturevalue("postgres_server")
        in_file = small_room.SmallRoom.keymaster

        def moved(self: small_room.SmallRoom) -> object:
            _to_postgres(self.keys, server.url())
            return in_file(self)

        monkeypatch.setattr(small_room.SmallRoom, "keymaster", moved)
    if request.param == "served":
        import served_room
        import small_room

        import strongroom

        embedded = small_room.SmallRoom.keymaster
        monkeypatch.setattr(small_room.SmallRoom, "keymaster", lambda self: served_room.Served(embedded(self), alone=True))
        monkeypatch.setattr(strongroom, "open", served_room.open_served())
    return request.param


@pytest.fixture(params=["file", "postgres"])
def either_database(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where a test's keymaster has its database: in a file, and in PostgreSQL; it notices no difference."""
    return {"database": request.getfixturevalue("postgres_server").url()} if request.param == "postgres" else {}


@pytest.fixture(scope="session")
def postgres_server():
    """A real PostgreSQL server, started once per worker of the test run; without one the test is skipped and says so."""
    import postgresql

    if reason := postgresql.missing():
        pytest.skip(reason)
    server = postgresql.Server()
    yield server
    server.close()


def _to_postgres(keys: Path, url: str) -> None:
    """Take a keymaster's database from its file to a server, where that was not done yet."""
    from strongroom.keymaster.create import make_elsewhere
    from strongroom.keymaster.database.sqlite import SqliteState

    if not (keys / "keymaster.db").exists():
        return
    source = SqliteState.open(keys / "keymaster.db")
    (keys / "cut").touch()
    cut, state = source.cut(keys / "cut"), make_elsewhere(keys, url)
    state.fill(cut)
    for one in (cut, state, source):
        one.close()
    for path in (*keys.glob("keymaster.db*"), keys / "cut"):
        path.unlink()
