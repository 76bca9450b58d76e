"""The example on real input is what its README says: schema and policy parse and fit the files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from strongroom.purpose.policy import parse_policy
from strongroom.schema.parse import parse_schema
from strongroom.seal.entropy import random_bytes


@pytest.fixture
def example(project: Path) -> Path:
    """The folder of the example."""
    return project / "examples" / "public-officials"


def test_schema_fits_the_files(example: Path) -> None:
    """Every column of every file is a field of its table, and the policy is accepted."""
    schema = parse_schema((example / "schema.toml").read_text(encoding="utf-8"), None, random_bytes)
    parse_policy((example / "policy.toml").read_text(encoding="utf-8"), schema)
    for path in sorted(example.glob("*.csv")):
        table = schema.tables[path.name.split("-")[0]]
        with path.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file))
        assert header == [f.name for f in table.fields]


def test_readme_names_source_and_files(example: Path) -> None:
    """The README names the source, the licence and each kind of file."""
    text = (example / "README.md").read_text(encoding="utf-8")
    assert "unitedstates/congress-legislators" in text
    assert "CC0" in text
    assert all(path.name in text for path in example.glob("*.csv"))
