"""A shell per test, in a folder of its own, with a filled small room."""

import pytest
from cli_kit import Shell


@pytest.fixture
def shell(room, tmp_path, monkeypatch, capsys):
    """A shell whose working directory names a filled small room."""
    folder = tmp_path / "desk"
    folder.mkdir()
    return Shell(folder, room, monkeypatch, capsys)
