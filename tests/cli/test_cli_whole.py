"""The command line as a new user meets it: results on stdout, errors on stderr, codes that say what to do next."""

import gzip
import json
import os
import pty
import re
import subprocess

import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from cli_kit import CASE, DELIVERY, KIT, ended, environment, settle
from small_room import PASSPHRASE, POLICY, SCHEMA, SmallRoom, person, persons

ERROR = re.compile(r"strongroom: error: [^A-Z].*[^.]")
HINT = re.compile(r"strongroom: hint: .*[^.]")
MOBILE = person(7)["mobile"]
CLERK_ONLY = """
[room]
budget = { day = 5 }
[roles.clerk]
may = ["put"]
put = { tables = ["people"], budget = { day = 500 } }
[actors.kit]
roles = ["clerk"]
"""


def told(result, code):
    """The command failed with this code: one error line, perhaps a hint, nothing on stdout."""
    assert result.code == code, result
    assert result.out == ""
    assert ERROR.fullmatch(result.lines[0]), result.err
    assert all(HINT.fullmatch(line) for line in result.lines[1:]), result.err
    assert len(result.lines) <= 2
    return result.lines[0]


# -- the README ---------------------------------------------------------------------------------


def test_the_readme_s_three_commands_run_word_for_word(project, tmp_path):
    """Create, put and find, copied from the README, with the settings file that the README shows."""
    readme = (project / "README.md").read_text(encoding="utf-8")
    block = readme.split("## The product in three commands")[1].split("```")[1]
    commands = [line for line in block.splitlines() if line.startswith("strongroom ")]
    assert [c.split()[1] for c in commands] == ["create", "put", "find"]
    settings = readme.split("```toml\n")[1].split("```")[0]
    (tmp_path / "strongroom.toml").write_text(settings + 'passphrase_file = "passphrase"\n', encoding="utf-8")
    (tmp_path / "passphrase").write_text("open sesame and more\n", encoding="utf-8")
    (tmp_path / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    (tmp_path / "policy.toml").write_text(POLICY, encoding="utf-8")
    pc.write_csv(persons(50), tmp_path / "persons.csv")
    for command in commands:
        said = f"{MOBILE}\n".encode()
        how = {"cwd": tmp_path, "env": environment(), "capture_output": True}
        done = subprocess.run(command, shell=True, input=said, check=False, **how)
        assert done.returncode == 0, done.stderr.decode()
    shown = done.stdout.decode()
    assert person(7)["address"] in shown
    assert MOBILE not in shown


# -- data on stdout, also for machines ----------------------------------------------------------


def test_find_takes_the_value_from_stdin_and_prints_json(shell):
    """`FIELD=-` reads one line; --json gives one list of records with what was withheld."""
    result = shell.run("find", "persons", "--where", "mobile=-", *DELIVERY, "--json", stdin=f" {MOBILE} \n".encode())
    assert (result.code, result.err) == (0, "")
    (record,) = json.loads(result.out)
    assert record["address"] == person(7)["address"]
    assert "ethnicity" in record["_withheld"]
    assert set(record) & set(record["_withheld"]) == set()


def test_several_values_and_fields_come_from_stdin_line_by_line(shell):
    """The same field again is or, another field is and; each `-` takes a line."""
    lines = f"{person(1)['mobile']}\n{person(2)['mobile']}\n".encode()
    both = shell.run("find", "persons", "--where", "mobile=-", "--where", "mobile=-", *CASE, "--json", stdin=lines)
    assert {r["person_id"] for r in json.loads(both.out)} == {"P-000001", "P-000002"}
    lines = f"{person(1)['mobile']}\n{person(2)['id_number']}\n".encode()
    none = shell.run("find", "persons", "--where", "mobile=-", "--where", "id_number=-", *CASE, "--json", stdin=lines)
    told(none, 5)


def test_a_line_says_when_there_may_be_more(shell):
    """As many records as --limit: stderr says that there may be more; stdout holds records only."""
    words = [w for n in range(3) for w in ("--where", f"mobile={person(n)['mobile']}")]
    result = shell.run("find", "persons", *words, *CASE, "--json", "--limit", "2")
    assert len(json.loads(result.out)) == 2
    assert "there may be more than 2" in result.err


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        (("get", "persons", "P-000007", *CASE), [{"person_id", "name", "mobile", "_withheld"}]),
        (("get", "parcels", "P-000007", *DELIVERY), [{"tracking", "goods", "_withheld"}]),
        (("log", *KIT), {"entries", "verified"}),
        (("check", *KIT), {"objects", "entries", "faults", "orphans", "log_entries"}),
        (("compact", *KIT), {"runs_before", "runs_after", "superseded", "removed"}),
        (("explain", "persons", "--actor", "mei", "--purpose", "delivery"), set()),
        (("rejects", *KIT), []),
        (("sql", "select sex, count(*) as n from persons group by sex", "--actor", "lin", "--purpose", "statistics",
          "--reason", "census"), [{"sex", "n"}]),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_json_shapes(shell, words, shape):
    """--json prints one document, with the names that a program looks for."""
    result = shell.run(*words, "--json")
    assert (result.code, result.err) == (0, "")
    document = json.loads(result.out)
    if isinstance(shape, list):
        assert isinstance(document, list)
        assert all(shape[0] <= set(row) for row in document)
        assert bool(document) == bool(shape)
    else:
        assert shape <= set(document)


def test_put_prints_its_receipt(shell):
    """Without --json a put writes nothing to stdout but the table of rejects; with it, one document."""
    pc.write_csv(persons(20, 900), shell.folder / "more.csv")
    plain = shell.run("put", "persons", "more.csv", *KIT)
    assert (plain.code, plain.out) == (0, "")
    assert plain.err.startswith("20 records put, 20 new subjects, snapshot ")
    again = shell.run("put", "persons", "more.csv", *KIT, "--again", "--json")
    receipt = json.loads(again.out)
    assert {k: receipt[k] for k in ("records", "new_subjects", "rejected", "reasons")} == {
        "records": 20, "new_subjects": 0, "rejected": 0, "reasons": [],
    }  # fmt: skip
    assert {"put_id", "snapshot", "leaf", "notes"} <= set(receipt)


def test_plain_log_schema_policy_and_explain_are_tables_and_text(shell):
    """The other verbs print text for people."""
    assert shell.run("log", *KIT, "--last", "1").out.count("\n") == 2
    assert "mobile" in shell.run("schema", *KIT).out
    assert "forbid" in shell.run("policy", *KIT).out
    assert "delivery" in shell.run("explain", "persons", "--actor", "mei").out
    checked = shell.run("check", *KIT)
    assert (checked.code, checked.out) == (0, "")
    assert "0 faults" in checked.err


def test_help_says_what_a_verb_takes(shell):
    """--help goes to stdout and is no error."""
    result = shell.run("put", "--help")
    assert (result.code, result.err) == (0, "")
    assert "--strict" in result.out


def test_a_draft_makes_a_room(shell):
    """From a file to a room: the drafted schema is accepted by create."""
    pc.write_csv(persons(200), shell.folder / "people.csv")
    drafted = shell.run("draft", "people.csv")
    assert (drafted.code, drafted.err) == (0, "")
    (shell.folder / "drafted.toml").write_text(drafted.out, encoding="utf-8")
    (shell.folder / "small.toml").write_text(CLERK_ONLY, encoding="utf-8")
    where = ("--room", "drafted", "--keys", "drafted-keys")
    made = shell.run("create", "--schema", "drafted.toml", "--policy", "small.toml", *where)
    assert made.code == 0, made.err
    assert shell.run("put", "people", "people.csv", *KIT, *where).code == 0


# -- rejects ------------------------------------------------------------------------------------


def test_records_that_do_not_fit_are_counted_listed_opened_and_refused_when_strict(shell):
    """A misfit is counted with its reason; `rejects` lists it, a purpose opens it, --strict refuses the file."""
    pc.write_csv(persons(3, 800), shell.folder / "bad.csv")
    with (shell.folder / "bad.csv").open("a", encoding="utf-8") as file:
        file.write(f",nobody,,{MOBILE},,,,1950\n")
    before = shell.head()
    line = told(shell.run("put", "persons", "bad.csv", *KIT, "--strict"), 2)
    assert "bad.csv" in line
    assert "person_id" in line
    assert shell.head() == before
    result = shell.run("put", "persons", "bad.csv", *KIT)
    assert result.code == 0
    assert "1 record did not fit" in result.err
    assert "person_id" in result.out
    listed = json.loads(shell.run("rejects", *KIT, "--json").out)
    assert [(row["field"], row["records"]) for row in listed] == [("person_id", 1)]
    assert MOBILE not in shell.run("rejects", *KIT).out
    opened = json.loads(shell.run("rejects", *CASE, "--json").out)
    assert opened[0]["record"]["name"] == "nobody"
    assert "nobody" in shell.run("rejects", *CASE).out
    told(shell.run("rejects", "--actor", "ada", "--purpose", "case-work"), 2)
    again = json.loads(shell.run("rejects", *KIT, "--re-put", "--json").out)
    assert (again["records"], again["rejected"]) == (0, 1)


def test_columns_that_the_table_lacks_are_named_or_refused_when_strict(shell):
    """The note names what was left out of files of either kind; --strict refuses it before anything is sealed."""
    wide = persons(3, 820).append_column("nickname", [["a", "b", "c"]]).append_column("fax", [["1", "2", "3"]])
    pc.write_csv(wide, shell.folder / "wide.csv")
    lines = [json.dumps({"person_id": f"P-83{n}", f"extra{n % 2}": n}) for n in range(4)]
    (shell.folder / "wide.jsonl").write_text("\n".join(lines), encoding="utf-8")
    before = shell.head()
    line = told(shell.run("put", "persons", "wide.csv", *KIT, "--strict"), 2)
    assert "wide.csv" in line
    assert line.endswith("has no field nickname, fax")
    assert told(shell.run("put", "persons", "wide.jsonl", *KIT, "--strict"), 2).endswith("no field extra0, extra1")
    assert shell.head() == before
    said = shell.run("put", "persons", "wide.csv", *KIT).err
    assert "left out, because table persons has no such field: nickname, fax\n" in said
    notes = json.loads(shell.run("put", "persons", "wide.jsonl", *KIT, "--json").out)["notes"]
    assert "left out, because table persons has no such field: extra0, extra1" in notes


def test_records_that_leave_fields_empty_over_known_persons_are_told(shell):
    """A file with fewer columns replaces whole records: the note names what became empty; for new persons nothing is lost."""
    narrow = persons(2, 5).select(["person_id", "name", "mobile"])
    pc.write_csv(narrow, shell.folder / "narrow.csv")
    told = "a record replaces the one before it whole, and none of these has a value in id_number, address, ethnicity"
    assert told in shell.run("put", "persons", "narrow.csv", *KIT).err
    pc.write_csv(persons(2, 5), shell.folder / "whole.csv")
    assert "replaces" not in shell.run("put", "persons", "whole.csv", *KIT).err
    pc.write_csv(persons(2, 900).select(["person_id", "name"]), shell.folder / "new.csv")
    assert "replaces" not in shell.run("put", "persons", "new.csv", *KIT).err


# -- what is refused, and how it is told --------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("find", "persons", "--where", "mobile={v}", "--actor", "mei", "--reason", "x"), 2),
        (("find", "persons", "--where", "{v}", *DELIVERY), 2),
        (("find", "persons", "{v}", "--where", "mobile={v}", *DELIVERY), 2),
        (("find", "persons", "--where", "mobile={v}", *DELIVERY, "--limit", "{v}"), 2),
        (("find", "persons", "--where", "mobile={v}", *DELIVERY, "--limit", "0"), 2),
        (("find", "persons", "--mobile={v}", *DELIVERY), 2),
        (("find", "persons", "--where"), 2),
        (("{v}",), 2),
        (("find", "persons", "--where", "mobile={v}", "--actor", "", "--purpose", "delivery", "--reason", "x"), 2),
        (("find", "persons", "--where", "mobile={v}", "--actor", "mei", "--purpose", "delivery", "--reason", ""), 2),
        (("find", "persons", "--where", "no_field={v}", *DELIVERY), (2, 5)),
        (("find", "no_table", "--where", "mobile={v}", *DELIVERY), (2, 5)),
        (("find", "persons", "--where", "mobile={v}\udcff", *DELIVERY), 2),
        (("get", "no_table", "{v}", *DELIVERY), (2, 5)),
        (("get", "persons", "-", *DELIVERY), 2),
        (("get", "persons", "{v}", *DELIVERY), 5),
        (("find", "persons", "--where", "mobile={v}", *DELIVERY, "--fields", "nothing"), (2, 3)),
        (("find", "persons", "--where", "mobile={v}", *DELIVERY, "--fields", "ethnicity"), 3),
        (("find", "persons", "--where", "id_number={v}", *DELIVERY), 3),
        (("find", "persons", "--where", "address={v}", *DELIVERY), 3),
        (("find", "persons", "--where", "ethnicity={v}", *CASE), 3),
        (("find", "cases", "--where", "charge={v}", *CASE), 3),
        (("find", "persons", "--where", "mobile={v}", "--actor", "ada", "--purpose", "delivery", "--reason", "x"), 3),
        (("find", "persons", "--where", "mobile={v}", "--actor", "who", *DELIVERY[2:]), 3),
        (("find", "persons", "--where", "mobile={v}", *DELIVERY[:3], "who", *DELIVERY[4:]), (2, 3, 5)),
        (("find", "persons", "--where", "mobile=13999999999", *DELIVERY), 5),
        (("find", "persons", "--where", "mobile={v}", "--where", "id_number=x{v}", *CASE), 5),
        (("sql", "select name from persons where mobile = '{v}'", "--actor", "lin", "--purpose", "statistics",
          "--reason", "x"), (2, 3)),
        (("sql", "select {v} from", "--actor", "lin", "--purpose", "statistics", "--reason", "x"), 2),
        (("put", "persons", "absent-{n}.csv", *KIT), 2),
        (("put", "no_table", "strongroom.toml", *KIT), (2, 5)),
        (("put", "persons", "strongroom.toml", *KIT), 2),
        (("put", "persons", "passphrase", "--actor", "mei"), 3),
        (("put", "persons", ".", *KIT), 2),
        (("put", "persons", "*.none", *KIT), 2),
        (("put", "persons", "passphrase", *KIT, "--format", "xml"), 2),
        (("log", "--actor", "mei"), 3),
        (("log", *KIT, "--last", "-1"), 2),
        (("check", "--actor", "mei"), 3),
        (("compact", "--actor", "mei"), 3),
        (("schema", *KIT, "--set", "passphrase"), 2),
        (("policy", *KIT, "--set", "passphrase"), 2),
        (("policy", *KIT, "--set", "absent"), 2),
        (("draft", "absent.csv"), 2),
    ],
    ids=lambda value: "-".join(value[:1]) if isinstance(value, tuple) and isinstance(value[0], str) else "",
)  # fmt: skip
def test_misuse_is_told_without_the_value(shell, words, code):
    """Each mistake has its exit code and its line, and no line holds the value that was looked for."""
    value = "13900055433"  # person 7: also a hit must not show
    assert value == MOBILE
    result = shell.run(*(word.format(v=value, n=1) for word in words))
    assert result.code in (code if isinstance(code, tuple) else (code,)), result
    told(result, result.code)
    assert value not in result.err
    assert PASSPHRASE not in result.err


def test_a_spent_budget_is_told(shell):
    """The twenty-first person in an hour is refused with exit code 3."""
    words = [w for n in range(15) for w in ("--where", f"mobile={person(n)['mobile']}")]
    assert shell.run("find", "persons", *words, *DELIVERY, "--limit", "50", "--json").code == 0
    words = [w for n in range(15, 30) for w in ("--where", f"mobile={person(n)['mobile']}")]
    line = told(shell.run("find", "persons", *words, *DELIVERY, "--limit", "50", "--json"), 3)
    assert "budget" in line


def change(path):
    """Change one bit in every 512 bytes of a file."""
    data = bytearray(path.read_bytes())
    for at in range(0, len(data), 512):
        data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_changed_object_is_an_integrity_error(shell):
    """Exit code 4: check names the object on stdout and fails; find stops."""
    files = sorted((p for p in shell.room.bucket.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    change(files[-1])
    checked = shell.run("check", *KIT)
    assert checked.code == 4
    assert "faults found" in checked.err or "fault found" in checked.err
    assert files[-1].name in checked.out
    for path in files[:-1]:
        change(path)
    told(shell.run("find", "persons", "--where", f"mobile={MOBILE}", *CASE), 4)


def test_a_missing_snapshot_is_an_integrity_error(shell):
    """An emptied bucket is not taken for a new one."""
    for path in shell.room.bucket.rglob("*"):
        if path.is_file():
            path.unlink()
    told(shell.run("log", *KIT), 4)


@pytest.mark.parametrize("option", ["--room", "--keys"])
@pytest.mark.parametrize("verb", ["find", "put"])
def test_a_room_that_is_not_there_is_not_made(shell, option, verb):
    """Exit code 5, and nothing appears on the disk."""
    rest = ("--where", f"mobile={MOBILE}", *CASE) if verb == "find" else ("passphrase", *KIT)
    line = told(shell.run(verb, "persons", *rest, option, "./absent"), 5)
    assert "./absent" in line
    assert not (shell.folder / "absent").exists()


def test_passphrases_that_do_not_open(shell):
    """A wrong one is refused with 3; a file that is absent or empty is a mistake in the call; so is none at all."""
    (shell.folder / "wrong").write_text("not this one\n", encoding="utf-8")
    (shell.folder / "empty").write_text("\n", encoding="utf-8")
    told(shell.run("log", *KIT, "--passphrase-file", "wrong"), 3)
    told(shell.run("log", *KIT, "--passphrase-file", "empty"), 2)
    told(shell.run("log", *KIT, "--passphrase-file", "absent"), 2)
    settings = (shell.folder / "strongroom.toml").read_text(encoding="utf-8")
    without = settings.replace('passphrase_file = "passphrase"', "")
    (shell.folder / "strongroom.toml").write_text(without, encoding="utf-8")
    told(ended(shell.start("log", *KIT)), 2)


@pytest.mark.parametrize("text", ["room = 3\n", 'purpose = "delivery"\n', "room = \n", ""])
def test_settings_that_cannot_be_are_told(shell, text):
    """strongroom.toml holds three settings, all text, and never a purpose."""
    (shell.folder / "strongroom.toml").write_text(text, encoding="utf-8")
    assert "strongroom.toml" in told(shell.run("log", *KIT), 2)


# -- create -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "policy", "code"),
    [
        (None, POLICY, 2),
        (SCHEMA, None, 2),
        ("tables = 3", POLICY, 2),
        ("[", POLICY, 2),
        (SCHEMA.replace('class = "contact"', 'class = "contakt"', 1), POLICY, 2),
        (SCHEMA.replace("low_cardinality = true", "find = true", 1), POLICY, 2),
        (SCHEMA, POLICY.replace('"get", "find"', '"gett"', 1), 2),
        (SCHEMA, POLICY.replace("persons = {", "people = {", 1), 2),
    ],
)
def test_create_with_a_wrong_file_can_be_run_again(shell, schema, policy, code):
    """A wrong schema or policy is told with its place; after correction the same command works."""
    for name, text in (("schema.toml", schema), ("policy.toml", policy)):
        if text is not None:
            (shell.folder / name).write_text(text, encoding="utf-8")
    create = ("create", "--schema", "schema.toml", "--policy", "policy.toml", "--room", "new", "--keys", "new-keys")
    told(shell.run(*create), code)
    (shell.folder / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    (shell.folder / "policy.toml").write_text(POLICY, encoding="utf-8")
    made = shell.run(*create)
    assert (made.code, made.out) == (0, ""), made.err
    told(shell.run(*create), 7)


def test_create_looks_at_both_places_before_it_makes_anything(shell):
    """A folder that is in use, or one inside the other, is refused and no keymaster is left behind."""
    (shell.folder / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    (shell.folder / "policy.toml").write_text(POLICY, encoding="utf-8")
    (shell.folder / "used").mkdir()
    (shell.folder / "used" / "letter").write_text("x", encoding="utf-8")
    create = ("create", "--schema", "schema.toml", "--policy", "policy.toml")
    told(shell.run(*create, "--room", "used", "--keys", "k"), 7)
    told(shell.run(*create, "--room", "k", "--keys", "k"), 2)
    told(shell.run(*create, "--room", "k", "--keys", "k/keys"), 2)
    told(shell.run(*create, "--room", "k/room", "--keys", "k"), 2)
    told(shell.run(*create, "--room", "a/b/room", "--keys", "k"), 5)
    assert not (shell.folder / "k").exists()


# -- put of files that are not what they claim --------------------------------------------------


def test_files_cut_short_are_refused_and_the_room_stays(shell):
    """A gzip or Parquet file that was cut, an empty file: exit code 2, no snapshot, no object."""
    table = persons(3_000, 1_000)
    pq.write_table(table, shell.folder / "whole.parquet")
    whole = (shell.folder / "whole.parquet").read_bytes()
    (shell.folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    pc.write_csv(table, shell.folder / "whole.csv")
    packed = gzip.compress((shell.folder / "whole.csv").read_bytes())
    (shell.folder / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    (shell.folder / "empty.csv").write_bytes(b"")
    (shell.folder / "half.jsonl").write_text('{"person_id": "P-1", "na', encoding="utf-8")
    head, objects = shell.head(), shell.objects()
    for name in ("cut.parquet", "cut.csv.gz", "empty.csv"):
        assert name in told(shell.run("put", "persons", name, *KIT), 2)
    told(shell.run("put", "persons", "half.jsonl", *KIT, "--strict"), 2)
    assert (shell.head(), shell.objects()) == (head, objects)
    assert list((shell.room.bucket / ".tmp").iterdir()) == []


def test_a_file_of_a_header_only_puts_no_record_as_often_as_it_comes(shell):
    """No row is no mistake: the receipt says 0 records, and again when the same file is put again."""
    (shell.folder / "header.csv").write_text(",".join(person(0)) + "\n", encoding="utf-8")
    for _ in range(2):
        result = shell.run("put", "persons", "header.csv", *KIT)
        assert result.code == 0
        assert result.err.startswith("0 records put")


def test_a_second_put_of_the_same_file_is_noticed(shell):
    """Exit code 7, whatever the file is called now; --again puts it."""
    pc.write_csv(persons(5, 700), shell.folder / "a.csv")
    (shell.folder / "b.csv").write_bytes((shell.folder / "a.csv").read_bytes())
    assert shell.run("put", "persons", "a.csv", *KIT).code == 0
    told(shell.run("put", "persons", "a.csv", *KIT), 7)
    told(shell.run("put", "persons", "b.csv", *KIT), 7)
    assert shell.run("put", "persons", "b.csv", *KIT, "--again").code == 0


# -- the terminal -------------------------------------------------------------------------------


def on_a_terminal(shell, *words):
    """Run with stdout as a terminal; returns exit code, what the terminal showed, and stderr."""
    ours, theirs = pty.openpty()
    process = shell.start(*words, stdout=theirs)
    os.close(theirs)
    process.stdin.close()
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    err = process.stderr.read().decode()
    process.stderr.close()
    return process.wait(60), shown.decode(), err


def test_values_are_hidden_on_a_terminal_unless_shown(shell):
    """Names of fields only; --show prints the values; --json is refused without it, before anything is charged."""
    find = ("find", "persons", "--where", f"mobile={MOBILE}", *CASE)
    code, shown, _ = on_a_terminal(shell, *find)
    assert code == 0
    assert "address" in shown
    assert not any(str(v) in shown for v in person(7).values() if v is not None)
    code, shown, _ = on_a_terminal(shell, *find, "--show")
    assert code == 0
    assert person(7)["address"] in shown
    code, shown, err = on_a_terminal(shell, *find, "--json")
    assert (code, shown) == (2, "")
    assert "--show" in err
    code, shown, err = on_a_terminal(shell, "rejects", *CASE, "--json")
    assert (code, shown) == (2, "")
    code, shown, _ = on_a_terminal(shell, *find, "--json", "--show")
    assert code == 0
    assert json.loads(shown)[0]["address"] == person(7)["address"]


def test_a_draft_without_a_room_needs_no_settings(tmp_path, shell):
    """`draft` asks for no room, no keymaster and no passphrase."""
    (shell.folder / "strongroom.toml").unlink()
    pc.write_csv(persons(20), shell.folder / "people.csv")
    assert shell.run("draft", "people.csv").code == 0


def test_options_go_before_the_settings_file(shell, filled_template, tmp_path):
    """--room and --keys name another room than strongroom.toml does."""
    other = filled_template.copy_to(tmp_path / "other")
    pc.write_csv(persons(5, 600), shell.folder / "a.csv")
    before = shell.head()
    assert shell.run("put", "persons", "a.csv", *KIT, "--room", str(other.bucket), "--keys", str(other.keys)).code == 0
    assert shell.head() == before
    settle(shell.folder, SmallRoom(other.folder))
    assert shell.run("find", "persons", "--where", f"mobile={person(602)['mobile']}", *CASE).code == 0
