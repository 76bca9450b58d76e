"""A real S3 server for tests: Ceph's radosgw on loopback, with everything it stores in memory.

Debian: `apt-get install --no-install-recommends radosgw ceph-mon ceph-osd`. Starts in about two seconds. Every process dies
with the one that started it (`setpriv --pdeathsig`), and is stopped in the order that ends at once: gateway, disk, monitor.
The settings that are not obvious: without `tcp_nodelay` every read waits 40 ms; without the two paxos times every
pool takes a second; without the two `on start = false` the disk refuses to start where no keys are asked for. A quota of
a user counts what `radosgw-admin user stats --sync-stats` was told of: counting it all the time takes a processor.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

NEEDED = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool", "setpriv")
START_SECONDS_MAX = 60
STARTS_MAX = 3
REGION = "us-east-1"

CONFIGURATION = """[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{mon}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
ms bind port min = {osd}
ms bind port max = {osd_last}
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 0
run dir = {base}/run
log file = {base}/log/$name.log
admin socket = {base}/run/$name.asok
pid file = {base}/run/$name.pid
mon data = {base}/mon
osd data = {base}/osd
rgw data = {base}/rgw
osd objectstore = memstore
osd class update on start = false
osd crush update on start = false
memstore device bytes = {memory_bytes}
paxos propose interval = 0.02
paxos min wait = 0.01
rgw dynamic resharding = false
rgw thread pool size = 64
rgw gc obj min wait = 2
rgw gc processor period = 5
rgw gc processor max time = 5
rgw bucket quota ttl = 0
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
"""


def missing() -> str | None:
    """Why the server cannot be started here; None if it can."""
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    return f"no S3 server here: {', '.join(lacking)} not installed (see .ci/run)" if lacking else None


@dataclass
class User:
    """One who may sign requests."""

    access_key: str
    secret_key: str


@dataclass
class Radosgw:
    """A running server. Use as a context.

    Args:
        base: A folder for its settings, sockets and logs; short, for a socket's path has at most 107 characters.
        memory_bytes: What it can store.
    """

    base: Path
    memory_bytes: int = 8 << 30
    user: User = field(default_factory=lambda: User("AKSTRONG", "SKSTRONGSKSTRONG"))
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    port: int = 0
    buckets: int = 0
    clients: dict[str, Any] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self, user: User | None = None, endpoint: str | None = None) -> dict[str, str]:
        """Variables that lead a client here."""
        user = user or self.user
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": user.access_key,
            "AWS_SECRET_ACCESS_KEY": user.secret_key,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(self.base / "absent"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.base / "absent"),
        }

    def __enter__(self) -> Self:
        for attempt in range(STARTS_MAX):
            try:
                self._start()
            except BaseException as error:
                self.stop()
                # another server that starts at this moment may have taken one of the ports
                if attempt == STARTS_MAX - 1 or not isinstance(error, (RuntimeError, subprocess.TimeoutExpired)):
                    raise
                shutil.rmtree(self.base)
            else:
                break
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop gateway, disk and monitor, in this order: without a monitor the others would hang."""
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def admin(self, *words: str) -> str:
        """What `radosgw-admin` answers."""
        return self._run("radosgw-admin", *words)

    def new_user(self, name: str, *words: str) -> User:
        """Add one who may sign requests."""
        user = User(f"AK{name.upper()}", f"SK{name}SK{name}SK")
        keys = (f"--access-key={user.access_key}", f"--secret={user.secret_key}")
        self.admin("user", "create", f"--uid={name}", f"--display-name={name}", *keys, *words)
        return user

    def new_bucket(self, *, locked: bool = False) -> str:
        """Make a bucket; returns its name. A locked one keeps versions and takes object locks."""
        self.buckets += 1
        name = f"bucket-{self.buckets}"
        self.client().create_bucket(Bucket=name, **({"ObjectLockEnabledForBucket": True} if locked else {}))
        return name

    def client(self, user: User | None = None) -> Any:
        """A botocore client, for what the product does not do: make buckets, policies, locks. One a user: each takes a second."""
        import botocore.session
        from botocore.config import Config

        user = user or self.user
        if user.access_key not in self.clients:
            self.clients[user.access_key] = botocore.session.Session().create_client(
                "s3", endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id=user.access_key,
                aws_secret_access_key=user.secret_key, config=Config(s3={"addressing_style": "path"}),
            )  # fmt: skip
        return self.clients[user.access_key]

    # -- inside ---------------------------------------------------------------------------------
    def _start(self) -> None:
        for name in ("mon", "osd", "rgw", "run", "log"):
            (self.base / name).mkdir(parents=True)
        self.port, mon, osd = free_ports()
        fsid = str(uuid.uuid4())
        (self.base / "ceph.conf").write_text(
            CONFIGURATION.format(
                fsid=fsid, mon=mon, osd=osd, osd_last=osd + 40, base=self.base, port=self.port,
                memory_bytes=self.memory_bytes,
            )
        )  # fmt: skip
        monmap = str(self.base / "monmap")
        self._run("monmaptool", "--create", "--addv", "a", f"[v1:127.0.0.1:{mon}]", "--fsid", fsid, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._daemon("ceph-mon", "-i", "a")
        disk = str(uuid.uuid4())
        number = self._run("ceph", "osd", "new", disk).strip()
        self._run("ceph-osd", "-i", number, "--mkfs", "--osd-uuid", disk)
        self._run("ceph", "osd", "crush", "add", f"osd.{number}", "1.0", "root=default", "host=localhost")
        self._daemon("ceph-osd", "-i", number)
        self._daemon("radosgw", "-n", "client.rgw")
        self._wait()
        keys = (f"--access-key={self.user.access_key}", f"--secret={self.user.secret_key}")
        self.admin("user", "create", "--uid=strong", "--display-name=strong", *keys)

    def _daemon(self, *words: str) -> None:
        with (self.base / "log" / f"{words[0]}.out").open("wb") as out:
            self.processes.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *words, "-f"], env=self._variables(), stdout=out, stderr=out
                )
            )

    def _variables(self) -> dict[str, str]:
        return os.environ | {"CEPH_CONF": str(self.base / "ceph.conf")}

    def _run(self, *words: str) -> str:
        done = subprocess.run(words, env=self._variables(), capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{words[0]} {words[1]} failed: {done.stderr[-500:]}")
        return done.stdout

    def _wait(self) -> None:
        latest = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < latest:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(self.endpoint, timeout=5).close()
                return
            if any(process.poll() is not None for process in self.processes):
                break
            time.sleep(0.05)
        raise RuntimeError(f"radosgw did not start; its logs are in {self.base / 'log'}")


def free_ports() -> tuple[int, int, int]:
    """A port each for gateway and monitor, and the first of a stretch of 40 for the disk, all free a moment ago."""
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(3):
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    return ports[0], ports[1], min(ports[2], 65_000)
