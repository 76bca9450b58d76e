"""Each guarantee of the threat model names the attacks that try it, and each attack belongs to a guarantee."""

import re


def test_each_guarantee_names_attacks_that_exist_and_each_attack_is_named(project):
    """A guarantee nobody attacks, and an attack on nothing that is promised, are both told."""
    text = (project / "docs" / "THREAT_MODEL.md").read_text(encoding="utf-8")
    section = text.split("## Guarantees", 1)[1].split("\n## ", 1)[0]
    guarantees = re.split(r"^(?=\d+\. )", section, flags=re.MULTILINE)[1:]
    assert [int(one.split(".")[0]) for one in guarantees] == list(range(1, len(guarantees) + 1))
    named = set()
    for one in guarantees:
        files = re.findall(r"`(?:tests/(\w+)/)?(test_\w+\.py)`", one)
        assert files, one
        for folder, name in files:
            assert (project / "tests" / (folder or "attacks") / name).is_file(), name
            named.add(name)
    there = {path.name for path in (project / "tests" / "attacks").glob("test_attack_*.py")}
    assert there <= named


def test_each_attack_has_a_control_in_its_file(project):
    """A file of attacks without a control proves nothing."""
    for path in (project / "tests" / "attacks").glob("test_attack_*.py"):
        names = re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert any("control" in name for name in names) or "Control" in path.read_text(encoding="utf-8"), path.name
