"""Puts that are cut short, starved of disk, or made at the same time: the room is as it was, or holds all of it."""

import contextlib
import io
import json
import os
import resource
import signal
import sqlite3
import time

import pyarrow.csv as pc
import pytest
from cli_kit import CASE, KIT, ended
from small_room import person, persons

KNOWN = 1_000
HELD = 440_000  # so many lines that the first batches are sealed while the last are still awaited
FILE_BYTES_MAX = 256 << 10


def csv_bytes(count, start):
    """A CSV file of made-up persons."""
    out = io.BytesIO()
    pc.write_csv(persons(count, start), out)
    return out.getvalue()


def long_csv():
    """KNOWN persons, and lines for the rest of HELD that cost no time to make."""
    lines = "".join(f"Q-{n:06d},某人,,,某街{n}号某栋某单元某室,,女,1980\n" for n in range(HELD - KNOWN))
    return csv_bytes(KNOWN, 10_000) + lines.encode()


def lease_states(shell):
    """Every lease of the keymaster and whether it is open."""
    with sqlite3.connect(f"file:{shell.room.keys / 'keymaster.db'}?mode=ro", uri=True) as database:
        return [state for (state,) in database.execute("SELECT state FROM lease")]


def batches(shell):
    """How many batches were minted so far."""
    with sqlite3.connect(f"file:{shell.room.keys / 'keymaster.db'}?mode=ro", uri=True) as database:
        return database.execute("SELECT count(*) FROM batch").fetchone()[0]


def key_pages(shell):
    """Objects of the key store: the first that a put leaves behind it."""
    return [p for p in (shell.room.keys / "pages").rglob("*") if p.is_file() and ".tmp" not in p.parts]


def put_in_the_middle(shell, *more):
    """A put from stdin that has sealed a part and waits for the rest."""
    before, leases, pages = batches(shell), len(lease_states(shell)), len(key_pages(shell))
    process = shell.start("put", "persons", "-", "--format", "csv", *KIT, *more)
    process.stdin.write(long_csv())
    process.stdin.flush()
    until = time.monotonic() + 300
    while batches(shell) == before or len(lease_states(shell)) == leases or len(key_pages(shell)) == pages:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


def found(shell, number):
    """Whether a person is in the room."""
    return shell.run("find", "persons", "--where", f"mobile={person(number)['mobile']}", *CASE).code == 0


def clean(shell):
    """`check` finds no fault; returns how many objects nothing names."""
    result = shell.run("check", *KIT, "--json")
    assert result.code == 0, result.err
    return len(json.loads(result.out)["orphans"])


def test_ctrl_c_in_the_middle_of_a_put_leaves_the_room_as_it_was(shell):
    """SIGINT: exit code 130, one line, no object, no temporary file, and the lease has ended."""
    head, objects, leases = shell.head(), shell.objects(), lease_states(shell)
    process = put_in_the_middle(shell)
    process.send_signal(signal.SIGINT)
    process.wait(300)  # the pipe stays open: whoever feeds it may never write again; the first put compiles kernels
    result = ended(process, 30)
    assert result.code == 130, result
    assert result.out == ""
    assert [line for line in result.lines if line] == ["strongroom: error: interrupted; nothing is half done, and what was charged stays charged"]
    assert (shell.head(), shell.objects()) == (head, objects)
    assert list((shell.room.bucket / ".tmp").iterdir()) == []
    ours = list(lease_states(shell))
    for state in leases:
        ours.remove(state)
    assert "open" not in ours
    last = json.loads(shell.run("log", *KIT, "--json").out)["entries"]
    assert "abandon" in [entry["act"] for entry in last]
    assert clean(shell) == 0
    assert not found(shell, 10_005)


def test_a_put_that_is_killed_leaves_the_room_as_it_was(shell):
    """SIGKILL: nothing of it is found, nothing is at fault, and the same file can be put."""
    head = shell.head()
    process = put_in_the_middle(shell)
    process.kill()
    process.wait(30)
    for pipe in (process.stdout, process.stderr):
        pipe.close()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    assert shell.head() == head
    clean(shell)
    assert not found(shell, 10_005)
    (shell.folder / "same.csv").write_bytes(csv_bytes(1_000, 10_000))
    assert shell.run("put", "persons", "same.csv", *KIT).code == 0
    assert found(shell, 10_005)


def test_two_processes_that_put_at_the_same_time_both_commit(shell):
    """The loser of the race lays its records on the newer snapshot."""
    head = shell.head()
    starts = (20_000, 60_000)
    for start in starts:
        (shell.folder / f"{start}.csv").write_bytes(csv_bytes(3_000, start))
    running = [shell.start("put", "persons", f"{start}.csv", *KIT, "--json") for start in starts]
    results = [ended(process) for process in running]
    assert [r.code for r in results] == [0, 0], results
    assert {json.loads(r.out)["snapshot"] for r in results} == {head + 1, head + 2}
    assert shell.head() == head + 2
    assert all(found(shell, start + 2_999) for start in starts)
    assert clean(shell) == 0


def test_a_put_commits_while_another_is_in_the_middle(shell):
    """A long put does not hold up a short one, nor lose its own records."""
    process = put_in_the_middle(shell, "--json")
    (shell.folder / "short.csv").write_bytes(csv_bytes(10, 5_000))
    assert shell.run("put", "persons", "short.csv", *KIT).code == 0
    result = ended(process)
    assert result.code == 0, result.err
    assert json.loads(result.out)["records"] == HELD
    assert found(shell, 5_005)
    assert found(shell, 10_000 + KNOWN - 1)


def small_files():
    """No file of this process may grow beyond FILE_BYTES_MAX: writing fails as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on file sizes here")
def test_a_full_disk_is_told_and_the_room_is_as_it_was(shell):
    """Exit code 6 with one clear line; with room on the disk the same put works."""
    head, objects = shell.head(), shell.objects()
    (shell.folder / "large.csv").write_bytes(csv_bytes(40_000, 10_000))
    result = ended(shell.start("put", "persons", "large.csv", *KIT, preexec_fn=small_files))
    assert result.code == 6, result
    assert result.out == ""
    assert result.lines[0].startswith("strongroom: error: ")
    assert "Traceback" not in result.err
    assert person(10_005)["mobile"] not in result.err
    assert (shell.head(), shell.objects()) == (head, objects)
    assert list((shell.room.bucket / ".tmp").iterdir()) == []
    assert clean(shell) == 0
    assert shell.run("put", "persons", "large.csv", *KIT).code == 0
    assert found(shell, 10_005)


def test_output_that_nobody_reads_is_no_defect(shell):
    """`strongroom log | head`: no traceback when the reader leaves."""
    reader, writer = os.pipe()
    os.close(reader)
    process = shell.start("log", *KIT, "--last", "500", stdout=writer)
    os.close(writer)
    process.stdin.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    process.wait(60)
    assert "Traceback" not in err
    assert "defect" not in err
