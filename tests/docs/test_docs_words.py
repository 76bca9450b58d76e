"""The documents name what the code has: verbs, errors, settings, and links that lead somewhere."""

import re

import pytest

import strongroom
from strongroom import errors
from strongroom.cli.common import CONFIG_KEYS
from strongroom.cli.reference import verbs
from strongroom.errors import StrongroomError

README_LINES_MAX = 120
VERBS = verbs()
ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StrongroomError)]
PAGES = ("README.md", "docs/DESIGN.md", "docs/THREAT_MODEL.md", "docs/reference/cli.md")


def read(project, name):
    """The text of a document."""
    return (project / name).read_text(encoding="utf-8")


def test_every_exit_code_of_an_error_is_in_the_reference(project):
    """Whatever error class ends a command, its code has a line in the table."""
    page = read(project, "docs/reference/cli.md")
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert {kind.exit_code for kind in ERRORS if kind is not StrongroomError} <= listed


def test_every_setting_is_in_the_reference(project):
    """Each key of strongroom.toml has a line in the table."""
    page = read(project, "docs/reference/cli.md")
    assert all(f"| `{key}` |" in page for key in CONFIG_KEYS)


def test_every_error_class_is_public_and_in_the_tree():
    """Each class can be caught as `strongroom.X`, and the tree at the top of errors.py shows it with a sentence."""
    for kind in ERRORS:
        assert getattr(strongroom, kind.__name__) is kind
        assert re.search(rf"\b{kind.__name__}\b", errors.__doc__)


def test_the_readme_is_short_and_complete(project):
    """Under 120 lines, nothing left to fill in, commands that exist."""
    text = read(project, "README.md")
    assert len(text.splitlines()) < README_LINES_MAX
    assert "DEMO_OUTPUT" not in text
    used = re.findall(r"^strongroom (\w+)", text, re.MULTILINE) + re.findall(r"`strongroom (\w+)", text)
    assert used
    assert set(used) <= {verb.partition(" ")[0] for verb in VERBS}


@pytest.mark.parametrize("name", PAGES)
def test_relative_links_lead_to_a_file(project, name):
    """A link to a file of the project is not dead."""
    page = project / name
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", ["docs/reference/schema.md", "docs/reference/policy.md"])
def test_words_of_schema_and_policy_have_headings(project, name):
    """A reference has a heading for each part of its file."""
    headings = re.findall(r"^#+ (.*)$", read(project, name), re.MULTILINE)
    wanted = ("tables", "fields") if "schema" in name else ("room", "roles", "actors", "purposes")
    assert all(any(word in heading.lower() for heading in headings) for word in wanted), headings
