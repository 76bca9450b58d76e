"""An HTTP proxy on loopback that stands between a client and a real S3 server, and makes chosen requests fail.

The failures are real to the client: a connection that closes, an answer that says 503, a body that ends early. What the
server did is real too: after "drop after" and "error after" the object is stored although the client was told otherwise.
Signatures stay valid, because the client signs the proxy's address and the proxy passes it on unchanged.
"""

from __future__ import annotations

import http.client
import http.server
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qs, urlsplit

ACTIONS = (
    "drop",  # close the connection before the request is passed on
    "drop after",  # pass it on, then close without an answer
    "error",  # answer 500 without passing it on
    "error after",  # pass it on, then answer 500
    "slow down",  # answer 503 SlowDown
    "too many",  # answer 429
    "full",  # answer 507
    "cut",  # pass it on, send half of the answer's body, then close
    "delay",  # pass it on after `seconds`
    "hang",  # pass it on, send half of the answer's body, say nothing for `seconds`, then close
)
_ANSWERS = {
    "error": (500, "InternalError"),
    "error after": (500, "InternalError"),
    "slow down": (503, "SlowDown"),
    "too many": (429, "TooManyRequests"),
    "full": (507, "InsufficientStorage"),
}


@dataclass(frozen=True)
class Request:
    """One request as the proxy saw it."""

    method: str
    path: str

    @property
    def kind(self) -> str:
        """What the request is for, in the words of S3."""
        parts = urlsplit(self.path)
        words = parse_qs(parts.query, keep_blank_values=True)
        if "uploads" in words:
            return "ListUploads" if self.method == "GET" else "CreateUpload"
        if "uploadId" in words:
            return {"PUT": "UploadPart", "POST": "CompleteUpload", "DELETE": "AbortUpload"}.get(self.method, "ListParts")
        if "list-type" in words or "versions" in words:
            return "List"
        return {"GET": "Get", "HEAD": "Head", "PUT": "Put", "DELETE": "Delete", "POST": "Post"}[self.method]


@dataclass
class Fault:
    """Which requests fail and how.

    Args:
        action: One of ACTIONS.
        kind: A regular expression that the request's kind must match.
        path: One that its path must contain.
        times: How many requests fail; None for all.
        skip: How many are let through before.
        seconds: Of "delay" and "hang".
    """

    action: str
    kind: str = ".*"
    path: str = ""
    times: int | None = 1
    skip: int = 0
    seconds: float = 0.0
    fired: int = 0

    def __post_init__(self) -> None:
        assert self.action in ACTIONS


@dataclass
class FaultProxy:
    """A running proxy. Use as a context.

    Args:
        port: Port of the server behind it.
    """

    port: int
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(self, action: str, kind: str = ".*", **more: object) -> Fault:
        """Add a fault; see `Fault`."""
        fault = Fault(action, kind, **more)  # type: ignore[arg-type]
        with self.lock:
            self.faults.append(fault)
        return fault

    def heal(self) -> None:
        """Let everything through from now on, and forget what was seen."""
        with self.lock:
            self.faults.clear()
            self.requests.clear()

    def kinds(self) -> list[str]:
        """The kinds of the requests seen."""
        with self.lock:
            return [request.kind for request in self.requests]

    def take(self, request: Request) -> Fault | None:
        """Note a request; returns the fault that hits it."""
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if not re.fullmatch(fault.kind, request.kind) or fault.path not in request.path:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.times is None or fault.fired < fault.times:
                    fault.fired += 1
                    return fault
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: FaultProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.owner.take(Request(self.command, self.path))
        action = fault.action if fault else ""
        if action == "delay":
            time.sleep(fault.seconds)
        if action == "drop":
            self.close_connection = True
            return
        if action in _ANSWERS and action != "error after":
            self._answer(*_ANSWERS[action])
            return
        status, headers, answer = self._forward(body)
        if action == "drop after":
            self.close_connection = True
        elif action == "error after":
            self._answer(*_ANSWERS[action])
        else:
            self._pass_on(status, headers, answer, short=action in {"cut", "hang"})
            if action == "hang":
                time.sleep(fault.seconds)
            if action in {"cut", "hang"}:
                self.close_connection = True

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.owner.port, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _pass_on(self, status: int, headers: list[tuple[str, str]], body: bytes, *, short: bool) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                self.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), str(len(body)))
        if status != 204:
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if short else body)
        self.wfile.flush()

    def _answer(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made to fail</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)
