"""A PostgreSQL server for tests: started in a folder of its own, on a port of its own, gone afterwards."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

BIN = next((p for p in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True) if (p / "initdb").exists()), None)


def missing():
    """Why there is no server here; None where there is one."""
    if BIN is None:
        return "PostgreSQL is not installed"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL does not run as root, and runuser is not here"
    return None


class Server:
    """A server that is running; `url` names its database."""

    def __init__(self):
        self._base = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._as = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self._base, user.pw_uid, user.pw_gid)
            self._as = ["runuser", "-u", "postgres", "--"]
        self._made = 0
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync")
        with socket.socket() as free:  # a moment before it is taken, and not before the seconds that initdb takes
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    @property
    def _data(self):
        return self._base / "data"

    def _run(self, name, *words):
        subprocess.run(
            [*self._as, BIN / name, *words], check=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip

    def start(self):
        # Servers of tests are killed, machines are not: what was written needs no disk to be there afterwards.
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self._base} -c max_connections=200 -c fsync=off"
        self._run("pg_ctl", "-w", "-D", self._data, "-l", self._base / "log", "-o", options, "start")

    def stop(self, how="immediate"):
        self._run("pg_ctl", "-w", "-D", self._data, "-m", how, "stop")

    def url(self):
        """Of a schema that nobody has used."""
        self._made += 1
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?schema=keys_{self._made}"

    def close(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.stop()
        shutil.rmtree(self._base, ignore_errors=True)
