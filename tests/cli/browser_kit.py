"""What stands for a person at a browser, as a program that `BROWSER` names: at an issuer's page, or with a passkey in Chromium.

`browser_kit.py issuer SUBJECT FILE-URL` fills in the page of a test provider; `browser_kit.py passkey STORE FILE-URL` lets
headless Chromium open the page, with a virtual authenticator whose passkeys are kept in STORE.
"""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from html import unescape
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip
ANSWER_SECONDS = 60.0


def missing():
    """Why there is no browser, or nothing."""
    return "" if CHROMIUM else "no chromium: install the Debian package chromium"


def browser(mode, what):
    """The value of `BROWSER` for a person who does this."""
    return f"{sys.executable} {Path(__file__).resolve()} {mode} {what} %s &"


class Chromium:
    """Headless Chromium, spoken to over a pipe (Chrome DevTools Protocol). What it does not answer in time is an error."""

    def __init__(self):
        self._profile = tempfile.mkdtemp(prefix="chromium")
        (their_in, self._out), (self._in, their_out) = os.pipe(), os.pipe()
        words = [CHROMIUM, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"]

        def stand():
            one, two = os.dup(their_in), os.dup(their_out)
            os.dup2(one, 3)
            os.dup2(two, 4)

        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL) | {"start_new_session": True}
        self._process = subprocess.Popen(words, preexec_fn=stand, close_fds=False, **quiet)  # noqa: PLW1509  no threads here
        os.close(their_in)
        os.close(their_out)
        self._buffer, self._number, self._session = b"", 0, None
        try:
            target = self.ask("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        except BaseException:
            self.close()
            raise

    def ask(self, method, **params):
        self._number += 1
        end = time.monotonic() + ANSWER_SECONDS
        said = {"id": self._number, "method": method, "params": params}
        if self._session:
            said["sessionId"] = self._session
        os.write(self._out, json.dumps(said).encode() + b"\0")
        while True:
            while b"\0" not in self._buffer:
                if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                    raise TimeoutError(f"chromium did not answer {method} within {ANSWER_SECONDS:.0f} seconds")
                part = os.read(self._in, 1 << 16)
                if not part:
                    raise RuntimeError("chromium ended")
                self._buffer += part
            line, _, self._buffer = self._buffer.partition(b"\0")
            found = json.loads(line)
            if found.get("id") == self._number:
                if "error" in found:
                    raise RuntimeError(found["error"]["message"])
                return found["result"]

    def evaluate(self, text):
        return self.ask("Runtime.evaluate", expression=text, returnByValue=True)["result"].get("value")

    def until(self, text, done, seconds):
        """What a script says, once it is as awaited or the time is over; between two pages it says nothing."""
        end, told = time.monotonic() + seconds, None
        while not done(told) and time.monotonic() < end:
            time.sleep(0.05)
            with contextlib.suppress(RuntimeError):
                told = self.evaluate(text)
        return told

    def close(self):
        with contextlib.suppress(Exception):
            self._session = None
            self.ask("Browser.close")
            self._process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)


def with_passkey(store, url, seconds=60):
    """Open a page with the passkeys of a file, until it says that it is done; keeps them with their counters."""
    browser = Chromium()
    try:
        browser.ask("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        own = browser.ask("WebAuthn.addVirtualAuthenticator", options=options)["authenticatorId"]
        for known in json.loads(store.read_text()) if store.exists() else []:
            browser.ask("WebAuthn.addCredential", authenticatorId=own, credential=known)
        browser.ask("Page.navigate", url=url)
        script = "document.getElementById('told')?.textContent"
        told = browser.until(script, lambda told: re.search("close this page|did not work", told or ""), seconds) or ""
        where = browser.evaluate("location.href")
        found = browser.ask("WebAuthn.getCredentials", authenticatorId=own)["credentials"]
        store.write_text(json.dumps(found))
        return told, where
    finally:
        browser.close()


def at_issuer(subject, url):
    """Open the address that a private file leads to, say who one is, and follow where the issuer sends one."""
    page = Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path)).read_text()
    where = unescape(re.search(r"url=([^\"]+)", page)[1])
    form = urllib.parse.urlencode({"sub": subject, "action": "authorize"}).encode()
    urllib.request.urlopen(where, form, timeout=20).read()


if __name__ == "__main__":
    if sys.argv[1] == "issuer":
        at_issuer(sys.argv[2], sys.argv[3])
    else:
        sys.stderr.write(f"{with_passkey(Path(sys.argv[2]), sys.argv[3])}\n")
