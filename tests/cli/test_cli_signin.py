"""Signing in from the command line: at an OpenID provider's page, on another device, and with a passkey in a browser."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import browser_kit
import pytest
from cli_kit import CASE, KIT, ended, free_port
from signin_kit import CLIENT, Issuer
from test_cli_served import serving  # noqa: F401  a fixture


@pytest.fixture
def desk(serving, monkeypatch):  # noqa: F811
    """A shell beside a served keymaster, whose settings name server and room, and nobody's credential."""
    shell, _process, url, room_id = serving
    runtime = shell.folder / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    settings = shell.folder / "strongroom.toml"
    own, away = settings.read_text(), f'room = "{shell.room.bucket}"\nkeys = "{url}"\nroom_id = "{room_id}"\n'
    settings.write_text(away)

    def person(*words):
        settings.write_text(own)
        done = shell.run("actor", "add", *words, *KIT)
        settings.write_text(away)
        return done

    shell.let_in = person
    return shell


@pytest.fixture
def provider():
    """An OpenID provider in a process of its own (oidc-provider-mock); its URL."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for _ in range(3):  # somebody else may be faster on a port that was free
        port = free_port()
        process = subprocess.Popen([sys.executable, "-m", "oidc_provider_mock", "--port", str(port)], **quiet)
        url = f"http://127.0.0.1:{port}"
        try:
            if answers(process, f"{url}/.well-known/openid-configuration"):
                yield url
                return
        finally:
            process.terminate()
            process.wait(20)
    pytest.fail("the provider does not answer")


def answers(process, url, seconds=60.0):
    """Whether a process answers there before it ends, or the time does."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return process.poll() is None
    return False


def credential_of(shell):
    (path,) = (shell.folder / "run" / "strongroom").iterdir()
    return path


def reads(shell):
    return shell.run("get", "persons", "-", *CASE, "--json", stdin=b"P-000007\n")


def test_in_the_browser_at_a_provider(desk, provider, monkeypatch):
    """Let in by name, signed in at the provider's page, read, signed out: the credential is the owner's alone, and gone then."""
    person = ("ada", "--issuer", provider, "--client-id", CLIENT, "--value", "u-77", "--hours", "2")
    added = desk.let_in(*person)
    assert added.code == 0, added.err
    assert "ada signs in by sub of" in added.err
    assert reads(desk).code == 2
    (desk.folder / "client").write_text("that this provider insists on\n")
    client = ("--issuer", provider, "--client-id", CLIENT, "--client-secret-file", "client")
    monkeypatch.setenv("BROWSER", browser_kit.browser("issuer", "u-77"))
    done = ended(desk.start("signin", *client))
    assert done.code == 0, done.err
    assert "signed in as ada until" in done.err
    path = credential_of(desk)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    seed = json.loads(path.read_text())["seed"]
    assert seed not in done.err + done.out
    assert reads(desk).code == 0
    assert desk.run("signout").code == 0
    assert not path.exists()
    assert desk.run("signout").code == 5
    again = ended(desk.start("signin", *client, "--out", "mine.credential"))
    assert again.code == 0, again.err
    monkeypatch.setenv("STRONGROOM_CREDENTIAL", "mine.credential")
    assert reads(desk).code == 0
    monkeypatch.setenv("BROWSER", browser_kit.browser("issuer", "u-78"))
    other = ended(desk.start("signin", *client, "--out", "other.credential"))
    assert other.code == 3
    assert "not signed in" in other.err
    assert "its log does" in other.err
    assert not (desk.folder / "other.credential").exists()


def test_on_another_device(desk, monkeypatch):
    """A code to enter elsewhere; the settings may name issuer and client; who declines is not signed in."""
    with Issuer("u-5") as issuer:
        person = ("mei", "--issuer", issuer.url, "--client-id", CLIENT, "--value", "u-5")
        assert desk.let_in(*person).code == 0
        assert desk.let_in("kit", "--out", "kit.credential").code == 0
        settings = desk.folder / "strongroom.toml"
        settings.write_text(settings.read_text() + f'issuer = "{issuer.url}"\nclient_id = "{CLIENT}"\n')
        done = desk.run("signin", "--device")
        assert done.code == 0, done.err
        assert "enter WDJB-MJHT" in done.err
        assert "signed in as mei" in done.err
        monkeypatch.setenv("STRONGROOM_CREDENTIAL", "kit.credential")
        words = ("lin", "--issuer", issuer.url, "--client-id", CLIENT, "--value", "u-6", "--purpose", "statistics")
        asked = desk.run("actor", "add", *words, *KIT)
        waits = desk.run("approve", *KIT).out
        ident = waits.splitlines()[1].split()[0]
        assert asked.err == f"asked: another person who may `actors` runs `strongroom approve {ident}`\n"
        assert f"lin signs in by {issuer.url} {CLIENT}, sub u-6; for 90 days, 8 hours each time; from anywhere; statistics" in waits
        assert "sub u-5" in desk.run("actor", "list", *KIT).out
        monkeypatch.delenv("STRONGROOM_CREDENTIAL")
        issuer.approves_device = False
        assert desk.run("signin", "--device").code == 3
        listed = desk.run("log", "--actor", "mei", "--mine", "--json")
        assert listed.code == 0, listed.err
        assert [e for e in json.loads(listed.out)["entries"] if e["act"] == "sign-in"]


@pytest.mark.skipif(bool(browser_kit.missing()), reason=browser_kit.missing())
def test_with_a_passkey_in_a_browser(desk, tmp_path, monkeypatch):
    """Made in Chromium, let in by its line, used twice; its page's address keeps no secret, and ending it ends its sessions."""
    store = tmp_path / "passkeys.json"
    monkeypatch.setenv("BROWSER", browser_kit.browser("passkey", store))
    port = str(free_port())
    made = ended(desk.start("actor", "passkey", "ada", "--port", port, "--attestation", "direct"))
    assert made.code == 0, made.err
    line = made.out.strip()
    assert line.startswith("srp1:ada:")
    added = desk.let_in("ada", "--line", line, "--hours", "1")
    assert added.code == 0, added.err
    for _ in range(2):
        done = ended(desk.start("signin", "--passkey", "--port", port))
        assert done.code == 0, done.err
        assert "signed in as ada" in done.err
        assert f"('You can close this page and go back to the terminal.', 'http://localhost:{port}/')" in done.err
    assert reads(desk).code == 0
    (known,) = json.loads(store.read_text())
    assert known["signCount"] >= 2
    assert desk.let_in("kit", "--out", "kit.credential").code == 0
    monkeypatch.setenv("STRONGROOM_CREDENTIAL", "kit.credential")
    listed = json.loads(desk.run("actor", "list", *KIT, "--json").out)
    (identity,) = [one for one in listed if one.get("kind") == "passkey"]
    assert identity["signs"] == known["signCount"]
    assert desk.run("actor", "revoke", identity["id"], *KIT).code == 0
    monkeypatch.delenv("STRONGROOM_CREDENTIAL")
    refused = reads(desk)
    assert refused.code == 3
    assert "revoked" in refused.err


def test_wrong_ways_to_sign_in(desk, monkeypatch):
    """Nothing named, nobody there, an issuer over http, a folder's keymaster, a port that is taken: clear errors."""
    assert "which issuer" in desk.run("signin").err
    assert "which client_id" in desk.run("signin", "--issuer", "https://login.example").err
    assert desk.run("signin", "--issuer", "http://login.example", "--client-id", "x").code == 2
    assert desk.run("signin", "--issuer", "http://127.0.0.1:9", "--client-id", "x").code == 6
    assert desk.run("signin", "--passkey", "--device").code == 2
    assert desk.run("signin", "--passkey").code == 3
    assert desk.run("signin", "--room-id", "12").code == 2
    assert desk.run("signin", "--keys", "folder", "--issuer", "https://login.example", "--client-id", "x").code == 2
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"{port} of this machine is taken" in desk.run("actor", "passkey", "ada", "--port", port).err
    with socket.socket(socket.AF_INET6) as taken:  # one of the two addresses only: said too, and not waited on
        taken.bind(("::1", free_port()))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = ended(desk.start("actor", "passkey", "ada", "--port", port), 60)
        assert (told.code, f"{port} of this machine is taken" in told.err) == (2, True)
    (desk.folder / "plain").write_text("not a credential")
    with Issuer() as issuer:
        for wrong, code in (("plain", 7), ("plain/below.credential", 2)):
            kept = desk.run("signin", "--issuer", issuer.url, "--client-id", "x", "--out", wrong)
            assert kept.code == code, kept.err
        assert issuer.asked == []
    assert (desk.folder / "plain").read_text() == "not a credential"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert "--out" in desk.run("signin", "--issuer", "https://login.example", "--client-id", "x").err


def test_an_address_is_not_on_a_command_line(desk, monkeypatch, tmp_path):
    """What the browser is told to open is a file of its owner's; other users of the machine read command lines."""
    seen = tmp_path / "seen"
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {seen}.new\nmv {seen}.new {seen}\n')
    script.chmod(0o700)
    monkeypatch.setenv("BROWSER", f"{script} %s &")
    port = free_port()
    process = desk.start("actor", "passkey", "ada", "--port", str(port))
    end = time.monotonic() + 60
    while not seen.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    if not seen.exists():
        process.kill()
        pytest.fail(f"no browser was opened: {ended(process).err}")
    url = seen.read_text().strip()
    assert url.startswith("file:///")
    path = Path(url.removeprefix("file://"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert f"http://localhost:{port}/#" in path.read_text()
    os.kill(process.pid, signal.SIGINT)
    assert ended(process).code in {130, -signal.SIGINT}
    assert not path.exists()
