"""What is measured beside this process: servers of their own, what they use, and callers that begin together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(*words: str, env: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """Run a verb of the command line that serves; gives its URL and the number of its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "strongroom.cli", *words, "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    assert process.stderr is not None
    found = re.search(r"http://\S+", process.stderr.readline())
    assert found is not None
    try:
        yield found[0], process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def peak_mib(pid: int) -> float:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def together(callers: int, work: Callable[[int, Callable[[], object]], None]) -> float:
    """Seconds in which so many threads do their work; each is given its number, and calls when it is ready to begin."""
    gate = threading.Barrier(callers + 1)

    def one(number: int) -> None:
        work(number, gate.wait)
        gate.wait()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    gate.wait()
    started = time.perf_counter()
    gate.wait()
    seconds = time.perf_counter() - started
    for thread in threads:
        thread.join()
    return seconds
