"""A shell in a folder with a small room, for tests of the command line."""

import contextlib
import io
import os
import random
import select
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "room"))

from small_room import PASSPHRASE, SmallRoom

from strongroom.cli import main

DELIVERY = ("--actor", "mei", "--purpose", "delivery", "--reason", "parcel 4411")
CASE = ("--actor", "ada", "--purpose", "case-work", "--reason", "case 12")
KIT = ("--actor", "kit")


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Lines of stderr."""
        return self.err.splitlines()


def settle(folder: Path, room: SmallRoom) -> None:
    """Write `strongroom.toml` and the passphrase file for a room into a working directory."""
    passphrase = folder / "passphrase"
    passphrase.write_text(PASSPHRASE + "\n", encoding="utf-8")
    (folder / "strongroom.toml").write_text(
        f'room = "{room.bucket}"\nkeys = "{room.keys}"\npassphrase_file = "passphrase"\n', encoding="utf-8"
    )


class Shell:
    """Runs commands in a folder, in this process or in one of their own."""

    def __init__(self, folder: Path, room: SmallRoom, monkeypatch, capsys) -> None:
        self.folder = folder
        self.room = room
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        settle(folder, room)
        monkeypatch.chdir(folder)

    def run(self, *words: str, stdin: bytes = b"") -> Result:
        """One command in this process."""
        self._capsys.readouterr()
        code = 0
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
            try:
                main(words)
            except SystemExit as end:
                code = int(end.code or 0)
        out, err = self._capsys.readouterr()
        return Result(code, out, err)

    def start(self, *words: str, **how) -> subprocess.Popen:
        """One command in a process of its own, which nobody has waited for."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, "-m", "strongroom.cli", *words],
            cwd=self.folder,
            env=environment(),
            start_new_session=True,
            **({"preexec_fn": _heed_interrupts} | pipes | how),
        )

    def objects(self) -> list[str]:
        """Names of the bucket's objects."""
        return sorted(p.name for p in self.room.bucket.rglob("*") if p.is_file() and p.parent.name != ".tmp")

    def head(self) -> int:
        """Number of the newest snapshot."""
        with self.room.keymaster() as keymaster:
            return keymaster.head().number


def _heed_interrupts() -> None:
    """A shell that runs the tests in the background has Ctrl-C ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def environment() -> dict[str, str]:
    """The environment with the tested `strongroom` first on the path."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def ended(process: subprocess.Popen, seconds: float = 300) -> Result:
    """Wait for a process and take what it wrote; one that does not end is killed, and what it wrote is told."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as stood:
        process.kill()
        raise AssertionError(f"it stood for {seconds} seconds; it wrote: {stood.output}, {stood.stderr}") from None
    return Result(process.returncode, out.decode(), err.decode())


def first_line(process: subprocess.Popen, seconds: float = 120) -> str:
    """The first line that a process writes to stderr, without its end; one that writes none is killed."""
    if not select.select([process.stderr], [], [], seconds)[0]:
        process.kill()
        raise AssertionError(f"it said nothing within {seconds} seconds")
    return process.stderr.readline().decode().strip()


def free_port() -> int:
    """A port of this machine that nobody listens on, on either loopback address; none that the system gives by itself."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as one, socket.socket(socket.AF_INET6) as other, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            if socket.has_dualstack_ipv6():
                other.bind(("::1", port))
            return port
    raise AssertionError("no port is free")
