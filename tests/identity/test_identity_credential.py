"""A credential's file: for its owner alone, whole or refused."""

import json
import os

import pytest

from strongroom.errors import ConflictError, NotFoundError, UsageError
from strongroom.identity.credential import new_credential, parse_public_line, public_line, read_credential


@pytest.fixture
def made(tmp_path):
    credential = new_credential(b"r" * 16, "ada")
    credential.write(tmp_path / "ada.credential")
    return credential, tmp_path / "ada.credential"


def test_a_credential_is_written_for_its_owner_and_read_again(made):
    """The file has mode 600, holds no plain public key that is needed, and takes no other file's place."""
    credential, path = made
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_credential(path) == credential
    with pytest.raises(ConflictError):
        credential.write(path)
    assert credential.seed.hex() not in repr(credential)


def test_a_credential_that_others_may_read_is_refused(made):
    """As ssh does: it may be known to somebody else by now."""
    _, path = made
    path.chmod(0o640)
    with pytest.raises(UsageError, match="others may read"):
        read_credential(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.pop("seed"),
        lambda said: said.update(seed="!!!"),
        lambda said: said.update(seed=said["seed"][:8]),
        lambda said: said.update(id="0" * 32),
        lambda said: said.update(room="zz"),
        lambda said: said.update(version=9),
        lambda said: said.update(strongroom="something"),
    ],
)
def test_a_changed_file_is_refused(made, change):
    """Missing, malformed or swapped parts are told without the key."""
    _, path = made
    said = json.loads(path.read_text())
    seed = said["seed"]
    change(said)
    path.write_text(json.dumps(said))
    with pytest.raises(UsageError) as caught:
        read_credential(path)
    assert seed not in str(caught.value)


def test_what_is_no_file_of_ours_is_refused(tmp_path):
    """Absent, a folder, not JSON, too large."""
    with pytest.raises(NotFoundError):
        read_credential(tmp_path / "none")
    with pytest.raises(UsageError):
        read_credential(tmp_path)
    for number, data in enumerate((b"", b"\xff\xfe", b"[]", b"{}", b"null", os.urandom(20_000))):
        path = tmp_path / f"f{number}"
        path.write_bytes(data)
        path.chmod(0o600)
        with pytest.raises(UsageError):
            read_credential(path)


def test_the_public_line_names_actor_and_key(made):
    """And nothing that is secret."""
    credential, _ = made
    line = public_line(credential)
    assert parse_public_line(line + "\n") == ("ada", credential.public_key)
    for wrong in ("", "srk1", "srk1:ada", "srk1::AAAA", "srk2" + line[4:], line[:-4], "srk1:ada:" + "A" * 43):
        with pytest.raises(UsageError):
            parse_public_line(wrong)
