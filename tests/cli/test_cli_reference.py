"""The reference on paper is the command line that runs."""

import re

import pytest

from strongroom.cli.reference import EXAMPLES, reference, verbs

VERBS = verbs()


def test_the_page_is_what_the_commands_say(project):
    """`docs/reference/cli.md` equals `reference()`: make it again after a change of an option."""
    page = (project / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert page == reference(), "python -m strongroom.cli.reference > docs/reference/cli.md"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_its_heading_and_all_its_options(verb):
    """Each verb has a section with each of its options, and an example."""
    section = re.split(r"^## ", reference(), flags=re.MULTILINE)
    (own,) = [text for text in section if text.startswith(f"`{verb}`")]
    for parameter in VERBS[verb].params:
        if parameter.param_type_name == "option" and parameter.name != "help":
            assert f"`{parameter.opts[0]}" in own
    assert EXAMPLES[verb]


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_examples_use_options_that_exist_and_all_that_are_required(line):
    """An example that is copied is understood."""
    words = line.split()
    verb = VERBS.get(words[1]) or VERBS[f"{words[1]} {words[2]}"]
    used = set(re.findall(r"--[a-z-]+", line))
    known = {opt for p in verb.params for opt in p.opts}
    needed = {p.opts[0] for p in verb.params if p.param_type_name == "option" and p.required}
    assert used <= known
    assert needed <= used
