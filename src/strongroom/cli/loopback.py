"""Pages on this machine for one sign-in: where an issuer sends the browser back to, and where a passkey signs.

Rules it keeps:

1. Loopback only, for one sign-in, at most WAIT_SECONDS.
2. What the browser is told to open stands in a file that its owner alone can read, not on a command line. The passkey's
   page takes its secret from the fragment of its address, which no browser sends, and forgets it at once.
3. The passkey's page answers to its own name and origin only, so that no other page reaches it.
"""

from __future__ import annotations

import hmac
import html
import json
import os
import shutil
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from strongroom.errors import UnavailableError, UsageError
from strongroom.identity.passkey import ANSWER_LENGTH_MAX, RP_ID

WAIT_SECONDS = 300.0
SECRET_HEADER = "X-Strongroom-Page"  # noqa: S105  the name of a header
_DONE = "<!doctype html><title>Strongroom</title><p>You can close this page and go back to the terminal.</p>"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Page(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, place: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in place[0]:
            self.address_family = socket.AF_INET6
        super().__init__(place, handler)


class _Handler(BaseHTTPRequestHandler):
    """Answers with few words, and writes no log."""

    timeout = 10

    def log_message(self, *_parts: object) -> None:
        """Write nothing: a line would hold what the browser was sent back with."""

    def send(self, status: int, body: str, kind: str = "text/html") -> None:
        """One whole answer."""
        data = body.encode()
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": f"{kind}; charset=utf-8"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Awaited:
    """One answer that is waited for."""

    def __init__(self) -> None:
        self._come = threading.Event()
        self._value: Any = None

    def give(self, value: Any) -> None:
        """The first that comes is it."""
        if not self._come.is_set():
            self._value = value
            self._come.set()

    def wait(self) -> Any:
        """It; UnavailableError when it does not come in time."""
        if not self._come.wait(WAIT_SECONDS):
            raise UnavailableError("nobody signed in within five minutes", hint="try again")
        return self._value


@contextmanager
def redirected(is_answer: Any) -> Iterator[tuple[str, _Awaited]]:
    """A page that an issuer sends the browser back to: its address, and the query that comes.

    Args:
        is_answer: Called with each query; says whether it is the one.
    """
    awaited = _Awaited()

    class Handler(_Handler):
        def do_GET(self) -> None:
            said = dict(parse_qsl(urlsplit(self.path).query))
            if not is_answer(said):
                self.send(404, "")
                return
            with suppress(OSError):  # a browser that has gone has said it all the same
                self.send(200, _DONE)
            awaited.give(said)

    with _served(("127.0.0.1",), 0, Handler) as port:
        yield f"http://127.0.0.1:{port}/", awaited


@contextmanager
def passkey_page(port: int, options: Mapping[str, Any], secret: str) -> Iterator[tuple[str, _Awaited]]:
    """A page on which a passkey is made or signs: its address, and the JSON that it gives.

    Args:
        port: On this machine.
        options: What the browser is asked: `kind` create or get, and the rest in base64url.
        secret: Who shows it has the page's address.
    """
    awaited = _Awaited()
    files = {"/": ("passkey.html", "text/html"), "/passkey.js": ("passkey.js", "text/javascript")}
    host = f"{RP_ID}:{port}"

    class Handler(_Handler):
        def do_GET(self) -> None:
            if self.headers.get("Host") != host or self.path not in files:
                self.send(404, "")
                return
            name, kind = files[self.path]
            self.send(200, resources.files("strongroom.cli").joinpath(name).read_text(encoding="utf-8"), kind)

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            own = self.headers.get("Host") == host and self.headers.get("Origin") == f"http://{host}"
            shown = hmac.compare_digest(self.headers.get(SECRET_HEADER, "").encode(), secret.encode())
            if not own or not shown or not length.isdecimal() or int(length) > ANSWER_LENGTH_MAX:
                self.send(404, "")
            elif self.path == "/options":
                self.send(200, json.dumps(options), "application/json")
            elif self.path == "/answer":
                text = self.rfile.read(int(length)).decode(errors="replace")
                with suppress(OSError):  # as above
                    self.send(200, "{}", "application/json")
                awaited.give(text)
            else:
                self.send(404, "")

    # both, so that nobody else can be `localhost` to the browser
    with _served(("127.0.0.1", "::1"), port, Handler):
        yield f"http://{host}/#{secret}", awaited


@contextmanager
def _served(hosts: tuple[str, ...], port: int, handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    pages: list[_Page] = []
    serving: list[_Page] = []
    try:
        for host in hosts:
            try:
                pages.append(_Page((host, port), handler))
            except OSError as error:
                if host == "::1" and error.errno in _NO_IPV6:
                    continue
                raise UsageError(f"port {port} of this machine is taken", hint="end what listens there") from None
        for page in pages:
            threading.Thread(target=page.serve_forever, daemon=True).start()
            serving.append(page)
        yield pages[0].server_port
    finally:
        for page in serving:
            page.shutdown()  # of one that does not serve it would be waited for without end
        for page in pages:
            page.server_close()


_NO_IPV6 = (97, 99)
"""EAFNOSUPPORT and EADDRNOTAVAIL: this machine has no IPv6."""


@contextmanager
def browser_at(url: str, *, wanted: bool) -> Iterator[bool]:
    """Have the browser open an address, where that is wanted, for as long as it is needed; whether there is one.

    The address goes into a file that leads there: every user of a machine can read command lines.
    """
    if not wanted:
        yield False
        return
    folder = Path(tempfile.mkdtemp(prefix="strongroom-"))
    try:
        path = folder / "open.html"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={html.escape(url)}">')
        try:
            opened = webbrowser.open(path.as_uri())
        except (webbrowser.Error, OSError):
            opened = False
        yield opened
    finally:
        shutil.rmtree(folder, ignore_errors=True)
