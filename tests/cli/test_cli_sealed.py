"""`keymaster serve --sealed`, `open` and `seal` from the command line."""

import contextlib
import os
import pty
import re
import signal
import sys
import time

import pytest
import urllib3
from cli_kit import CASE, KIT, ended, environment, settle
from small_room import PASSPHRASE
from token_kit import MODULE, PIN, delete_token, make_token, needs_tokens

from strongroom.keyserver import gate


@pytest.fixture
def sealed(shell, monkeypatch):
    """A shell whose keymaster is served sealed, by a process of its own."""
    monkeypatch.setattr(gate, "OPEN_SECONDS", 0.1)
    assert shell.run("actor", "add", "ada", "--out", "ada.credential", *KIT).code == 0
    process, url = serve(shell, "--sealed")
    yield shell, process, url
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()


def serve(shell, *words):
    """Start a sealed server; returns when it answers."""
    process = shell.start("keymaster", "serve", "--listen", "127.0.0.1:0", *words)
    url = told(process, r"sealed: serving at (\S+); `strongroom keymaster open` opens it")
    for _ in range(400):
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            assert urllib3.request("GET", url, retries=False).status == 503
            break
        time.sleep(0.02)
    return process, url


def told(process, pattern):
    line = process.stderr.readline().decode().strip()
    found = re.fullmatch(pattern, line)
    assert found, line
    return found[1] if found.groups() else line


def away(shell, url):
    (shell.folder / "strongroom.toml").write_text(
        f'room = "{shell.room.bucket}"\nkeys = "{url}"\ncredential = "ada.credential"\n'
    )


def reads(shell, url):
    away(shell, url)
    found = shell.run("get", "persons", "-", *CASE, "--json", stdin=b"P-000007\n")
    settle(shell.folder, shell.room)
    return found


def test_opened_read_and_sealed(sealed):
    """Sealed, nothing is answered; opened by the passphrase's file it is; sealed again not; it ends clean."""
    shell, process, url = sealed
    refused = reads(shell, url)
    assert refused.code == 6
    assert "sealed" in refused.err
    wrong = shell.folder / "wrong"
    wrong.write_text("not it\n")
    first = shell.run("keymaster", "open", "--passphrase-file", "wrong")
    assert (first.code, "does not open" in first.err) == (3, True)
    opened = shell.run("keymaster", "open")
    assert opened.code == 0, opened.err
    assert re.search(r"room [0-9a-f]{32} is open", opened.err)
    told(process, r"room [0-9a-f]{32}: opened by passphrase")
    assert reads(shell, url).code == 0
    assert shell.run("keymaster", "open").code == 7
    assert shell.run("keymaster", "seal").code == 0
    assert reads(shell, url).code == 6
    assert shell.run("keymaster", "seal").code == 7
    process.send_signal(signal.SIGTERM)
    done = ended(process)
    assert done.code == 0
    assert PASSPHRASE not in done.err + done.out
    assert shell.run("keymaster", "open").code == 6
    assert not (shell.room.keys / "open.sock").exists()


def test_opened_by_shares_of_several_people(shell):
    """Two of three, each with a command of their own; then both at once after a restart."""
    made = shell.run("key", "add-shares", "board", "--threshold", "2", "--shares", "3", "--out", "shares", *KIT)
    assert made.code == 0, made.err
    for each_alone in (True, False):
        process, _url = serve(shell, "--sealed", "--socket", "own.sock")
        files = ["shares/board-1.share", "shares/board-3.share"]
        words = ("keymaster", "open", "--socket", "own.sock")
        if each_alone:
            waits = shell.run(*words, "--share", files[0])
            assert (waits.code, "1 share of 2" in waits.err) == (0, True)
            done = shell.run(*words, "--share", files[1])
        else:
            done = shell.run(*words, "--share", files[0], "--share", files[1])
        assert done.code == 0, done.err
        assert "is open" in done.err
        process.send_signal(signal.SIGTERM)
        assert ended(process).code == 0


def test_typed_on_a_terminal(sealed):
    """Shares one after the other, then a passphrase after it was sealed again: what is typed is not shown."""
    shell, _process, _url = sealed
    assert shell.run("key", "add-shares", "board", "--threshold", "2", "--shares", "2", "--out", "shares", *KIT).code == 0
    words = [path.read_text().strip() for path in sorted((shell.folder / "shares").iterdir())]
    (shell.folder / "strongroom.toml").write_text(f'room = "{shell.room.bucket}"\nkeys = "{shell.room.keys}"\n')
    code, shown = typed(shell, ["open", "--shares"], words)
    assert code == 0, shown
    assert "1 share of 2: still sealed" in shown
    assert "is open" in shown
    assert not any(word in shown for word in words)
    assert shell.run("keymaster", "seal").code == 0
    code, shown = typed(shell, ["open"], [PASSPHRASE])
    assert (code, PASSPHRASE in shown) == (0, False)


def typed(shell, verb, lines):
    """What a command shows and how it ends when somebody types lines at its prompts, on a terminal of its own."""
    child, terminal = pty.fork()
    if child == 0:
        try:
            os.chdir(shell.folder)
            os.execve(sys.executable, [sys.executable, "-m", "strongroom.cli", "keymaster", *verb], environment())
        finally:
            os._exit(127)
    shown = b""
    with contextlib.suppress(OSError):
        for line in lines:
            while not shown.endswith(b": "):
                shown += os.read(terminal, 1000)
            os.write(terminal, line.encode() + b"\n")
            shown += b"\n"
        while part := os.read(terminal, 1000):
            shown += part
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


def test_without_anything_that_opens_it_it_starts_sealed(shell):
    """No passphrase file, no terminal to ask on: a service of the system waits for its operator."""
    (shell.folder / "strongroom.toml").write_text(f'room = "{shell.room.bucket}"\nkeys = "{shell.room.keys}"\n')
    process, _url = serve(shell)
    assert shell.run("keymaster", "open", "--passphrase-file", "passphrase").code == 0
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    assert (shell.room.keys / "open.sock").exists()
    process, _url = serve(shell)
    process.send_signal(signal.SIGTERM)
    assert ended(process).code == 0


def test_wrong_ways_to_open(shell):
    """Nobody there, two ways at once, another host's keymaster, a folder without one."""
    assert shell.run("keymaster", "open").code == 6
    assert shell.run("keymaster", "open", "--pin", "--shares").code == 2
    assert shell.run("keymaster", "seal", "--keys", "https://keys.example").code == 2
    assert shell.run("keymaster", "serve", "--sealed", "--keys", "nowhere").code == 5
    (shell.folder / "empty").mkdir()
    assert shell.run("keymaster", "serve", "--sealed", "--keys", "empty").code == 5


@needs_tokens
def test_opened_by_the_token(shell):
    """A token whose PIN is in a file opens a sealed keymaster by itself."""
    keeper = make_token()
    (shell.folder / "pin").write_text(PIN + "\n")
    added = shell.run(
        "key", "add-slot", "hsm", "--new-token", keeper.token, "--new-pin-file", "pin", "--pkcs11-module", MODULE, *KIT
    )
    assert added.code == 0, added.err
    (shell.folder / "strongroom.toml").write_text(
        f'room = "{shell.room.bucket}"\nkeys = "{shell.room.keys}"\ntoken = "{keeper.token}"\n'
        f'pkcs11_module = "{MODULE}"\npin_file = "pin"\n'
    )
    process = shell.start("keymaster", "serve", "--sealed", "--listen", "127.0.0.1:0")
    told(process, r"sealed: .*")
    told(process, r"room [0-9a-f]{32}: opened by the token")
    assert shell.run("keymaster", "seal").code == 0
    assert shell.run("keymaster", "open", "--pin-file", "pin").code == 0
    process.send_signal(signal.SIGTERM)
    assert ended(process).code == 0
    delete_token(keeper)
