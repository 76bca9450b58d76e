"""`strongroom witness`, and what `log` and `verify` say of witnesses."""

import sys
from pathlib import Path

import pytest
from cli_kit import KIT

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "witness"))
from small_room import POLICY
from witness_kit import Process, section


@pytest.fixture
def watched(shell, tmp_path):
    """Two witnesses as processes, made and started by commands, which the room's policy names: one must cosign."""
    made = []
    log = shell.run("log", "--public-key", *KIT).out.strip()
    for name in ("north", "south"):
        line = shell.run("witness", "key", str(tmp_path / name), "--name", f"{name}.example/w").out.strip()
        made.append((line, Process(tmp_path / name, log).start()))
    witnesses = [_Named(line, process.url) for line, process in made]
    (tmp_path / "policy.toml").write_text(POLICY + section(1, *witnesses))
    assert shell.run("policy", "--set", str(tmp_path / "policy.toml"), *KIT).code == 0
    yield made
    for _, process in made:
        assert process.end()[0] == 0


class _Named:
    def __init__(self, line, url):
        self.cosigner, self.url = self, url
        self._line = line

    def line(self):
        return self._line


def test_a_room_with_witnesses_is_used_as_before_and_log_says_who_cosigned(shell, watched):
    """Erase, log, verify offline with the witnesses' keys: enough, and too few."""
    shown = shell.run("log", *KIT)
    assert shown.code == 0
    assert "cosigned by north.example/w, south.example/w" in shown.err
    done = shell.run("erase", "P-000003", "--reason", "asked", "--confirm", "P-000003", "--out", "receipt.json", *KIT)
    assert done.code == 0, done.err
    key = shell.run("log", "--public-key", *KIT).out.strip()
    lines = [word for line, _ in watched for word in ("--witness", line)]
    for extra in ((), lines, (*lines, "--quorum", "1")):
        checked = shell.run("verify", "receipt.json", "--key", key, *extra)
        assert (checked.code, checked.err[:5]) == (0, "good:")
    stranger = shell.run("witness", "key", "stranger", "--name", "stranger.example/w").out.strip()
    refused = shell.run("verify", "receipt.json", "--key", key, "--witness", stranger)
    assert refused.code == 4
    assert "0 of the 1 cosignatures" in refused.err
    assert shell.run("verify", "receipt.json", "--key", key, *lines, "--witness", stranger, "--quorum", "2").code == 0


def test_with_no_witness_left_a_verb_that_needs_one_says_so(shell, watched):
    """Exit code 6 and who did not answer; the log can be read, and says what is not cosigned yet."""
    for _, process in watched:
        process.kill()
    hold = shell.run("hold", "P-000001", "--reason", "a case", *KIT)
    assert hold.code == 6
    assert "1 of 2 witnesses must cosign the log's checkpoint, 0 did: north.example/w: does not answer" in hold.err
    erased = shell.run("erase", "P-000004", "--reason", "asked", "--confirm", "P-000004", "--out", "r.json", *KIT)
    assert erased.code == 6
    assert "the erasure is in force" in erased.err
    leaf = erased.err.partition("--receipt ")[2].partition("`")[0]
    shown = shell.run("log", *KIT)
    assert shown.code == 0
    assert "newer not cosigned yet" in shown.err
    for _, process in watched:
        process.start()
    assert "not cosigned" not in shell.run("log", *KIT).err
    assert shell.run("erase", "--receipt", leaf, "--out", "r.json", *KIT).code == 0


def test_misuses_are_told(shell, tmp_path):
    """A log is needed, a key is made once, elsewhere than on loopback a certificate; keys of witnesses have one spelling."""
    folder = str(tmp_path / "w")
    assert shell.run("witness", "key", folder, "--name", "north.example/w").code == 0
    assert "is not empty" in shell.run("witness", "key", folder, "--name", "north.example/w").err
    assert "needs a log" in shell.run("witness", "serve", folder).err
    assert "without spaces" in shell.run("witness", "key", str(tmp_path / "v"), "--name", "a b").err
    log = shell.run("log", "--public-key", *KIT).out.strip()
    refused = shell.run("witness", "serve", folder, "--log", log, "--listen", "0.0.0.0:0")
    assert (refused.code, "only loopback" in refused.err) == (2, True)
    assert "no witness at" in shell.run("witness", "serve", str(tmp_path / "none"), "--log", log).err
    (tmp_path / "logs").write_text(f"# logs\n{log}\nnonsense\n")
    assert "line 3" in shell.run("witness", "serve", folder, "--logs", str(tmp_path / "logs")).err
    (tmp_path / "receipt.json").write_text("{}")
    for words in (("--quorum", "1"), ("--witness", log), ("--witness", "x", "--quorum", "2")):
        assert shell.run("verify", str(tmp_path / "receipt.json"), "--key", log, *words).code == 2
