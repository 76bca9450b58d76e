"""The reference of the policy file says what the code does."""

import re
from pathlib import Path

from purpose_fixtures import SCHEMA

from strongroom.purpose.cedar import Decider, cedar_text
from strongroom.purpose.model import ACTS, READ_VERBS, SHOWS
from strongroom.purpose.policy import parse_policy

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "policy.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL).group(1)
SOURCES = [Path(__file__).parents[2] / "src" / "strongroom" / "purpose" / name for name in ("policy.py", "sealed.py", "exports.py")]


def test_the_example_is_a_policy():
    """The example of the reference parses and its rules are valid Cedar."""
    policy = parse_policy(EXAMPLE, SCHEMA)
    Decider(policy, SCHEMA).validate()
    assert set(policy.purposes) == {"delivery", "inquiry"}


def test_every_key_and_word_is_explained():
    """Each key that the parser knows, each verb, act and way to show is in a table of the reference."""
    keys = set()
    source = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    for call in re.findall(r"\.only\((.*?)\)", source, re.DOTALL):
        keys |= set(re.findall(r'"(\w+)"', call))
    assert {"legal_basis", "min_group", "may"} <= keys
    for word in (keys - {"actors", "purposes", "roles", "room"}) | {*ACTS, *READ_VERBS, *SHOWS}:
        assert f"`{word}`" in TEXT or f"`{word}." in TEXT, word
    for section in ("[room]", "[roles.NAME]", "[actors.NAME]", "[purposes.NAME]"):
        assert f"## `{section}`" in TEXT


def test_every_rule_of_the_room_is_explained():
    """What no policy can allow is listed by the name that a refusal carries."""
    policy = parse_policy(EXAMPLE, SCHEMA)
    rules = set(re.findall(r'@id\("(room\.[a-z-]+)"\)', cedar_text(policy, SCHEMA)))
    assert len(rules) >= 4
    for rule in {*rules, "room.rule-failed"}:
        assert f"| `{rule}` |" in TEXT, rule
