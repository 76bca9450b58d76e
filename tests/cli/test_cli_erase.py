"""Erasing, holding and verifying from the command line: what is shown, what is asked, what is refused."""

import json
import os
import pty

import pytest
from cli_kit import CASE, KIT
from small_room import SCHEMA

ERASE = ("erase", *KIT, "--reason", "request 12")
GONE = "P-000007"


def told(result, code):
    """The command failed with this code and wrote nothing to stdout."""
    assert result.code == code, result
    assert result.out == ""
    return next(line for line in result.lines if line.startswith("strongroom: error: "))


def test_the_plan_is_shown_and_the_receipt_written_and_verified_offline(shell):
    """Tables and counts, no values; then a receipt that verifies with the public key alone, in a folder without a room."""
    done = shell.run(*ERASE, GONE, "--confirm", GONE)
    assert done.code == 0, done
    assert "to erase: 1 subject; held: 0; erased before: 0" in done.err
    assert "persons 1 record, parcels 2 records, cases 1 record" in done.err
    assert "in force" in done.err
    (path,) = shell.folder.glob("erasure-*.json")
    key = shell.run("log", "--public-key", *KIT).out
    (shell.folder / "log.key").write_text(key, encoding="utf-8")
    (shell.folder / "strongroom.toml").unlink()
    good = shell.run("verify", path.name, "--key", "log.key", "--json")
    assert json.loads(good.out)["persons"] == 1
    assert shell.run("verify", path.name, "--key", key.strip()).code == 0
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"persons": 1', '"persons": 2'), encoding="utf-8")
    told(shell.run("verify", path.name, "--key", "log.key"), 4)
    told(shell.run("verify", path.name, "--key", "strongroom/x+00000000+AAAA"), 2)
    told(shell.run("verify", "nothing.json", "--key", "log.key"), 2)
    absent = told(shell.run("verify", path.name, "--key", "none.key"), 2)
    assert absent.endswith("none.key is no file, and no public key of a log")


def test_an_erased_subject_is_not_found_and_erasing_again_is_a_conflict(shell):
    """Exit 5 for a reader and for an unknown subject, 7 for one that is erased already, with the way to the receipt."""
    assert shell.run(*ERASE, GONE, "--confirm", GONE, "--out", "r.json").code == 0
    told(shell.run("get", "persons", GONE, *CASE), 5)
    told(shell.run(*ERASE, "P-999999", "--confirm", "P-999999"), 5)
    again = shell.run(*ERASE, GONE, "--confirm", GONE)
    assert "erased already" in told(again, 7)
    leaf = again.lines[-1].split("--receipt ")[1].split("`")[0]
    anew = shell.run("erase", "--receipt", leaf, *KIT, "--json")
    assert json.loads(anew.out)["persons"] == 1


@pytest.mark.parametrize(
    "words",
    [
        (),
        (GONE,),
        (GONE, "--confirm", "P-000008"),
        (GONE, "--file", "many.txt"),
        ("--file", "nothing.txt"),
        ("--file", "many.txt", "--confirm", "4"),
    ],
)
def test_without_the_id_again_nobody_is_erased(shell, words):
    """No terminal and no --confirm, another id, another count, two ways at once: a usage error, and all are there."""
    (shell.folder / "many.txt").write_text("P-000001\n\nP-000002\nP-000001\n", encoding="utf-8")
    told(shell.run(*ERASE, *words), 2)
    assert shell.run("get", "persons", GONE, *CASE, "--json").code == 0
    assert not list(shell.folder.glob("erasure-*.json"))


def test_many_at_once_from_a_file_and_an_id_from_stdin(shell):
    """Each line a subject, the count confirmed; an id on stdin stays out of the shell's history."""
    (shell.folder / "many.txt").write_text("P-000001\n\nP-000002\nP-000001\n", encoding="utf-8")
    done = shell.run(*ERASE, "--file", "many.txt", "--confirm", "2", "--json")
    assert json.loads(done.out)["persons"] == 2
    one = shell.run(*ERASE, "-", "--confirm", GONE, "--json", stdin=f"{GONE}\n".encode())
    assert json.loads(one.out)["persons"] == 1
    mixed = shell.run(*ERASE, "--file", "many.txt", "--confirm", "2")
    assert "erased already" in told(mixed, 7)


def test_the_id_is_asked_for_on_the_terminal(shell):
    """Typed again, the subject goes; typed otherwise, nobody does."""
    for typed, code in (("P-000008", 2), (GONE, 0)):
        main, side = pty.openpty()
        words = [*ERASE, GONE, "--out", "r.json"]
        process = shell.start(*words, stdin=side, preexec_fn=lambda side=side: _own(side))
        os.close(side)
        os.write(main, f"{typed}\n".encode())
        out, err = process.communicate(timeout=120)
        os.close(main)
        assert process.returncode == code, err
        assert (b"does not agree" in err) == (code == 2)
        assert out == b""


def _own(side):
    import fcntl
    import termios

    fcntl.ioctl(side, termios.TIOCSCTTY, 0)


def test_a_hold_is_lifted_by_a_second_person(shell):
    """A held subject is refused with a hint; another person lifts the hold; then it goes."""
    assert shell.run("hold", GONE, *KIT, "--reason", "suit 4").code == 0
    held = shell.run(*ERASE, GONE, "--confirm", GONE)
    assert "legal hold" in told(held, 3)
    told(shell.run("unhold", GONE, *KIT, "--reason", "over"), 3)
    assert shell.run("unhold", GONE, "--actor", "nan", "--reason", "over").code == 0
    assert shell.run(*ERASE, GONE, "--confirm", GONE).code == 0


def test_retention_is_counted_by_table_before_it_is_kept(shell):
    """A dry run under a schema that is not in force, and under the one that is."""
    assert "no table has a retention" in shell.run("retention", *KIT).err
    text = SCHEMA.replace("district  =", 'sent = { type = "date", class = "open" }\ndistrict  =')
    text = text.replace("[tables.parcels]\n", '[tables.parcels]\nretention = { days = 9, by = "sent" }\n')
    (shell.folder / "new.toml").write_text(text, encoding="utf-8")
    counts = shell.run("retention", "--schema", "new.toml", *KIT, "--json")
    assert json.loads(counts.out) == [{"table": "parcels", "days": 9, "by": "sent", "records": 600, "expired": 0}]
    assert shell.run("schema", "--set", "new.toml", *KIT).code == 0
    assert shell.run("retention", *KIT).out.splitlines()[1].split() == ["parcels", "9", "sent", "600", "0"]


def test_a_retention_that_would_empty_a_table_needs_its_name(shell, monkeypatch):
    """Every record of a table expired under the proposed schema: a conflict, unless --confirm names the table."""
    from strongroom.keymaster.erasures.dead import Dead

    text = SCHEMA.replace("[tables.cases]\n", '[tables.cases]\nretention = { days = 1, by = "put" }\n')
    (shell.folder / "new.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(Dead, "horizon", lambda *_a: 1 << 40)
    assert "42 records" in told(shell.run("schema", "--set", "new.toml", *KIT), 7)
    told(shell.run("schema", "--set", "new.toml", *KIT, "--confirm", "persons"), 7)
    assert shell.run("schema", "--set", "new.toml", *KIT, "--confirm", "cases").code == 0
