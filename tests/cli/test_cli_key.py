"""`strongroom key` from the command line: slots of both kinds, a turn, and what is told when something is wrong."""

import json
import sys
from pathlib import Path

from cli_kit import CASE, KIT
from small_room import POLICY, SCHEMA, person

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "keys"))

from token_kit import MODULE, PIN, delete_token, make_token, needs_tokens


def test_a_second_slot_a_turn_and_a_slot_that_goes(shell):
    """Add, list, turn, open with the other, remove."""
    (shell.folder / "spare.txt").write_text("another horse\n")
    made = shell.run("key", "add-slot", "spare", "--new-passphrase-file", "spare.txt", *KIT)
    assert made.code == 0, made.err
    listed = json.loads(shell.run("key", "slots", "--json", *KIT).out)
    assert [(s["name"], s["kind"], s["epoch"], s["there"]) for s in listed] == [
        ("passphrase-1", "passphrase", 1, True),
        ("spare", "passphrase", 1, True),
    ]
    assert "not turned" in shell.run("key", "turn", "--if-older-than", "30", "--slot", "spare=spare.txt", *KIT).err
    turned = shell.run("key", "turn", "--slot", "spare=spare.txt", *KIT)
    assert turned.code == 0, turned.err
    assert "epoch 2 is in force" in turned.err
    assert "never forgets" in turned.err
    found = shell.run("get", "persons", "P-000007", "--passphrase-file", "spare.txt", *CASE)
    assert person(7)["name"] in found.out
    gone = shell.run("key", "remove-slot", "spare", "--slot", "spare=spare.txt", *KIT)
    assert gone.code == 0, gone.err
    assert shell.run("get", "persons", "P-000007", "--passphrase-file", "spare.txt", *CASE).code == 3
    assert "passphrase-1" in shell.run("key", "slots", *KIT).out


def test_misuse_is_told(shell):
    """The last slot, a slot that is not there, a slot without its secret, no right."""
    (shell.folder / "spare.txt").write_text("another horse\n")
    assert shell.run("key", "remove-slot", "passphrase-1", *KIT).code == 2
    assert shell.run("key", "remove-slot", "nobody", *KIT).code == 5
    assert shell.run("key", "turn", "--slot", "nobody=spare.txt", *KIT).code == 5
    assert shell.run("key", "turn", "--slot", "passphrase-1", *KIT).code == 2
    assert shell.run("key", "turn", "--slot", "passphrase-1=spare.txt", *KIT).code == 3
    assert shell.run("key", "turn", "--actor", "ada").code == 3
    assert shell.run("key", "slots", "--keys", "nowhere", *KIT).code == 5
    assert shell.run("key", "add-slot", "Spare", "--new-passphrase-file", "spare.txt", *KIT).code == 2
    assert shell.run("key", "add-slot", "hsm", "--new-token", "x", "--new-pin-file", "spare.txt", *KIT).code == 2
    assert [s["name"] for s in json.loads(shell.run("key", "slots", "--json", *KIT).out)] == ["passphrase-1"]


@needs_tokens
def test_a_room_on_two_tokens_opens_with_either(shell):
    """Made with one token, a second added; after the first is lost the second opens."""
    one, two = make_token(), make_token()
    (shell.folder / "pin").write_text(PIN + "\n")
    (shell.folder / "schema.toml").write_text(SCHEMA)
    (shell.folder / "policy.toml").write_text(POLICY)
    settings = 'room = "hsm-bucket"\nkeys = "hsm-keys"\npin_file = "pin"\npkcs11_module = "{}"\ntoken = "{}"\n'
    (shell.folder / "strongroom.toml").write_text(settings.format(MODULE, one.token))
    made = shell.run("create", "--schema", "schema.toml", "--policy", "policy.toml", "--token", one.token, "--pin-file", "pin")
    assert made.code == 0, made.err
    added = shell.run("key", "add-slot", "second", "--new-token", two.token, "--new-pin-file", "pin", *KIT)
    assert added.code == 0, added.err
    turned = shell.run("key", "turn", "--slot", "second=pin", *KIT)
    assert "erasures before it are final" in turned.err, turned.err
    delete_token(one)
    assert shell.run("key", "slots", *KIT).code == 6
    (shell.folder / "strongroom.toml").write_text(settings.format(MODULE, two.token))
    listed = shell.run("key", "slots", *KIT)
    assert listed.out.count("pkcs11") == 3


def test_a_slot_in_shares_opens_the_keymaster(shell):
    """Made without anybody seeing its passphrase; three shares piped on open it, two do not; a folder that is there stays."""
    made = shell.run("key", "add-shares", "board", "--out", "shares", "--actor", "kit")
    assert made.code == 0, made.err
    files = sorted((shell.folder / "shares").iterdir())
    assert len(files) == 5
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    words = [str(path) for path in files]
    passphrase = shell.run("key", "combine", *words[1:4])
    assert passphrase.code == 0
    assert passphrase.out.strip() not in made.out + made.err
    opened = shell.run("key", "slots", "--actor", "kit", "--passphrase-file", "-", stdin=passphrase.out.encode())
    assert opened.code == 0
    assert "board" in opened.out
    assert shell.run("key", "combine", *words[:2]).code == 3
    assert shell.run("key", "combine", "none.share", *words[:2]).code == 2
    assert shell.run("key", "add-shares", "other", "--out", "shares", "--actor", "kit").code == 7
    refused = shell.run("key", "add-shares", "third", "--out", "more", "--actor", "mei")
    assert refused.code == 3
    assert not (shell.folder / "more").exists()
    assert shell.run("key", "add-shares", "x", "--threshold", "1", "--out", "y", "--actor", "kit").code == 2
