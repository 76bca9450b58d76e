"""What the README and the example show is what happens."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))

from cli_kit import environment
from small_room import PASSPHRASE, person


def blocks(text, kind=""):
    """Code blocks of one kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_python_example_of_the_readme_runs(project, room, monkeypatch):
    """The example, as it stands, finds the people of a number."""
    (code,) = blocks((project / "README.md").read_text(encoding="utf-8"), "python")
    number = "13800138000"
    assert number in code
    monkeypatch.chdir(room.folder)
    names = {"passphrase": PASSPHRASE}
    exec(code.replace(number, person(7)["mobile"]), names)
    (found,) = names["people"]
    assert found["address"] == person(7)["address"]


@pytest.fixture
def office(project, tmp_path):
    """A copy of the example in examples/public-officials, with a passphrase file."""
    folder = shutil.copytree(project / "examples" / "public-officials", tmp_path / "officials")
    (folder / "passphrase").write_text("a passphrase for the example\n", encoding="utf-8")
    with (folder / "strongroom.toml").open("a", encoding="utf-8") as settings:
        settings.write('\npassphrase_file = "passphrase"\n')
    return folder


def test_the_commands_of_the_example_run(office):
    """Every command of the example's README, word for word."""
    commands = [
        line
        for block in blocks((office / "README.md").read_text(encoding="utf-8"))
        for line in block.splitlines()
        if line.startswith("strongroom ")
    ]
    assert [c.split()[1] for c in commands[:3]] == ["create", "put", "find"]
    for command in commands:
        how = {"cwd": office, "env": environment(), "capture_output": True}
        done = subprocess.run(command, shell=True, check=False, stdin=subprocess.DEVNULL, **how)
        assert done.returncode == 0, (command, done.stderr.decode())
        if " find officials " in command:
            assert "withheld" in done.stdout.decode()
