"""Real witnesses on loopback for tests: in a thread, or as a process that can be killed; and policies that name them."""

import contextlib
import http.server
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import urllib3

from strongroom.audit.cosign import Cosigner
from strongroom.audit.submission import Submission
from strongroom.listener.address import Listen
from strongroom.witness.folder import logs_of, make_witness, open_witness
from strongroom.witness.serve import WitnessServer


class Witness:
    """A witness in a thread, over real HTTP; `stop` and `start` keep its port and its folder."""

    def __init__(self, folder: Path, name: str, *logs: str, clock=time.time, tls: tuple[Path, Path] | None = None):
        self.folder, self.logs, self.clock, self.tls = folder, list(logs), clock, tls
        self.cosigner: Cosigner = make_witness(folder, name)
        self.port, self._server = 0, None

    @property
    def url(self) -> str:
        return f"http{'' if self.tls is None else 's'}://127.0.0.1:{self.port}"

    def start(self):
        key, self._state = open_witness(self.folder)
        where = Listen("127.0.0.1", self.port, *(self.tls or ()))
        self._server = WitnessServer(key, self._state, logs_of(self.logs), where, self.clock)
        self.port = self._server.port
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        end = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < end
            time.sleep(0.005)
        return self

    def stop(self):
        if self._server is not None:
            self._server.stop()
            self._thread.join(20)
            self._state.close()
            self._server = None

    def watch(self, *logs: str):
        """Know these logs too."""
        self.logs += logs
        self.stop()
        return self.start()

    def newest(self, origin):
        return self._state.newest(origin)


def submit(url: str, old: int, proof, text: str):
    """One add-checkpoint, as it goes over the wire."""
    return post(url, str(Submission(old, tuple(proof), text)).encode())


def post(url: str, body: bytes, path="/add-checkpoint", method="POST"):
    with urllib3.PoolManager(retries=False) as pool:
        return pool.request(method, url + path, body=body, timeout=20)


@dataclass
class Process:
    """`strongroom witness serve` as a process of its own."""

    folder: Path
    log: str
    port: int = 0

    def start(self):
        words = ("witness", "serve", str(self.folder), "--log", self.log, "--listen", f"127.0.0.1:{self.port}")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "strongroom.cli", *words], stderr=subprocess.PIPE, text=True
        )
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self._process.stderr.readline())
        assert found is not None
        self.port = int(found[1])
        end = time.monotonic() + 20
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", self.port)):
                assert time.monotonic() < end
                time.sleep(0.01)
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self):
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate(timeout=20)

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        _, said = self._process.communicate(timeout=20)
        return self._process.returncode, said


def section(quorum: int, *witnesses) -> str:
    """The `[witnesses]` section of a policy."""
    lines = [f'w{n} = {{ key = "{w.cosigner.line()}", url = "{w.url}" }}' for n, w in enumerate(witnesses)]
    return "\n".join(["", "[witnesses]", f"quorum = {quorum}", *lines, ""])


class Liar:
    """Answers what it is told to, whatever it is asked: what a broken or hostile witness could say."""

    def __init__(self, *answers: tuple[int, str, bytes], delay: float = 0.0):
        """Each answer is status, content type and body, in turn; the last one again and again."""
        self.asked: list[bytes] = []
        liar = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status, kind, said = answers[min(len(liar.asked), len(answers) - 1)]
                liar.asked.append(body)
                liar.ends.wait(delay)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_args):
                pass

        self.ends = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self.ends.set()
        self._server.shutdown()
        self._server.server_close()
